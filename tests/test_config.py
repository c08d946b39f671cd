"""The configuration: what may be set, which source wins, and that every mistake names its key."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from imd.config import MOST_BYTES, PasswordCost, Settings, argv, load
from imd.errors import ConfigError
from imd.keeping import Keeping
from imd.limits import Limits


class ConfigTests(SynchronousTestCase):
    """Each test has a directory of its own."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "imd.toml")

    def load(self, content: str | bytes, mode: int = 0o600, **options: Any) -> Settings:
        self.path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.path.chmod(mode)
        return load(options, str(self.path))

    def blamed(self, content: str | bytes, mode: int = 0o600, **options: Any) -> str:
        """The key that is blamed, in one line."""
        with self.assertRaises(ConfigError, msg=repr(content)[:80]) as caught:
            self.load(content, mode, **options)
        error = caught.exception
        self.assertTrue(str(error).startswith(f"{error.key}: "))
        self.assertEqual(len(str(error).splitlines()), 1)
        return error.key


class PrecedenceTests(ConfigTests):
    """Defaults < file < command line."""

    def test_without_anything_the_defaults_hold(self) -> None:
        self.assertEqual(load({}, None), Settings())
        self.assertEqual(self.load(""), Settings())

    def test_the_file_wins_over_the_defaults(self) -> None:
        settings = self.load(
            'data = "/var/lib/imd"\norigin = ["https://a.example"]\n'
            "[limits]\nrate = 0\ninflight = 8\n[passwords]\npasses = 3\n"
        )
        self.assertEqual(
            settings,
            Settings(
                data="/var/lib/imd",
                origin=("https://a.example",),
                limits=Limits(rate=0, inflight=8),
                passwords=PasswordCost(passes=3),
            ),
        )

    def test_the_command_line_wins_over_the_file(self) -> None:
        settings = self.load('node = "file"\ndata = "/file"', node="argv")
        self.assertEqual((settings.node, settings.data), ("argv", "/file"))

    def test_only_options_that_were_given_count(self) -> None:
        given = argv(
            {"data": None, "node": "a", "origin": ["x", "y"], "auth": [], "listen": ""},
            ("origin", "auth"),
        )
        self.assertEqual(given, {"node": "a", "origin": ("x", "y"), "listen": ""})

    def test_options_are_checked_like_the_file(self) -> None:
        self.assertEqual(self.blamed("", role="king"), "role")
        self.assertEqual(self.blamed("", no_such="x"), "no_such")


class MistakeTests(ConfigTests):
    """Whatever is wrong, the error is a ``ConfigError`` that names the key."""

    def test_a_key_that_does_not_exist(self) -> None:
        self.assertEqual(self.blamed("colour = 1"), "colour")
        self.assertEqual(self.blamed('transfer_listen = "x"'), "transfer_listen")
        self.assertEqual(self.blamed("limits.colour = 1"), "limits.colour")
        self.assertEqual(self.blamed("[passwords]\ncolour = 1"), "passwords.colour")

    def test_a_key_that_would_not_fit_on_a_line(self) -> None:
        self.assertEqual(self.blamed('"a\\nb" = 1'), "'a\\nb'")
        self.assertEqual(self.blamed('limits."a\\nb" = 1'), "limits.'a\\nb'")

    def test_a_value_of_the_wrong_type(self) -> None:
        for content, key in {
            "role = 5": "role",
            "listen = 99999": "listen",
            'auth = "password"': "auth",
            'origin = ["a", 5]': "origin[1]",
            "limits = 5": "limits",
            'limits.inflight = "64"': "limits.inflight",
            "limits.inflight = true": "limits.inflight",
            "limits.inflight = 1.5": "limits.inflight",
            "limits.inflight = 1979-05-27": "limits.inflight",
            "limits.trusted_addresses = [5]": "limits.trusted_addresses[0]",
            'passwords.passes = "2"': "passwords.passes",
        }.items():
            self.assertEqual(self.blamed(content), key)

    def test_what_is_kept_is_kept_for_ever_or_longer_than_an_outbox(self) -> None:
        keeping = self.load("[retention]\nmessages-days = 8\nfiles-days = 36500").retention
        self.assertEqual(keeping, Keeping(messages_days=8, files_days=36_500))
        for key in "messages-days", "undelivered-days", "files-days":
            for days in 7, -1, 36_501:
                content = f"[retention]\n{key} = {days}"
                self.assertEqual(self.blamed(content), f"retention.{key}")
        self.assertEqual(self.blamed("[retention]\nmessages_days = 9"), "retention.messages_days")

    def test_a_number_out_of_range(self) -> None:
        for table, struct in {"limits": Limits, "passwords": PasswordCost}.items():
            for field in msgspec.structs.fields(struct):
                if isinstance(field.default, int | float):
                    for value in ["-1", str(2**53), str(10**30)]:
                        found = self.blamed(f"{table}.{field.name} = {value}")
                        self.assertEqual(found, f"{table}.{field.name}")
        for value in ["nan", "inf", "-inf"]:
            self.assertEqual(self.blamed(f"limits.rate = {value}"), "limits.rate")

    def test_zero_is_no_limit_for_rates_alone(self) -> None:
        limits = self.load("limits.rate = 0\nlimits.other_rate = 0.0").limits
        self.assertEqual((limits.rate, limits.other_rate), (0, 0))
        self.assertEqual(self.blamed("limits.burst = 0"), "limits.burst")
        self.assertEqual(self.blamed("passwords.memory_kib = 0"), "passwords.memory_kib")

    def test_a_network_that_is_none(self) -> None:
        for text in ["x", "10.0.0.1/8", "10.0.0.0/33", "::1/129", ""]:
            content = f'limits.trusted_addresses = ["127.0.0.0/8", "{text}"]'
            self.assertEqual(self.blamed(content), "limits.trusted_addresses")

    def test_a_role_that_is_none(self) -> None:
        self.assertEqual(self.blamed('role = "king"'), "role")
        self.assertEqual(self.blamed('role = "ALL"'), "role")


