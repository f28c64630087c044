"""Baselines: build one from the archive or from a file, and look at those there are."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from fastapi import APIRouter, Request, Response
from pyarrow import parquet

from monitors.baseline.baselines import Baseline, build
from monitors.errors import EmptyBaseline
from service.house import House
from service.intake.archive.tables import BadFile, Roles, as_batch, read_table
from service.ledger.records import Release
from service.storage import keys
from service.training.references import baseline_of, keep_baseline
from service.web.routes.bodies import JSON, NDJSON, SMALL_BYTES, check_type, decode
from service.web.routes.desk import AtDesk, Operator, Reader, answer, in_thread
from service.web.routes.intake import task_of
from service.web.routes.models import bin_labels
from service.web.routes.refusals import BadRequest, Unknown

routes = APIRouter(tags=["baselines"])
PARQUET = "application/vnd.apache.parquet"
_ENDINGS = {PARQUET: ".parquet", NDJSON: ".ndjson"}
# A file of 2 MB can hold 20 GB of rows: what its own footer says is looked at before it is read.
_MOST_UNPACKED_BYTES = 1 << 30
_MOST_ROWS = 5_000_000


class FromArchive(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="from", tag="archive"):
    """Rows of this span of event time, and of this version, from the archive."""

    version: str
    since: datetime
    until: datetime


_DOCUMENTED: dict[str, Any] = {
    "parameters": [
        {
            "name": "version",
            "in": "query",
            "schema": {"type": "string"},
            "description": "Whose baseline it is; needed with a file.",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["from", "version", "since", "until"],
                    "properties": {
                        "from": {"const": "archive"},
                        "version": {"type": "string"},
                        "since": {"type": "string", "format": "date-time"},
                        "until": {"type": "string", "format": "date-time"},
                    },
                }
            },
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
            NDJSON: {"schema": {"type": "string", "description": "One flat object a line."}},
        },
    },
}


@routes.post("/v1/models/{model}/baselines", status_code=201, summary="Build a baseline", openapi_extra=_DOCUMENTED)
async def build_baseline(model: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """From predictions of the archive, or from a file with a column for each feature and a `prediction`, `timestamp`
    and, best, `label`. The first baseline of a model makes its version the champion.
    """
    keys.check_name("model", model)
    media_type = check_type(request, [JSON, *_ENDINGS])
    who = caller.name or "POST baselines"
    if media_type == JSON:
        async with desk.bodies.take(request, SMALL_BYTES) as body:
            asked = decode(body, FromArchive)
        return await in_thread(lambda: _keep(desk.house, model, asked.version, archived(desk.house, model, asked), who))
    version = request.query_params.get("version", "")
    if not version:
        raise BadRequest("whose baseline is it? Add ?version=V to the address")
    async with desk.bodies.take(request) as body:
        return await in_thread(
            lambda: _keep(desk.house, model, version, _rows_of(desk.house, model, version, body, media_type), who)
        )


@routes.get("/v1/models/{model}/baselines", summary="The versions with a baseline")
def list_baselines(model: str, desk: AtDesk, caller: Reader) -> Response:
    """Each with the baseline's fingerprint."""
    desk.check_model(model, caller)
    champion = desk.house.ledger.champion(model)
    found = sorted(desk.house.ledger.baselines(model).items())
    listed = [{"version": v, "fingerprint": f, "champion": v == champion} for v, f in found]
    return answer({"baselines": listed})


@routes.get("/v1/models/{model}/baselines/{version}", summary="One baseline")
def show_baseline(model: str, version: str, desk: AtDesk, caller: Reader) -> Response:
    """Its segments with their rows, and its columns with their bins."""
    desk.check_model(model, caller)
    baseline = desk.house.ledger.baseline(model, version)
    if baseline is None:
        versions = ", ".join(sorted(desk.house.ledger.baselines(model))) or "none"
        raise Unknown(f"{model} has no baseline of version {version[:100]!r}; versions with one: {versions}")
    return answer(_shown(baseline, is_champion=version == desk.house.ledger.champion(model)))


def archived(house: House, model: str, asked: FromArchive) -> pa.Table:
    """Predictions of the span, with the `label` of those that have one. Raises EmptyBaseline."""
    since, until = _utc(asked.since), _utc(asked.until)
    rows = house.archive.predictions(model, since, until, asked.version)
    if not rows.num_rows:
        raise EmptyBaseline(
            f"the archive has no predictions of {model} {asked.version} from {since:%FT%TZ} until {until:%FT%TZ}"
        )
    labels = house.archive.labelled(model, since, until, asked.version, ["prediction_id"])
    if not labels.num_rows:
        return rows
    labels = labels.select(["prediction_id", "label"])
    joined: pa.Table = rows.join(labels, "prediction_id")
    return joined


def _rows_of(house: House, model: str, version: str, body: bytes, media_type: str) -> pa.Table:
    policy = house.policies.policy(model)
    roles = Roles(kinds=policy.column_kinds() if policy else None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"body{_ENDINGS[media_type]}"
        file.write_bytes(body)
        try:
            if media_type == PARQUET:
                _check_size(file)
            rows = as_batch(file, read_table(file), roles, task_of(house, model), version)
        except BadFile as error:
            # The path is ours and gone: what matters is the body.
            raise BadRequest(str(error).replace(str(file), "the body")) from error
    missing = [name for name in ("prediction", "timestamp") if name not in rows.column_names]
    if missing:
        raise BadRequest(f"the body has no column {' and no column '.join(map(repr, missing))}")
    return rows


def _check_size(file: Path) -> None:
    try:
        footer = parquet.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise BadFile(file, f"is not a Parquet file: {error}") from error
    unpacked = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
    if unpacked > _MOST_UNPACKED_BYTES or footer.num_rows > _MOST_ROWS:
        raise BadFile(
            file,
            f"holds {footer.num_rows} rows in {unpacked} bytes; {_MOST_ROWS} rows in {_MOST_UNPACKED_BYTES} bytes are "
            "allowed: take a sample, or use `tidegate baseline build` on the machine of the service",
        )


def _keep(house: House, model: str, version: str, rows: pa.Table, who: str) -> Response:
    keys.check_name("version", version)
    policy = house.policies.policy(model)
    if policy is not None:
        baseline = baseline_of(policy, version, rows, most_segments=house.settings.max_segments)
    else:
        baseline = build(rows, model=model, version=version, cuts=[], task=task_of(house, model))
    keep_baseline(house.ledger, house.files, baseline, rows)
    champion = house.ledger.champion(model)
    if not champion:
        release = Release(model, version, "", house.clock(), "first", f"its first baseline, built by {who}")
        house.ledger.move_champion(release)
        champion = version
    return answer(_shown(baseline, is_champion=champion == version), 201)


def _shown(baseline: Baseline, *, is_champion: bool) -> dict[str, Any]:
    layout = baseline.layout
    columns = [{"column": c.name, "kind": c.kind, "bins": bin_labels(c)} for c in layout.columns]
    return {
        "model": baseline.model,
        "version": baseline.version,
        "fingerprint": baseline.fingerprint,
        "champion": is_champion,
        "task": layout.task,
        "rows": int(baseline.rows[0]),
        "labelled": int(baseline.labelled[0, 0]),
        "began": datetime.fromtimestamp(baseline.began, UTC),
        "ended": datetime.fromtimestamp(baseline.ended + baseline.slice_seconds, UTC),
        "slices": baseline.slices,
        "slice_seconds": baseline.slice_seconds,
        "segments": dict(zip(layout.segments, map(int, baseline.rows), strict=True)),
        "columns": columns,
    }


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
