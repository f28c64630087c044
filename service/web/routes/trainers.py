"""What trainers outside read, say and send: the files of a retraining, events, and predictions or a model.

They prove who they are by the token of their retraining, which opens nothing else and ends with it; an event may be
signed instead, by the secret that its order was signed with.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Depends, Request, Response
from pyarrow import parquet
from starlette.responses import StreamingResponse

from service.house import House
from service.launching.events import (
    MOST_BYTES,
    Events,
    Noted,
    Started,
    Succeeded,
    digest_of,
    read_event,
)
from service.launching.outside import Shared, shared
from service.launching.received import Form, read_model_files, read_rows
from service.launching.uploads import Asked, Sent, Upload, keep_answer, keep_model, upload_of
from service.ledger.records import Retraining
from service.retraining.answer import check_predictions
from service.signatures import is_identity
from service.web.routes.askers import Asker, asker_of, asker_of_token, check_shown, ended
from service.web.routes.bodies import ARROW, JSON, NDJSON, check_type
from service.web.routes.desk import AtDesk, Desk, answer, in_thread
from service.web.routes.intake import task_of
from service.web.routes.refusals import BadRequest, NotPossible, Unknown
from service.web.routes.uploading import received

routes = APIRouter(tags=["trainers"])
PARQUET = "application/vnd.apache.parquet"
_FORMS: dict[str, Form] = {PARQUET: "parquet", NDJSON: "ndjson", "text/csv": "csv", ARROW: "arrow"}
_ARCHIVES = ("application/zip", "application/x-tar", "application/gzip")
_ANSWERED = ("unseen.parquet", "validation.parquet")
_CHUNK_BYTES = 1 << 20

_EVENT: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "header", "schema": {"type": "string"}, "description": told}
        for name, told in (
            ("webhook-id", "The same at every try of one event; the digest of its body where not given."),
            ("webhook-timestamp", "Unix seconds of this try, where it is signed."),
            ("webhook-signature", "By Standard Webhooks, in place of the token."),
        )
    ],
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {
                        "type": {"enum": ["started", "checkpoint", "succeeded", "failed"]},
                        "run": {"type": "string"},
                        "step": {"type": "integer"},
                        "loss": {"type": "number"},
                        "validation_loss": {"type": "number"},
                        "progress": {"type": "number"},
                        "metrics": {"type": "object"},
                        "uri": {"type": "string"},
                        "reason": {"type": "string"},
                    },
                }
            }
        },
    },
}


def _bodies(*types: str) -> dict[str, Any]:
    schema = {"type": "string", "format": "binary"}
    return {"requestBody": {"required": True, "content": {each: {"schema": schema} for each in types}}}


@routes.get("/v1/retrainings/{retraining_id}/files", summary="The files that a trainer may read")
def list_files(desk: AtDesk, asker: Annotated[Asker, Depends(asker_of_token)]) -> Response:
    """Each with its size and SHA-256. The answers to `unseen.parquet` are not among them."""
    found = _files(desk.house, asker)
    return answer({"files": [{"name": f.name, "bytes": f.bytes, "sha256": f.sha256} for f in found.values()]})


@routes.get("/v1/retrainings/{retraining_id}/files/{name}", summary="One of them")
def read_file(name: str, desk: AtDesk, asker: Annotated[Asker, Depends(asker_of_token)]) -> Response:
    """Its bytes, of which the list has the digest."""
    found = _files(desk.house, asker)
    if name not in found or not desk.house.files.holds(found[name].path):
        listed = ", ".join(found) or "none, since it has not been launched"
        raise Unknown(f"{asker.retraining.id} has no file {name[:100]!r}; there are: {listed}")
    file = found[name]
    headers = {"Content-Length": str(file.bytes), "ETag": f'"{file.sha256}"'}
    media_type = JSON if name.endswith(".json") else PARQUET
    return StreamingResponse(_chunks(desk.house, file), headers=headers, media_type=media_type)


@routes.post("/v1/retrainings/{retraining_id}/events", summary="Say how a training goes", openapi_extra=_EVENT)
async def take_event(retraining_id: str, request: Request, desk: AtDesk) -> Response:
    """`started`, `checkpoint`, `succeeded` or `failed`, in any order, each as often as it takes: it counts once."""
    check_shown(request)
    async with desk.bodies.take(request, MOST_BYTES) as body:
        return await in_thread(lambda: _take(desk, retraining_id, request, body))


@routes.put("/v1/retrainings/{retraining_id}/answer", summary="Send predictions", openapi_extra=_bodies(*_FORMS))
async def put_answer(request: Request, desk: AtDesk, asker: Annotated[Asker, Depends(asker_of_token)]) -> Response:
    """One for each row of `unseen.parquet` and `validation.parquet`: `prediction_id`, `prediction`, and if there are
    `confidence` and `score_*`. Sent again it takes the place of what was sent, until the end is said.
    """
    form = _FORMS[check_type(request, tuple(_FORMS))]
    async with received(request, desk.house.settings) as (body, sent):
        return await in_thread(
            lambda: _keep(desk.house, asker, sent, lambda to: _answer(desk.house, to, form, body, sent))
        )


@routes.put("/v1/retrainings/{retraining_id}/model", summary="Send a model", openapi_extra=_bodies(*_ARCHIVES))
async def put_model(request: Request, desk: AtDesk, asker: Annotated[Asker, Depends(asker_of_token)]) -> Response:
    """A model of Tidegate's own kind, `model.skops` and `manifest.json` in a zip or tar archive, in place of
    predictions: Tidegate keeps it and asks it itself.
    """
    check_type(request, _ARCHIVES)
    async with received(request, desk.house.settings) as (body, sent):
        return await in_thread(
            lambda: _keep(desk.house, asker, sent, lambda to: keep_model(desk.house, to, read_model_files(body), sent))
        )


def _take(desk: Desk, retraining_id: str, request: Request, body: bytes) -> Response:
    digest = digest_of(body)
    identity = request.headers.get("webhook-id") or f"b-{digest[:32]}"
    if not is_identity(identity):
        raise BadRequest("webhook-id must be 1 to 255 visible ASCII characters without a full stop")
    asker = asker_of(desk, retraining_id, request, body)
    retraining, event = asker.retraining, read_event(body)
    events = Events(desk.house.store, retraining.model, asker.order)
    noted = events.find(identity, digest)
    if noted is not None:
        return _told(noted, retraining, again=True)
    if retraining.is_finished:
        raise NotPossible(ended(retraining))
    if isinstance(event, Succeeded) and upload_of(desk.house.store, retraining.model, asker.order) is None:
        raise NotPossible(
            f"nothing was sent for {retraining.id}: PUT …/answer (predictions) or …/model first, then say it again"
        )
    if isinstance(event, Started) and event.run:
        events.claim(event.run)
    noted = Noted(identity, desk.house.clock(), asker.by, digest, asker.counts, event)
    return _told(noted, retraining, again=not events.keep(noted))


def _keep(house: House, asker: Asker, sent: Sent, keep: Callable[[Asked], Upload]) -> Response:
    """What was sent, kept; unless it is the same as before, or too late."""
    retraining = asker.retraining
    before = upload_of(house.store, retraining.model, asker.order)
    if before is not None and before.sha256 == sent.sha256:
        return answer(before)
    said = Events(house.store, retraining.model, asker.order).counted()
    if not asker.counts or any(isinstance(each, Succeeded) for each in said):
        raise NotPossible(f"{retraining.id} is past its training: what was sent by then is judged, and stays")
    return answer(keep(Asked(retraining.model, retraining.id, asker.order)))


def _answer(house: House, order: Asked, form: Form, body: BinaryIO, sent: Sent) -> Upload:
    task = task_of(house, order.model)
    rows = check_predictions(read_rows(body, form, task), _asked_ids(house, order), task)
    return keep_answer(house, order, rows, sent)


def _asked_ids(house: House, order: Asked) -> pa.Array:
    """The ids of all rows that need a prediction."""
    ids = []
    for file in shared(house.store, order.model, order.name):
        if file.name in _ANSWERED:
            with house.files.open(file.path) as opened:
                ids += parquet.read_table(opened, columns=["prediction_id"]).column(0).chunks
    if not ids:
        raise NotPossible(f"{order.retraining} has not been launched: nothing is asked yet")
    return pc.unique(pa.chunked_array(ids)).cast(pa.string())


def _files(house: House, asker: Asker) -> dict[str, Shared]:
    return {each.name: each for each in shared(house.store, asker.retraining.model, asker.order)}


def _chunks(house: House, file: Shared) -> Iterator[bytes]:
    with house.files.open(file.path) as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            yield chunk


def _told(noted: Noted, retraining: Retraining, *, again: bool) -> Response:
    return answer({"event": noted.id, "counts": noted.counts, "again": again, "state": retraining.state})