class FileTests(ConfigTests):
    """A file that cannot be read at all is the fault of ``--config``."""

    def test_a_file_that_is_not_there(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            load({}, str(self.path))
        self.assertEqual(caught.exception.key, "config")
        self.assertIn("No such file", str(caught.exception))

    def test_a_directory(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            load({}, str(self.path.parent))
        self.assertEqual(caught.exception.key, "config")

    def test_a_key_that_stands_twice(self) -> None:
        for content in ['node = "a"\nnode = "b"', "[limits]\n[limits]", "limits.rate=1\n[limits]"]:
            self.assertEqual(self.blamed(content), "config")

    def test_a_file_that_is_no_toml_in_utf_8(self) -> None:
        good = 'node = "a"\n'
        for content in [
            *(b"node", b"node = ", b'{"node": "a"}', b"\xff", b"node = '\xe9'", b"\0"),
            *(b"\xef\xbb\xbf" + good.encode(), good.encode("utf-16"), good.encode("utf-32")),
        ]:
            self.assertEqual(self.blamed(content), "config")

    def test_values_that_are_too_much_for_the_parser(self) -> None:
        self.assertEqual(self.blamed("node = " + "[" * 100_000), "config")
        self.assertEqual(self.blamed("limits.rate = " + "9" * 5000), "config")

    def test_a_file_that_is_too_large(self) -> None:
        fits = 'node = "a"\n'
        self.assertEqual(self.load(fits + "#" * (MOST_BYTES - len(fits))).node, "a")
        self.assertEqual(self.blamed(fits + "#" * (MOST_BYTES - len(fits) + 1)), "config")
        self.assertEqual(self.blamed(b" " * 10_000_000), "config")


class SecretTests(ConfigTests):
    """A file with a password in it must be private; the password is never shown."""

    def test_others_may_not_read_secrets(self) -> None:
        for key, value in {
            "store": "postgresql://imd:hunter2@db/imd",
            "status": "rediss://:hunter2@cache",
        }.items():
            for mode in [0o644, 0o640, 0o604, 0o620, 0o601]:
                with self.assertRaises(ConfigError) as caught:
                    self.load(f'{key} = "{value}"', mode)
                self.assertEqual(caught.exception.key, "config")
                self.assertIn("chmod 600", str(caught.exception))
                self.assertNotIn("hunter2", str(caught.exception))

    def test_without_secrets_the_file_may_be_read_by_all(self) -> None:
        self.assertEqual(self.load('store = "sqlite"\nnode = "a"', 0o644).node, "a")

    def test_what_has_no_password_or_is_no_text_is_no_secret(self) -> None:
        self.assertEqual(self.load('store = "postgresql://db/imd"', 0o644).status, "memory")
        self.assertEqual(self.blamed("status = 5", 0o644), "status")

    def test_a_password_on_the_command_line_is_refused(self) -> None:
        for key, url in (("store", "postgresql://u:p@db/imd"), ("status", "redis://:p@host")):
            with self.assertRaises(ConfigError) as caught:
                load({key: url}, None)
            self.assertEqual(caught.exception.key, key)
            self.assertNotIn("p@", str(caught.exception))


class HandedOverTests(ConfigTests):
    """URLs in files of their own."""

    URL = "postgresql://imd:secret@db/imd"

    def setUp(self) -> None:
        super().setUp()
        self.directory = self.path.parent
        self.url_file = self.directory / "store"
        self.url_file.write_text(f"{self.URL}\n")
        self.url_file.chmod(0o600)

    def test_the_url_is_read_from_the_file(self) -> None:
        self.assertEqual(self.load(f'store-file = "{self.url_file}"').store, self.URL)
        status = self.directory / "status"
        status.write_text("redis://imd:secret@host")
        status.chmod(0o600)
        content = f'store-file = "{self.url_file}"\nstatus-file = "{status}"'
        self.assertEqual(self.load(content).status, "redis://imd:secret@host")

    def test_others_may_not_read_it_unless_systemd_keeps_them_away(self) -> None:
        self.url_file.chmod(0o440)
        self.assertEqual(self.blamed(f'store-file = "{self.url_file}"'), "store-file")
        self.patch(os, "environ", {"CREDENTIALS_DIRECTORY": str(self.directory)})
        self.assertEqual(self.load(f'store-file = "{self.url_file}"').store, self.URL)
        whole = self.directory / "whole.toml"
        whole.write_text(f'store = "{self.URL}"')
        whole.chmod(0o440)
        self.assertEqual(load({}, str(whole)).store, self.URL)

    def test_a_file_that_is_not_there_and_one_url_too_many(self) -> None:
        self.assertEqual(self.blamed('store-file = "/nonexistent"'), "store-file")
        both = f'store = "postgresql://db/imd"\nstore-file = "{self.url_file}"'
        self.assertEqual(self.blamed(both), "store-file")


class ServedTests(ConfigTests):
    """What this version does not serve is refused before anything starts."""

    def test_what_is_not_served_is_refused_by_its_key(self) -> None:
        for content, key in {
            'store = "mysql://x"': "store",
            'status = "files"': "status",
            "auth = []": "auth",
            'auth = ["password", "password"]': "auth",
        }.items():
            self.assertEqual(self.blamed(content), key)

    def test_several_processes_need_engines_that_they_can_share(self) -> None:
        postgresql, redis = 'store = "postgresql://db/imd"\n', 'status = "redis://host"\n'
        connector = 'role = "connector"\n'
        for content, key in {
            connector: "store",
            redis: "store",
            connector + postgresql: "status",
            connector + postgresql + redis: "transfer",
            postgresql + 'transfer = ["unix:t.sock"]': "status",
        }.items():
            self.assertEqual(self.blamed(content), key)
        complete = connector + postgresql + redis + 'transfer = ["unix:t.sock"]'
        self.assertEqual(self.load(complete).role, "connector")

    def test_a_transfer_needs_no_engines(self) -> None:
        self.assertEqual(self.load('role = "transfer"').store, "sqlite")


class FilesTests(ConfigTests):
    """Where the bytes of files are kept."""

    ACCOUNT = '[s3]\nkey = "k"\nsecret = "s"\n'

    def test_it_is_a_directory_or_a_bucket(self) -> None:
        self.assertEqual(self.load('files = "/srv/files"').files, "/srv/files")
        settings = self.load(f'files = "s3://bucket/prefix"\n{self.ACCOUNT}')
        self.assertEqual((settings.s3.key, settings.s3.region), ("k", "us-east-1"))

    def test_a_bucket_needs_a_name_and_an_account(self) -> None:
        self.assertEqual(self.blamed(f'files = "s3://"\n{self.ACCOUNT}'), "files")
        self.assertEqual(self.blamed(f'files = "s3:///x"\n{self.ACCOUNT}'), "files")
        self.assertEqual(self.blamed('files = "s3://bucket"'), "s3.key")
        self.assertEqual(self.blamed('files = "s3://bucket"\n[s3]\nkey = "k"'), "s3.key")

    def test_other_urls_and_keys_are_mistakes(self) -> None:
        self.assertEqual(self.blamed('files = "https://bucket"'), "files")
        self.assertEqual(self.blamed('[s3]\nbucket = "x"'), "s3.bucket")

    def test_the_secret_key_is_a_secret(self) -> None:
        self.assertEqual(self.blamed(self.ACCOUNT, mode=0o640), "config")
