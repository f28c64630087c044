"""POST alerts of Alertmanager, and GET the signals about a model."""

from fastapi import APIRouter, Request, Response

from service.conventions.alertmanager import read_signals
from service.conventions.signals import Signals
from service.conventions.unusable import Unusable
from service.house import House
from service.web.auth import Caller
from service.web.routes.bodies import JSON, check_type
from service.web.routes.desk import AtDesk, Desk, Operator, Reader, answer, in_thread
from service.web.routes.refusals import BadRequest

routes = APIRouter(tags=["signals"])
_MOST_BYTES = 4 << 20

_ALERT = {
    "type": "object",
    "required": ["status", "startsAt", "fingerprint"],
    "properties": {
        "status": {"enum": ["firing", "resolved"]},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "startsAt": {"type": "string", "format": "date-time"},
        "endsAt": {"type": "string", "format": "date-time"},
        "fingerprint": {"type": "string"},
    },
}
_BODY = {
    "type": "object",
    "required": ["version", "alerts"],
    "properties": {"version": {"const": "4"}, "alerts": {"type": "array", "items": _ALERT}},
}


@routes.post(
    "/v1/signals/alertmanager",
    summary="Take a notification of Alertmanager's webhook",
    openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": _BODY}}}},
)
async def take_alerts(request: Request, desk: AtDesk, caller: Operator) -> Response:
    """Keeps each alert as a signal about the model that its label `model` names, or about all models."""
    check_type(request, (JSON,))
    async with desk.bodies.take(request, _MOST_BYTES) as body:
        return answer(await in_thread(lambda: _keep(desk, caller, body)))


@routes.get("/v1/models/{model}/signals", summary="What other systems say about a model")
def list_signals(model: str, desk: AtDesk, caller: Reader) -> Response:
    """Signals about the model and about all models, the ones told last first."""
    desk.check_model(model, caller)
    house, signals = desk.house, signals_of(desk.house)
    firing = {signal.fingerprint for signal in signals.firing(model)}
    found = [{"signal": signal, "is_firing": signal.fingerprint in firing} for signal in signals.of(model)]
    return answer({"holds": signals.hold(model), "now": house.clock(), "signals": found})


def signals_of(house: House) -> Signals:
    """The signals that a house keeps."""
    return Signals(house.store, house.settings.signal_life, house.clock)


def _keep(desk: Desk, caller: Caller, body: bytes) -> dict[str, int]:
    house = desk.house
    try:
        told = read_signals(body, house.clock())
    except Unusable as problem:
        raise BadRequest(str(problem)) from problem
    models = set(desk.models(caller))
    # A key for some models says nothing about all of them.
    kept = [signal for signal in told if (signal.model in models if signal.model else not caller.models)]
    signals_of(house).keep(kept)
    return {"kept": len(kept), "of_no_model_here": len(told) - len(kept)}
