"""Who may ask: the Host and Origin of every request, and the key of those to the API.

A web page can make a browser send requests to loopback (DNS rebinding, CVE-2024-28224), so the
Host must name this machine, exactly, on every path and method. There are no CORS headers at all:
a foreign Origin is refused before anything is done for it. Keys are compared as digests, all of
them each time, so that neither length nor prefix nor position shows in the timing.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from semantic_actors.api.refusals import ForeignSite, KeyRequired
from semantic_actors.domain.errors import ConfigurationError
from semantic_actors.domain.ids import LOCAL, Principal

_LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Access(msgspec.Struct, frozen=True):
    """The rules of one server. `hosts` are further names it goes by; `keys` are by principal."""

    hosts: frozenset[str] = frozenset()
    keys: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Access(hosts={sorted(self.hosts)}, keys of {sorted(self.keys)})"

    def check_bind(self, host: str) -> None:
        """Raise `ConfigurationError` if `host` is open to others and there is no key."""
        if not self.keys and not _is_loopback(host):
            problem = f"host {host!r} is not loopback: configure a key first"
            raise ConfigurationError(problem)

    def check_site(self, headers: Mapping[str, str], port: int) -> None:
        """Raise `ForeignSite` unless Host, and Origin if there is one, name this server."""
        allowed = _LOOPBACK_HOSTS | {name.lower() for name in self.hosts}
        allowed |= {f"{name}:{port}" for name in allowed}
        host = headers.get("Host", "")
        if host.lower() not in allowed:
            raise ForeignSite(header="Host", got=host)
        origin = headers.get("Origin")
        if origin is not None and _authority(origin) not in allowed:
            raise ForeignSite(header="Origin", got=origin)

    def principal(self, headers: Mapping[str, str]) -> Principal:
        """Return whose key the request carries, or raise `KeyRequired`."""
        if not self.keys:
            return LOCAL
        given = [_digest(key) for key in _credentials(headers)]
        found = [
            name
            for name, key in self.keys.items()
            for digest in given
            if hmac.compare_digest(digest, _digest(key))
        ]
        if not found:
            raise KeyRequired
        return Principal(found[0])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _authority(origin: str) -> str:
    scheme, _, authority = origin.lower().partition("://")
    return authority if scheme in {"http", "https"} else ""


def _credentials(headers: Mapping[str, str]) -> Iterator[str]:
    if "x-api-key" in headers:
        yield headers["x-api-key"]
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield token.strip()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
