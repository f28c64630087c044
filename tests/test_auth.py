import asyncio
from datetime import UTC, datetime

import httpx
import pytest
from houses import ROW, client_of, give_baseline, open_shop
from starlette.routing import Mount

from service.errors import BadName
from service.storage.embedded import Embedded
from service.storage.store import Store
from service.web.api import create_app
from service.web.auth import (
    FRESH_SECONDS,
    BadKey,
    Keyring,
    NoAccess,
    NotAllowed,
    OnlyLocal,
    UnknownKey,
    create_key,
    has_keys,
    list_keys,
    revoke_key,
)

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
OPEN = {"/healthz", "/readyz", "/problems", "/docs", "/openapi.json", "/docs/oauth2-redirect"}


class Beats:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def make(store: Store, *scopes: str, models: tuple[str, ...] = ()) -> str:
    return create_key(store, "a test", scopes, models, NOW)[1]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_key_opens_its_scopes_and_no_other(store: Store):
    token = make(store, "ingest")
    assert Keyring(store).admit(token, "ingest", "shop").name == "a test"
    with pytest.raises(NotAllowed, match="scopes ingest; read is needed"):
        Keyring(store).admit(token, "read")


def test_admin_includes_every_scope(store: Store):
    token = make(store, "admin")
    for scope in ("ingest", "read", "operate", "admin"):
        Keyring(store).admit(token, scope)


def test_a_key_for_some_models_opens_no_other(store: Store):
    token = make(store, "read", models=("shop",))
    caller = Keyring(store).admit(token, "read", "shop")
    assert (caller.may_see("shop"), caller.may_see("bank")) == (True, False)
    with pytest.raises(NotAllowed, match="for the models shop only"):
        Keyring(store).admit(token, "read", "bank")


@pytest.mark.parametrize("token", ["", "tg_guess", "tg_" + "x" * 43])
def test_no_key_and_a_wrong_key_open_nothing(store: Store, token):
    make(store, "admin")
    with pytest.raises(NoAccess):
        Keyring(store).admit(token, "read", is_local=True)


def test_the_store_never_holds_a_key(store: Store):
    token = make(store, "admin")
    held = b"".join(part for name in store.do("KEYS", "*") for part in store.do("HGETALL", name))
    assert token.encode() not in held
    assert token.removeprefix("tg_").encode() not in held


def test_a_revoked_key_stops_working_when_the_keys_are_read_again(store: Store):
    beats = Beats()
    ring = Keyring(store, beats=beats)
    made, token = create_key(store, "feed", ["ingest"], [], NOW)
    ring.admit(token, "ingest")
    revoke_key(store, made.id, NOW)
    beats.at += FRESH_SECONDS
    with pytest.raises(NoAccess, match="revoked"):
        ring.admit(token, "ingest")


def test_the_keys_are_not_read_for_every_request(store: Store):
    beats = Beats()
    ring = Keyring(store, beats=beats)
    token = make(store, "read")
    ring.admit(token, "read")
    before = reads(store)
    for _ in range(50):
        ring.admit(token, "read")
    assert reads(store) == before


def reads(store: Store) -> bytes:
    return next(line for line in store.do("INFO", "commandstats").splitlines() if b"cmdstat_hgetall" in line)


def test_without_any_key_only_this_machine_is_answered(store: Store):
    assert not has_keys(store)
    assert Keyring(store).admit("", "admin", is_local=True).models == ()
    with pytest.raises(OnlyLocal, match="tidegate keys create"):
        Keyring(store).admit("", "read")


def test_revoking_the_last_key_closes_the_service(store: Store):
    made, token = create_key(store, "only", ["admin"], [], NOW)
    revoke_key(store, made.id, NOW)
    assert has_keys(store)
    for shown in ("", token):
        with pytest.raises(NoAccess):
            Keyring(store).admit(shown, "read", is_local=True)


def test_keys_are_listed_oldest_first_and_revoked_ones_stay(store: Store):
    first, _ = create_key(store, "first", ["read", "read"], ["shop"], NOW)
    second, _ = create_key(store, "second", ["ingest"], [], NOW.replace(hour=11))
    revoke_key(store, first.id, NOW.replace(hour=12))
    revoke_key(store, first.id, NOW.replace(hour=13))
    listed = list_keys(store)
    assert [(k.id, k.scopes, k.models) for k in listed] == [
        (first.id, ("read",), ("shop",)),
        (second.id, ("ingest",), ()),
    ]
    assert [k.revoked_at for k in listed] == [NOW.replace(hour=12), None]


