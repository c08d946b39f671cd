"""What is done inside Redis, each in one step.

Keys: ``imd:u:USER`` is a hash of the user's entries, DEVICE -> ``SESSION@NODE``;
``imd:c:NODE`` is the lease of a node.  An entry counts while the lease of its node exists: one
lease a node, so that a crash takes all sessions of a node out without any write.

Whatever else stands in such a hash was not written by us.  It counts as no entry, and is
replaced or deleted; a key that is no hash at all is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from imd.status.redis_reply import ErrorReply


class Script(Struct, frozen=True):
    """A script and the name under which Redis remembers it."""

    text: bytes
    sha: bytes


class Connection(Protocol):
    """Whatever sends commands."""

    async def ask(self, *command: Any) -> Any:
        """The reply to one command; raises ``ErrorReply``, or ``Unavailable``."""


async def evaluate(
    connection: Connection, script: Script, keys: Sequence[str], arguments: Sequence[Any] = ()
) -> Any:
    """Run a script by its name, or by its text if Redis does not know it (any more)."""
    rest = (len(keys), *keys, *arguments)
    try:
        return await connection.ask("EVALSHA", script.sha, *rest)
    except ErrorReply as error:
        if not error.says("NOSCRIPT"):
            raise
    return await connection.ask("EVAL", script.text, *rest)


def _script(text: str) -> Script:
    encoded = text.strip().encode()
    return Script(encoded, hashlib.sha1(encoded, usedforsecurity=False).hexdigest().encode())


#: KEYS user; ARGV device, session, node, milliseconds to keep the hash.
#: The other entry of that device if its node lives: the outranked one, or the winner.  An entry
#: of a dead node is none.
REGISTER = _script("""
local old = redis.call('HGET', KEYS[1], ARGV[1])
local mine = tonumber(ARGV[2])
local session, node
if old then
  session, node = string.match(old, '^(%d+)@(.+)$')
  session = tonumber(session)
  if session and (session >= 2 ^ 52 or redis.call('EXISTS', 'imd:c:' .. node) == 0) then
    session = nil
  end
end
if not session or session <= mine then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. '@' .. ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if session and session ~= mine then return old end
return false
""")

#: KEYS user; ARGV device, ``SESSION@NODE``.
UNREGISTER = _script("""
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return false
""")

#: KEYS lease; ARGV the mark that is known to be in it, the mark for a new one, milliseconds.
#: 1: renewed; 0: it is a new one.  If that answer is lost the new mark is not known, so that
#: the next beat makes another new one, and says so.
BEAT = _script("""
local mark = redis.pcall('GET', KEYS[1])
if mark == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 1
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 0
""")

#: KEYS users.  A line ``INDEX DEVICE SESSION@NODE`` for each live entry, INDEX from 1; what is
#: found dead is deleted in the same step, so that no entry which came back meanwhile can be hit.
#: One string, because a list costs the reader seven times as much (HGETALL for each: fourteen).
LOOKUP = _script("""
local lives, lines = {}, {}
for index, key in ipairs(KEYS) do
  local fields = redis.pcall('HGETALL', key)
  for f = 1, #fields, 2 do
    local device, value = fields[f], fields[f + 1]
    local node = string.find(device, '^%d+$') and string.match(value, '^%d+@(.+)$')
    if node and lives[node] == nil then
      lives[node] = redis.call('EXISTS', 'imd:c:' .. node) == 1
    end
    if node and lives[node] then
      lines[#lines + 1] = index .. ' ' .. device .. ' ' .. value
    else
      redis.pcall('HDEL', key, device)
    end
  end
end
return table.concat(lines, '\\n')
""")

#: KEYS leases.  A list of 1 and 0: whether each exists.
LIVING = _script("""
local lives = {}
for index, key in ipairs(KEYS) do
  lives[index] = redis.call('EXISTS', key)
end
return lives
""")
