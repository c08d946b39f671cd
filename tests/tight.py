"""Servers with limits of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.process import Server

#: Begins a server whose limits are the usual ones but for those that are named.
Start = Callable[..., Awaitable[Server]]


@asynccontextmanager
async def servers(config: str) -> AsyncIterator[Start]:
    """Begins servers; ``config`` ends in the table of limits."""
    running: list[Server] = []

    async def start(**limits: object) -> Server:
        server = Server(config=config + "".join(f"{k} = {v}\n" for k, v in limits.items()))
        running.append(server)
        await server.start()
        return server

    try:
        yield start
    finally:
        for server in running:
            await server.close()
