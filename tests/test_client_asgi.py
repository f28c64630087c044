"""The middleware, in a real FastAPI application on a real server, with the real service behind it."""

from collections.abc import Iterator
from typing import Annotated

import anyio
import anyio.lowlevel
import httpx
import pytest
import tidegate_client
from client_stage import Shop, shop_on, talking
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from houses import NOON, open_shop, serve
from tidegate_client import Client, PredictionMiddleware, RequestPredictions, current


@pytest.fixture
def shop(server, tmp_path) -> Iterator[Shop]:
    with open_shop(server, tmp_path) as house, shop_on(house, tmp_path) as shop:
        yield shop


def application(client: Client) -> FastAPI:
    app = FastAPI()
    app.add_middleware(PredictionMiddleware, client=client)

    @app.get("/sync")
    def sync() -> str:
        return current().log("fit", features={"x": 1.0}, scores={"fit": 0.75, "returns": 0.25}, timestamp=NOON)

    @app.get("/async")
    async def of_a_dependency(predictions: Annotated[RequestPredictions, Depends(current)]) -> list[str]:
        return [predictions.log("fit", timestamp=NOON), predictions.log("returns", timestamp=NOON)]

    @app.get("/none")
    async def none() -> str:
        return current().id

    @app.get("/refused")
    def refused() -> None:
        current().log("fit", timestamp=NOON)
        raise HTTPException(422, "a wish")

    @app.get("/broken")
    async def broken() -> StreamingResponse:
        current().log("fit", timestamp=NOON)

        async def parts():
            yield b"a"
            await anyio.lowlevel.checkpoint()
            raise ValueError("in the midst")

        return StreamingResponse(parts())

    return app


def test_the_response_names_the_prediction_and_a_label_finds_it(shop):
    with shop.connect() as client, serve(application(client)) as address:
        url = "http://{}:{}".format(*address)
        answer = httpx.get(f"{url}/sync")
        assert answer.headers["X-Prediction-Id"] == answer.json()
        many = httpx.get(f"{url}/async")
        assert many.json() == [many.headers["x-prediction-id"], f"{many.headers['x-prediction-id']}.1"]
        assert "x-prediction-id" not in httpx.get(f"{url}/none").headers
        client.label(answer.json(), "returns", timestamp=NOON)
        assert client.flush(20)
        assert client.counts().accepted == 4
    found = shop.house.archive.predictions("shop", NOON, NOON.replace(year=2027))
    assert sorted(found.column("prediction_id").to_pylist()) == sorted([answer.json(), *many.json()])


def test_a_response_that_says_no_is_a_response_and_a_broken_one_is_none(shop):
    with shop.connect() as client, serve(application(client)) as address:
        url = "http://{}:{}".format(*address)
        assert httpx.get(f"{url}/refused").status_code == 422
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{url}/broken")
        assert client.counts().logged == 1


def test_responses_do_not_wait_for_a_service_that_hangs(tmp_path):
    with (
        talking(lambda connection: connection.recv(1) and None) as nobody,
        tidegate_client.connect(nobody, "shop", spool=tmp_path, exit_seconds=0, batch_seconds=0.01) as client,
        serve(application(client)) as address,
    ):
        for _ in range(20):
            assert httpx.get("http://{}:{}/sync".format(*address), timeout=20).status_code == 200
        assert client.counts().logged == 20


def test_current_outside_of_a_request_says_so():
    with pytest.raises(LookupError):
        current()


def test_the_client_starts_and_stops_with_the_application(shop):
    client, sent = shop.connect(batch_seconds=60), []

    async def app(scope, receive, send) -> None:
        assert (scope["type"], receive) == ("lifespan", None)
        await send({"type": "lifespan.startup.complete"})
        client.log("p", "fit", timestamp=NOON)
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message) -> None:
        sent.append((message["type"], client.counts().accepted))

    anyio.run(PredictionMiddleware(app, client), {"type": "lifespan"}, None, send)
    assert sent == [("lifespan.startup.complete", 0), ("lifespan.shutdown.complete", 1)]


def test_other_scopes_pass(shop):
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append((scope, receive, send))

    anyio.run(PredictionMiddleware(app, shop.connect()), {"type": "websocket"}, None, None)
    assert seen == [({"type": "websocket"}, None, None)]
