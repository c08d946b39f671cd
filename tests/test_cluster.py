"""Clients cannot tell two connectors, two transfers, PostgreSQL and Redis from one process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_twisted

from tests.cluster import Cluster, befriend, online
from tests.raw import login, resume
from tests.servers import Redis
from tests.test_kill import collect, stopped, until


@pytest_twisted.async_yield_fixture()
async def cluster(store_url: str, empty_redis: Redis) -> AsyncIterator[Cluster]:
    """A running cluster."""
    made = Cluster(store_url, empty_redis)
    await made.start()
    yield made
    await made.close()


async def test_friends_on_different_connectors_chat_with_every_receipt(cluster: Cluster) -> None:
    one, other = cluster.connectors
    alice, bob = await online(one, "alice"), await online(other, "bob")
    conversation = await befriend(alice, bob)
    await until(lambda: conversation in alice.conversations)
    got = collect(bob)
    sent = await alice.send(conversation, "hi bob")
    await until(lambda: got)
    assert (got[0].text, got[0].seq) == ("hi bob", sent.seq)
    await until(lambda: alice.status(sent) == "delivered")
    bob.read(got[0])
    await until(lambda: alice.status(sent) == "read")
    await stopped([alice, bob])


async def test_a_device_that_connects_elsewhere_replaces_its_session(cluster: Cluster) -> None:
    one, other = cluster.connectors
    first = await login(one.port, "alice")
    second = await resume(other.port, first.welcome["token"])
    assert await first.closed == 4502
    second.say({"type": "ping", "n": 1})
    await second.hear("pong")


async def test_a_revoked_device_is_closed_wherever_it_is(cluster: Cluster) -> None:
    one, other = cluster.connectors
    phone = await login(one.port, "alice", device="phone")
    laptop = await login(other.port, "alice", device="laptop", register=None)
    await laptop.call("device.revoke", device=phone.welcome["device"])
    assert await phone.closed == 4501
