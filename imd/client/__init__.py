"""The Python client of imd: for bots, for the terminal, and for load tests.

    client = Client("ws://127.0.0.1:8080/ws", "echo", "…", store="echo.db", register=True)

    @client.on_message
    async def echo(message):
        await client.reply(message, message.text)

    run(client)

What it guarantees is in ``Client``; how, in ``imd.client.rules``.
"""

from imd.client.client import Client
from imd.client.errors import (
    Changed,
    ClientError,
    Damaged,
    Disconnected,
    LoginFailed,
    Refused,
    StoreError,
)
from imd.client.running import run
from imd.client.store import ClientStore, MemoryStore, SqliteStore
from imd.client.values import Conversation, Message, Peer, Sent

__all__ = (
    "Changed",
    "Client",
    "ClientError",
    "ClientStore",
    "Conversation",
    "Damaged",
    "Disconnected",
    "LoginFailed",
    "MemoryStore",
    "Message",
    "Peer",
    "Refused",
    "Sent",
    "SqliteStore",
    "StoreError",
    "run",
)
