"""For applications that speak ASGI (FastAPI, Starlette, Litestar, Django …): predictions noted while a request is
answered are logged when its response is out, and the response names them in `X-Prediction-Id`.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from tidegate_client.client import Client
from tidegate_client.rows import Values

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = "X-Prediction-Id"


class RequestPredictions:
    """The predictions of one request. `id` is that of the first; of the next ones `log` tells."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self._noted: list[Callable[[Client], None]] = []

    def log(
        self,
        prediction: object,
        *,
        features: Values | None = None,
        scores: Mapping[str, float] | None = None,
        confidence: float | None = None,
        tags: Values | None = None,
        timestamp: datetime | None = None,
        model_version: str | None = None,
    ) -> str:
        """Note a prediction, as `Client.log` does; gives its id, for the response and the label."""
        prediction_id = f"{self.id}.{len(self._noted)}" if self._noted else self.id

        def note(client: Client) -> None:
            client.log(
                prediction_id,
                prediction,
                features=features,
                scores=scores,
                confidence=confidence,
                tags=tags,
                timestamp=timestamp,
                model_version=model_version,
            )

        self._noted.append(note)
        return prediction_id

    @property
    def is_empty(self) -> bool:
        """Whether nothing was noted."""
        return not self._noted

    def hand_over(self, client: Client) -> None:
        """Log what was noted."""
        for note in self._noted:
            note(client)
        self._noted.clear()


_current: ContextVar[RequestPredictions] = ContextVar("tidegate_request_predictions")


def current() -> RequestPredictions:
    """The predictions of the request that is being answered; also in the threads of a framework.

    Raises:
        LookupError: no request is being answered, or the application has no `PredictionMiddleware`.
    """
    return _current.get()


class PredictionMiddleware:
    """Wrap an application in it: `app.add_middleware(PredictionMiddleware, client=tidegate)`.

    A request that ends without a whole response logs nothing: nobody was served its predictions. The client starts with
    the application, and sends what is left when the application stops.
    """

    def __init__(self, app: Application, client: Client) -> None:
        self._app, self._client = app, client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._with_lifespan(send))
        elif scope["type"] == "http":
            predictions = RequestPredictions()
            _current.set(predictions)
            await self._app(scope, receive, self._with_predictions(send, predictions))
        else:
            await self._app(scope, receive, send)

    def _with_predictions(self, send: Send, predictions: RequestPredictions) -> Send:
        async def send_then_log(message: Message) -> None:
            if message["type"] == "http.response.start" and not predictions.is_empty:
                name, value = HEADER.lower().encode(), predictions.id.encode()
                message = {**message, "headers": [*message.get("headers", ()), (name, value)]}
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                predictions.hand_over(self._client)

        return send_then_log

    def _with_lifespan(self, send: Send) -> Send:
        async def send_and_follow(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._client.start()
            if message["type"].startswith("lifespan.shutdown."):
                await self._client.aclose()
            await send(message)

        return send_and_follow
