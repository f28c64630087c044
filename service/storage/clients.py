"""Clients of the library, set so that nothing is sent twice and nothing is waited for long."""

from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from service.storage.addresses import Address

Client = Any  # redis.Redis: most of its methods have no types
# Gives a client whose answers are waited for so many seconds; it connects when it is used.
Connect = Callable[[float], Client]
_CONNECT_SECONDS = 2.0


def connect_url(url: str, answer_seconds: float) -> Client:
    """A client of one server."""
    return _plain(redis.Redis.from_url(url, **_options(answer_seconds)))


def connect_named(address: Address, answer_seconds: float) -> Client:
    """A client of the server that the sentinels name as primary; they are asked again at each new connection."""
    parse: Any = parse_url
    options: dict[str, Any] = {**parse(address.url_of("sentinels", 1)), **_options(answer_seconds)}
    for name in ("host", "port", "connection_class"):
        options.pop(name, None)
    tls = {"ssl": True} if address.url.startswith("rediss") else {}
    tls |= {name: value for name, value in options.items() if name.startswith("ssl")}
    logins = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    make: Any = Sentinel
    sentinels = make(address.hosts, sentinel_kwargs={**_options(answer_seconds), **tls, **logins}, **{**options, **tls})
    return _plain(sentinels.master_for(address.service))


def _options(answer_seconds: float) -> dict[str, Any]:
    # Its default of retrying would append and count twice what is not idempotent. RESP2: the answers of scripts are the
    # same on every server version.
    return {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": answer_seconds,
        "socket_connect_timeout": min(_CONNECT_SECONDS, answer_seconds),
    }


def _plain(client: Client) -> Client:
    # Plain answers, the same through a script, a pipeline and a single command.
    client.response_callbacks.clear()
    return client