def test_what_cannot_be_a_key_is_refused_with_what_is_allowed(store: Store):
    with pytest.raises(BadKey, match="ingest, read, operate, admin"):
        create_key(store, "x", ["write"], [], NOW)
    with pytest.raises(BadKey, match="at least one scope"):
        create_key(store, "x", [], [], NOW)
    with pytest.raises(BadKey, match="name"):
        create_key(store, "", ["read"], [], NOW)
    with pytest.raises(BadName):
        create_key(store, "x", ["read"], ["a b"], NOW)
    with pytest.raises(UnknownKey, match="keys list"):
        revoke_key(store, "nope", NOW)
    assert list_keys(store) == []


def routes_of(app) -> list[tuple[str, str]]:
    found = [("GET", "/docs"), ("GET", "/openapi.json")]
    for path, methods in app.openapi()["paths"].items():
        found += [(method.upper(), path.replace("{", "").replace("}", "")) for method in methods]
    return [*found, ("GET", "/"), ("GET", "/problems")]


def test_with_keys_every_address_but_the_open_ones_asks_for_one(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house:
        make(house.store, "admin")
        app = create_app(house)
        with client_of(house) as client:
            for method, path in routes_of(app):
                answer = client.request(method, path)
                assert (answer.status_code == 401) == (path not in OPEN), f"{method} {path}: {answer.status_code}"
    assert [r.path for r in app.routes if isinstance(r, Mount)] == ["/static"]


def test_each_scope_reaches_its_routes_over_http(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        give_baseline(house)
        reader, sender, operator = (bearer(make(house.store, scope)) for scope in ("read", "ingest", "operate"))
        wish = {"who": "ann", "why": "a try"}
        assert client.get("/v1/models", headers=reader).status_code == 200
        assert client.get("/metrics", headers=reader).status_code == 200
        assert client.post("/v1/models/shop/predictions", json=[ROW], headers=sender).status_code == 202
        assert client.post("/v1/models/shop/retrain", json=wish, headers=operator).json()["who"] == (
            "ann (access key a test)"
        )
        assert client.post("/v1/models/shop/retrain", json=wish, headers=reader).status_code == 403
        assert client.post("/v1/models/shop/predictions", json=[ROW], headers=reader).status_code == 403
        assert client.get("/metrics", headers=sender).status_code == 403


def test_a_key_for_one_model_sees_no_other(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        house.ledger.add_model("bank")
        mine = bearer(make(house.store, "admin", models=("shop",)))
        assert [m["model"] for m in client.get("/v1/models", headers=mine).json()["models"]] == ["shop"]
        assert client.get("/v1/models/bank", headers=mine).status_code == 403
        assert 'model="bank"' not in client.get("/metrics", headers=mine).text
        assert "bank" not in client.get("/", headers=mine).text
        assert "bank" not in client.get("/v1/retrainings", headers=mine).text


def test_a_browser_may_read_with_the_key_as_password_and_do_nothing_else(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        login = ("anyone", make(house.store, "admin"))
        refused = client.get("/", headers={"Accept": "text/html"})
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Basic realm="tidegate"')
        assert client.get("/", auth=login).status_code == 200
        assert client.post("/v1/models/shop/retrain", json={"who": "a", "why": "b"}, auth=login).status_code == 401


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [("10.0.0.9", "localhost", 403), ("127.0.0.1", "evil.example", 403), ("127.0.0.1", "localhost:8321", 200),
     ("::1", "[::1]:8321", 200), ("127.0.0.1", "127.0.0.1", 200)],
)  # fmt: skip
def test_without_keys_other_machines_and_names_that_point_here_are_refused(
    server: Embedded, tmp_path, address, host, status
):
    async def ask(app) -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/v1/models", headers={"Host": host})

    with open_shop(server, tmp_path) as house:
        assert asyncio.run(ask(create_app(house))).status_code == status
