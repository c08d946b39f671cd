"""By which names this server may be called, and who may say for whom a request is.

A page of a stranger may give its own name the address of this server (DNS rebinding), and the
browser of a user then takes both for the same; but the Host of its requests still is that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from imd.throttle import trusts

#: In ``hosts``: by any name.
ANY = "*"


class Hosts:
    """The names in ``hosts`` and those of ``origins``.  Addresses, and names without a dot, are
    always good: a stranger can have neither.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        named = (urlsplit(origin).hostname or "" for origin in origins)
        self._names = {name.lower().rstrip(".") for name in (*hosts, *named)}

    def knows(self, host: bytes) -> bool:
        """Whether a Host, with or without a port, may stand in a request."""
        if ANY in self._names:
            return True
        text = host.decode("latin-1").lower()
        if text.startswith("["):
            return _is_address(text[1:].partition("]")[0])
        name = text.partition(":")[0].rstrip(".")
        return "." not in name or name in self._names or _is_address(name)


class Proxies:
    """Networks whose word is taken for the address of a client, in X-Forwarded-For.

    No other header is read: a proxy hands on those that it does not know, and with them whatever
    a client has written there.
    """

    HEADER = "x-forwarded-for"

    def __init__(self, networks: Sequence[str] = ()) -> None:
        known = trusts(networks)
        self.includes: Callable[[str], bool] = lambda address: bool(address) and known(address)

    def client(self, peer: str, values: Iterable[str]) -> str:
        """The address for which ``peer`` speaks: the last in ``values`` of the header that is no
        proxy, since what stands before it anybody may have written.
        """
        address = peer
        for hop in reversed([hop.strip() for value in values for hop in value.split(",")]):
            if not self.includes(address) or not _is_address(hop):
                break
            address = hop
        return address


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
