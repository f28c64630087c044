"""Addresses of stores: one server, a cluster, or the primary that sentinels name."""

import re
from dataclasses import dataclass

ALLOWED = (
    "redis://HOST:PORT, unix:///PATH, redis+cluster://HOST:PORT,HOST:PORT, "
    "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE, each with rediss for TLS"
)
_FORM = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>cluster|sentinel)://(?:(?P<login>[^@/]*)@)?(?P<hosts>[^/?]+)"
    r"(?P<path>/[^?]*)?(?:\?(?P<options>.*))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(?P<port>\d+))?")
_PORTS = {"cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True)
class Address:
    """Where a store is. `hosts` are nodes of the cluster or sentinels; of one server only `url` is known."""

    kind: str
    url: str
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""

    def url_of(self, host: str, port: int) -> str:
        """The address of one of several servers, with the login and options of all."""
        named = f"[{host}]" if ":" in host else host
        return self.url.replace("*", f"{named}:{port}", 1)


def address_of(text: str) -> Address:
    """What an address says.

    Raises:
        ValueError: it is none; the message says what is allowed.
    """
    if text.partition("://")[0] in {"redis", "rediss", "unix"}:
        return Address("server", text)
    found = _FORM.fullmatch(text)
    hosts = [_HOST.fullmatch(each) for each in found["hosts"].split(",")] if found else []
    if found is None or not all(hosts):
        raise ValueError(f"allowed are {ALLOWED}")
    kind, (service, _, database) = found["kind"], (found["path"] or "").strip("/").partition("/")
    if (kind == "sentinel") != bool(service):
        wrong = "has no" if kind == "cluster" else "needs a"
        raise ValueError(f"an address of a {kind} {wrong} service name behind the hosts: allowed are {ALLOWED}")
    login = f"{found['login']}@" if found["login"] else ""
    options = f"?{found['options']}" if found["options"] else ""
    return Address(
        kind,
        f"{found['scheme']}://{login}*/{database}{options}",
        tuple((each["host"].strip("[]"), int(each["port"] or _PORTS[kind])) for each in hosts if each),
        service,
    )
