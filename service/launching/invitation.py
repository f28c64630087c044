"""The invitation to a trainer outside: what is asked, why, where the files are, and how to answer."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from service.house import House
from service.launching.outside import share, token_of
from service.launching.port import LaunchFailed, Order
from service.ledger.records import Retraining
from service.settings import Settings

EVENT_TYPE = "tidegate.retraining.requested"
GITHUB_TYPE = "tidegate-retraining"
_MOST_NAMES, _MOST_CHARACTERS, _DEEPEST = 50, 500, 6


def invitation(house: House, order: Order, form: str) -> bytes:
    """The body of the request for an order, the same at every try, in the form that its receiver takes: a CloudEvent,
    a repository dispatch of GitHub, or a DAG run of Airflow.

    Raises:
        LaunchFailed: nobody said at which address trainers reach this service.
    """
    retraining = house.ledger.retraining(order.model, order.retraining)
    if retraining is None:
        raise LaunchFailed(f"there is no retraining {order.retraining} of {order.model}")
    asked = _asked(house, order, retraining)
    if form == "github":
        # At most ten names are allowed at the top of a payload.
        return msgspec.json.encode({"event_type": GITHUB_TYPE, "client_payload": {"order": asked}})
    if form == "airflow":
        return msgspec.json.encode({"dag_run_id": order.name, "logical_date": None, "conf": asked})
    event = {
        "specversion": "1.0",
        "id": order.name,
        "source": house.settings.public_url,
        "type": EVENT_TYPE,
        "subject": order.model,
        "time": retraining.opened_at,
        "datacontenttype": "application/json",
        "data": asked,
    }
    return msgspec.json.encode(event)


def address_of(settings: Settings, retraining: str) -> str:
    """Where a trainer finds its retraining: the files, and what it can say and send, are below it.

    Raises:
        LaunchFailed: nobody said at which address trainers reach this service.
    """
    return f"{service_address(settings)}/v1/retrainings/{quote(retraining, safe='')}"


def service_address(settings: Settings) -> str:
    """Where trainers reach this service.

    Raises:
        LaunchFailed: nobody said.
    """
    address = settings.trainer_url or settings.public_url
    if not address:
        raise LaunchFailed(
            "TIDEGATE_PUBLIC_URL is not set, nor TIDEGATE_TRAINER_URL: the address at which the trainer reaches this "
            "service is needed"
        )
    return address


def _asked(house: House, order: Order, retraining: Retraining) -> dict[str, Any]:
    url = address_of(house.settings, order.retraining)
    files = [
        {"name": each.name, "url": f"{url}/files/{quote(each.name)}", "bytes": each.bytes, "sha256": each.sha256}
        for each in share(house, order)
    ]
    return {
        "order": order.name,
        "retraining": order.retraining,
        "model": order.model,
        "version": order.version,
        "champion": retraining.champion,
        "decision": retraining.decision,
        "reasons": retraining.reasons,
        "segments": _short(retraining.segments),
        "change_started": retraining.change_started,
        "manifest": _short(retraining.manifest),
        "failures": _short(retraining.failures),
        "deadline": order.deadline,
        "url": url,
        "token": token_of(house.store, order.name),
        "files": files,
        "answer_url": f"{url}/answer",
        "model_url": f"{url}/model",
        "events_url": f"{url}/events",
    }


def _short(value: Any, depth: int = 0) -> Any:  # noqa: ANN401  plain values of JSON
    """The beginning of a value: some receivers take no more than 64 kB."""
    if isinstance(value, str):
        return value[:_MOST_CHARACTERS]
    if isinstance(value, Mapping):
        inner = list(value.items())[:_MOST_NAMES] if depth < _DEEPEST else []
        return {name: _short(each, depth + 1) for name, each in inner}
    if isinstance(value, Sequence):
        return [_short(each, depth + 1) for each in value[:_MOST_NAMES]] if depth < _DEEPEST else []
    return value
