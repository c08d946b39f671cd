"""A server that is killed at any moment loses nothing it has acknowledged."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from imd.client import Client
from imd.client.values import Message, Sent
from tests.process import Server, reactor


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """A running server."""
    running = Server()
    await running.start()
    yield running
    await running.close()


async def friends(server: Server, *names: str) -> tuple[int, list[Client]]:
    """Two users who are friends and online; their conversation."""
    clients = [Client(server.url, name, "secret", register=True) for name in names]
    for client in clients:
        client.start()
        await client.ready()
    await clients[0].friends.add(names[1])
    friend = await clients[1].friends.accept(names[0])
    return friend["conv"], clients


async def stopped(clients: list[Client]) -> None:
    for client in clients:
        await client.stop()


def collect(client: Client) -> list[Message]:
    """Everything that is delivered to a client."""
    got: list[Message] = []

    @client.on_message
    async def keep(message: Message) -> None:
        got.append(message)

    return got


async def until(true: object, seconds: float = 120.0) -> None:
    """Wait until a condition holds."""
    assert callable(true)
    end = reactor.seconds() + seconds
    while not true():
        assert reactor.seconds() < end, "this never became true"
        await deferLater(reactor, 0.01, lambda: None)


async def test_two_users_chat_with_every_receipt(server: Server) -> None:
    conversation, clients = await friends(server, "alice", "bob")
    alice, bob = clients
    got = collect(bob)
    sent = await alice.send(conversation, "hi bob")
    await until(lambda: got)
    assert (got[0].text, got[0].seq) == ("hi bob", sent.seq)
    await until(lambda: alice.status(sent) == "delivered")
    bob.read(got[0])
    await until(lambda: alice.status(sent) == "read")
    await stopped(clients)


async def test_messages_survive_kills_at_random_moments(server: Server) -> None:
    conversation, clients = await friends(server, "alice", "bob")
    alice, bob = clients
    got = collect(bob)
    source = random.Random(7)
    sends: list[Deferred[Sent]] = []
    for burst in range(5):
        for n in range(40):
            sends.append(alice.send(conversation, f"{burst}.{n}"))
        await deferLater(reactor, source.random() * 0.05, lambda: None)
        await server.kill()
        await server.start()
    acked = await gatherResults(sends)
    await until(lambda: len(got) >= 200)
    assert [message.text for message in got] == [f"{b}.{n}" for b in range(5) for n in range(40)]
    assert [message.seq for message in got] == list(range(1, 201))
    assert [sent.seq for sent in acked] == list(range(1, 201))
    await until(lambda: alice.status(acked[-1]) == "delivered")
    await stopped(clients)


async def test_a_thousand_messages_wait_for_a_user_who_is_away(server: Server) -> None:
    conversation, clients = await friends(server, "alice", "bob")
    alice, bob = clients
    await bob.stop()
    await gatherResults([alice.send(conversation, str(n)) for n in range(1000)])
    again = Client(server.url, "bob", "secret")
    got = collect(again)
    again.start()
    await until(lambda: len(got) >= 1000)
    assert [message.text for message in got] == [str(n) for n in range(1000)]
    await stopped([alice, again])
