"""``/metrics`` of a real server: who may read it, what is in it, and what never is."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from imd.times import EACH
from imd.watched import COMMON, CONNECTOR
from tests.process import FAST, Server, free_port, reactor
from tests.raw import login, pair

TOKEN = "canary-metrics-token"
CONFIG = FAST + f'[metrics]\ntoken = "{TOKEN}"\n'


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """A server with a token for its figures, and a port for them alone."""
    port = free_port()
    running = Server(config=CONFIG + f'listen = "tcp:{port}:interface=127.0.0.1"\n')
    running.figures = port  # type: ignore[attr-defined]
    await running.start()
    yield running
    await running.close()


async def read(port: int, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Status and text of ``/metrics``."""
    url = f"http://127.0.0.1:{port}/metrics"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, headers=named, method=method)

    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await deferToThread(fetch)


def values(page: str) -> dict[str, float]:
    """Every sample by its name and labels."""
    return {
        sample.name + "".join(f",{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def test_what_happened_is_counted_and_nothing_that_somebody_wrote_is_shown(
    server: Server,
) -> None:
    alice, bob, conversation = await pair(server.port, "alicecanary", "bobcanary")
    alice.text(conversation, "body-canary")
    msg = await bob.hear("msg")
    bob.say({"type": "mark", "conv": conversation, "delivered": msg["seq"]})
    await alice.hear("receipt", conv=conversation)
    for _ in range(EACH):
        await alice.hear("ack", id=alice.text(conversation))
    alice.text(1)
    await alice.hear("nack")
    bob.sendClose(1000)
    await bob.closed
    page = await read_after(server.port, "imd_connections_closed_total,code=1000")
    found = values(page)
    assert found["imd_time_to_sent_seconds_count"] == 1 + EACH
    assert found["imd_time_to_received_seconds_count"] >= 1
    assert found["imd_time_to_delivered_seconds_count"] == 1
    assert found["imd_sessions"] == 1
    assert found["imd_logins_total"] == 2
    assert found["imd_errors_total,code=forbidden"] == 1
    assert found["imd_connections_closed_total,code=1000"] == 1
    assert found["imd_closed_frames_in_total"] >= 3
    assert found["imd_commit_messages_count"] == 2 + EACH
    assert found["imd_queue_length,queue=commit"] == 0
    assert found["imd_ready"] == found["imd_dependency_up,dependency=store"] == 1
    assert found["process_resident_memory_bytes"] > 1e6
    assert found["imd_reactor_lag_last_seconds"] >= 0
    assert found["imd_timers"] >= 2
    for secret in ("canary", str(conversation), str(alice.welcome["user"]["id"]), "127.0.0.1"):
        assert secret not in page


async def test_only_neighbours_and_those_with_the_token_may_read(server: Server) -> None:
    for name in ("Forwarded", "X_Forwarded_For", "X_Real_IP", "Via"):
        assert (await read(server.port, **{name: "192.0.2.1"}))[0] == 404
        assert (await read(server.port, **{name: "127.0.0.1"}))[0] == 404
    wrong = {"Via": "1.1 proxy", "Authorization": "Bearer " + TOKEN[:-1]}
    assert (await read(server.port, **wrong))[0] == 404
    right = wrong | {"Authorization": "Bearer " + TOKEN}
    assert (await read(server.port, **right))[0] == 200
    assert (await read(server.port, "POST"))[0] == 405


async def test_the_port_for_figures_alone_has_the_same(server: Server) -> None:
    port: int = server.figures  # type: ignore[attr-defined]
    status, page = await read(port)
    assert status == 200
    assert "imd_reactor_lag_seconds_bucket" in page
    assert (await read(port, Via="1.1 proxy"))[0] == 404


async def test_a_transfer_shows_what_every_process_has() -> None:
    port = free_port()
    own = f'[metrics]\nlisten = "tcp:{port}:interface=127.0.0.1"\n'
    server = Server("--role=transfer", config=own)
    (server.directory / "data").mkdir()
    server.begin()
    try:
        page = await patient(port)
        shown = {name.partition(",")[0] for name in values(page)}
        assert "imd_reactor_lag_last_seconds" in shown
        assert not shown & {figure.name for figure in CONNECTOR}
    finally:
        await server.close()


async def patient(port: int) -> str:
    """The page, once somebody listens."""
    while True:
        try:
            return (await read(port))[1]
        except OSError:
            await deferLater(reactor, 0.05, lambda: None)


async def read_after(port: int, sample: str) -> str:
    """The page, once it has a sample: the server may hear of an end later than its client."""
    while True:
        status, page = await read(port)
        assert status == 200
        if values(page).get(sample):
            return page
        await deferLater(reactor, 0.05, lambda: None)


def test_names_are_those_of_prometheus_and_each_says_what_it_is() -> None:
    table = (*COMMON, *CONNECTOR)
    assert len({figure.name for figure in table}) == len(table)
    for figure in table:
        assert figure.name.startswith("imd_")
        assert figure.kind in {"counter", "gauge", "histogram"}
        assert figure.text.endswith(".")


async def test_ids_of_users_are_no_labels(server: Server) -> None:
    before = set(values((await read(server.port))[1]))
    for n in range(5):
        await login(server.port, f"user{n}")
    await deferLater(reactor, 1.1, lambda: None)
    after = set(values((await read(server.port))[1]))
    assert after == before
