"""The examples for HAProxy and nginx, run as they stand but for their ports."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_twisted

from imd.client import Client
from tests.cluster import Cluster, befriend
from tests.debian import program
from tests.outages import sleep, until
from tests.process import ROOT, free_port, reactor
from tests.servers import Redis
from tests.talk import Talk


def example(name: str, cluster: Cluster, port: int) -> str:
    """An example whose ports are those of the test."""
    text = (ROOT / "etc" / name).read_text(encoding="utf-8")
    ports = [port, *(connector.port for connector in cluster.connectors)]
    for written, used in zip(("8000", "8081", "8082"), ports, strict=True):
        assert f"127.0.0.1:{written}" in text
        text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{used}")
    return text


def haproxy(directory: Path, text: str) -> list[str]:
    """The command that runs it in the foreground."""
    path = directory / "haproxy.cfg"
    # As many as a test may open files for.
    path.write_text(text.replace("maxconn 40000", "maxconn 400"))
    return [program("haproxy"), "-db", "-f", str(path)]


def nginx(directory: Path, text: str) -> list[str]:
    """The command that runs it in the foreground, with nothing of the machine's."""
    whole = f"""
daemon off; master_process off; error_log stderr; pid {directory}/nginx.pid;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
{text} }}"""
    path = directory / "nginx.conf"
    path.write_text(whole)
    return [program("nginx"), "-e", "stderr", "-p", str(directory), "-c", str(path)]


BALANCERS = {"haproxy/imd.cfg": haproxy, "nginx/imd.conf": nginx}


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    """A balancer, until the end of the block."""
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command])
    try:
        yield
        assert process.poll() is None, "the balancer has ended by itself"
    finally:
        process.kill()
        process.wait()


@pytest_twisted.async_yield_fixture()
async def cluster(store_url: str, empty_redis: Redis) -> AsyncIterator[Cluster]:
    """Two connectors that believe a proxy on this machine."""
    made = Cluster(store_url, empty_redis, config='proxies = ["127.0.0.1"]\n')
    await made.start()
    yield made
    await made.close()


async def enter(port: int, name: str) -> Client:
    """A client behind the balancer."""
    url = f"ws://127.0.0.1:{port}/ws"
    client = Client(url, name, "secret", register=True, reactor=reactor)
    client.start()
    await client.ready()
    return client


@pytest.mark.parametrize("name", BALANCERS)
async def test_a_connector_is_drained_behind_a_balancer_and_nobody_loses_anything(
    name: str, cluster: Cluster, tmp_path: Path
) -> None:
    port = free_port()
    with running(BALANCERS[name](tmp_path, example(name, cluster, port))):
        alice, bob = await enter(port, "alice"), await enter(port, "bob")
        conversation = await befriend(alice, bob)
        await until(lambda: all(conversation in c.conversations for c in (alice, bob)))
        talks = [Talk(alice, bob, conversation), Talk(bob, alice, conversation)]
        for talk in talks:
            talk.start()
        for connector in cluster.connectors:
            assert await connector.kill(signal.SIGTERM) == -signal.SIGTERM
            await until(lambda: alice.state == bob.state == "ready")
            await connector.start()
            await sleep(2)
        for talk in talks:
            talk.stop()
        await until(lambda: all(talk.is_settled for talk in talks))
        for talk in talks:
            talk.check()
        await alice.stop()
        await bob.stop()


def test_time_limits_of_the_balancers_are_longer_than_silence() -> None:
    from imd.limits import Limits

    seconds = Limits().silence_seconds
    for name in BALANCERS:
        text = (ROOT / "etc" / name).read_text(encoding="utf-8")
        assert "90s" in text
    assert seconds < 90
