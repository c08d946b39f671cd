"""URLs of Redis: what they mean, and that a wrong one is told without its secrets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs
from twisted.internet.task import Clock

from imd.errors import ConfigError
from imd.status.redis import RedisUserStatus
from imd.status.redis_url import Place, Target, parse
from tests.process import ROOT, environment

GOOD = [
    ("redis://h", Target((Place("h", 6379),))),
    ("redis://h:7/", Target((Place("h", 7),))),
    ("redis://[::1]:7/12", Target((Place("::1", 7),), db=12)),
    ("redis://:p%40s%3A%2F%3F%23@h", Target((Place("h", 6379),), password="p@s:/?#")),
    ("redis://imd:pw@h/0", Target((Place("h", 6379),), user="imd", password="pw")),
    ("rediss://h", Target((Place("h", 6379),), tls=True)),
    ("rediss://h/3?ca=/a%20b.pem", Target((Place("h", 6379),), db=3, tls=True, ca="/a b.pem")),
    (
        "rediss://u:p@h?cert=/c&key=/k",
        Target((Place("h", 6379),), "", "", "u", "p", tls=True, cert="/c", key="/k"),
    ),
    ("redis+unix:///run/redis.sock", Target(socket="/run/redis.sock")),
    ("redis+unix://:pw@/run/r.sock?db=2", Target((), "/run/r.sock", "", "", "pw", 2)),
    ("redis+sentinel://h/chat", Target((Place("h", 26379),), master="chat")),
    (
        "redis+sentinel://u:p@a:1,[::2]:3,c/chat/4",
        Target((Place("a", 1), Place("::2", 3), Place("c", 26379)), "", "chat", "u", "p", 4),
    ),
]


@pytest.mark.parametrize(("url", "target"), GOOD)
def test_a_url_says_where_and_how(url: str, target: Target) -> None:
    found = parse(url)
    for field in Target.__struct_fields__:
        assert getattr(found, field) == getattr(target, field), field


GOOD.append(
    (
        "rediss+sentinel://u:p@a,b:1/chat/4?ca=/ca&cert=/c",
        structs.replace(parse("redis+sentinel://u:p@a,b:1/chat/4"), tls=True, ca="/ca", cert="/c"),
    )
)

SECRET = "hunter2"
BAD = [
    "",
    "redis",
    "redis:h",
    "http://h",
    "memcached://:hunter2@h",
    "redis://",
    "redis://h:0",
    "redis://h:65536",
    "redis://h:x",
    "redis://a,b",
    "redis://::1",
    "redis://h/one",
    "redis://h/1/2",
    "redis://h/-1",
    "redis://h?db=1",
    "redis://h#x",
    "redis://hunter2@h",
    "redis://u:@h",
    "redis://u:hun:ter2@h",
    "redis://u:hun@hunter2@h",
    "redis://u:hunter2#@h",
    "redis://u:hunter2/@h",
    "redis://u:hunter2\n@h:99999",
    "rediss://:hunter2@h?verify=no",
    "rediss://h?ca=",
    "rediss://h?ca=a&ca=b",
    "rediss://h?key=/k",
    "redis+unix://",
    "redis+unix://h/sock",
    "redis+unix:///sock?ca=x",
    "redis+unix:///sock?db=x",
    "redis+sentinel://h",
    "redis+sentinel://h/",
    "redis+sentinel://h,/chat",
    "redis+sentinel://h/chat/x",
    "redis+sentinel://h/chat?ca=/ca",
    "rediss+sentinel://h",
    "rediss+sentinel://h/chat?verify=no",
    "rediss+sentinel://h/chat?key=/k",
    "rediss+sentinel://:hunter2@h/chat?ca=/nowhere/ca.pem",
    "rediss://:hunter2@h?ca=/nowhere/ca.pem",
    "rediss://:hunter2@h?cert=/nowhere/cert.pem",
    f"rediss://:hunter2@h?ca={Path(__file__)}",
    f"rediss://:hunter2@h?cert={Path(__file__)}",
]


@pytest.mark.parametrize("url", BAD)
def test_a_bad_url_is_the_operators_mistake_and_its_secrets_stay_secret(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisUserStatus(url, "n1", Clock())
    assert caught.value.key == "status"
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("url", "target"), GOOD)
def test_what_is_logged_of_a_target_has_no_secrets(url: str, target: Target) -> None:
    assert target.password not in str(target) or not target.password
    assert repr(target) == str(target)


@pytest.mark.parametrize("node", ["", "a\nb", "x" * 201])
def test_a_node_has_a_name_that_fits_into_an_entry(node: str) -> None:
    with pytest.raises(ConfigError, match=r"^node: "):
        RedisUserStatus("redis://h", node, Clock())


def test_no_reactor_is_installed_by_importing_or_constructing() -> None:
    program = (
        "import sys; from imd.status.redis import RedisUserStatus; import twisted.internet.task;"
        "RedisUserStatus('rediss://h', 'n1', twisted.internet.task.Clock());"
        "assert 'twisted.internet.reactor' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment(), cwd=ROOT)
