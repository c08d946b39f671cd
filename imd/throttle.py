"""How often somebody may do something.  Time is an argument, in monotonic seconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Generic, TypeVar

from imd.errors import Code, Refusal

K = TypeVar("K", bound=Hashable)

#: Buckets or counts kept of each kind; the longest unused go first.
MOST_KEYS = 50_000
#: Failed logins of an account before it is locked, and for how many seconds at first.
FAILURES = 5
FIRST_LOCK = 60.0
LONGEST_LOCK = 900.0
#: Seconds without a failure after which an account starts afresh.
FORGET = 3600.0


class TokenBucket:
    """``rate`` a second, ``burst`` at once; a rate of 0 is no limit."""

    __slots__ = ("_burst", "_rate", "_tokens", "_when")

    def __init__(self, rate: float, burst: float, now: float = 0.0) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._when = now

    def wait(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        if not self._rate:
            return 0
        self._tokens = min(self._burst, self._tokens + (now - self._when) * self._rate)
        self._when = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        return (1 - self._tokens) / self._rate


class Keyed(Generic[K]):
    """A bucket for each key, in bounded memory."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[K, TokenBucket] = OrderedDict()

    def bucket(self, key: K) -> TokenBucket:
        """The bucket of a key."""
        found = self._buckets.get(key)
        if found is None:
            # The first ``wait`` fills it: no time has passed for a bucket that is full.
            found = self._buckets[key] = TokenBucket(self._rate, self._burst)
            if len(self._buckets) > MOST_KEYS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return found

    def check(self, key: K, now: float, what: str) -> None:
        """Take a token; raises ``Refusal(LIMIT)`` if there is none."""
        wait = self.bucket(key).wait(now)
        if wait:
            raise Refusal(Code.LIMIT, f"too many {what}; try again in {wait:.0f} s", wait)


class Locks:
    """Accounts whose password was guessed wrongly too often."""

    def __init__(self) -> None:
        #: Name to failures in a row, when the last was, and until when it is locked.
        self._failures: OrderedDict[str, tuple[int, float, float]] = OrderedDict()

    def check(self, name: str, now: float) -> None:
        """Raises ``Refusal(LOCKED)`` while the account is locked."""
        _, _, until = self._failures.get(name, (0, 0.0, 0.0))
        if now < until:
            wait = until - now
            message = f"too many wrong passwords; try again in {wait:.0f} s, or use a token"
            raise Refusal(Code.LOCKED, message, wait)

    def failed(self, name: str, now: float) -> None:
        """A wrong password.  From the fifth on each one locks, twice as long each time."""
        count, last, _ = self._failures.pop(name, (0, now, 0.0))
        count = 1 if now - last > FORGET else count + 1
        lock = FIRST_LOCK * 2 ** min(count - FAILURES, 10) if count >= FAILURES else 0.0
        self._failures[name] = (count, now, now + min(lock, LONGEST_LOCK))
        if len(self._failures) > MOST_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """The right password: start afresh."""
        self._failures.pop(name, None)


def _parsed(address: str) -> IPv4Address | IPv6Address:
    """The address that is meant: a socket for both IPv4 and IPv6 writes 192.0.2.1 as
    ``::ffff:192.0.2.1``.  Raises ``ValueError``.
    """
    ip = ip_address(address)
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped or ip


def network_of(address: str) -> str:
    """What counts as one address: itself, or the /64 of an IPv6 address."""
    try:
        ip = _parsed(address)
    except ValueError:
        return address
    if isinstance(ip, IPv4Address):
        return str(ip)
    return str(IPv6Network((ip, 64), strict=False))


def trusts(networks: Iterable[str]) -> Callable[[str], bool]:
    """Whether an address lies in one of ``networks``.  A Unix socket (no address) does."""
    parsed: list[IPv4Network | IPv6Network] = [ip_network(text) for text in networks]

    def trusted(address: str) -> bool:
        try:
            ip = _parsed(address)
        except ValueError:
            return not address
        return any(ip in network for network in parsed if network.version == ip.version)

    return trusted
