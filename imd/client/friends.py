"""The friend list of a client (the ``friend.*`` methods of protocol §7)."""

from __future__ import annotations

from typing import Any, Protocol


class Caller(Protocol):
    """Whoever can call methods of the server."""

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method."""


class Friends:
    """Each method takes a user id or a name, and raises what ``Client.call`` raises."""

    def __init__(self, caller: Caller) -> None:
        self._call = caller.call

    async def list(self) -> Any:
        """All entries: dicts with ``user``, ``name``, ``state`` and, once accepted, ``conv``."""
        return (await self._call("friend.list"))["items"]

    async def add(self, user: int | str, note: str | None = None) -> Any:
        """Ask for friendship; accepts, if the other one has asked already."""
        note_field = {} if note is None else {"note": note}
        return await self._call("friend.add", user=user, **note_field)

    async def accept(self, user: int | str) -> Any:
        """Accept; this makes the conversation."""
        return await self._call("friend.accept", user=user)

    async def decline(self, user: int | str) -> Any:
        """Decline a request."""
        return await self._call("friend.decline", user=user)

    async def remove(self, user: int | str) -> Any:
        """End a friendship; the history stays readable."""
        return await self._call("friend.remove", user=user)

    async def block(self, user: int | str) -> Any:
        """Take no requests and no messages from this user."""
        return await self._call("friend.block", user=user)

    async def unblock(self, user: int | str) -> Any:
        """Take them again."""
        return await self._call("friend.unblock", user=user)
