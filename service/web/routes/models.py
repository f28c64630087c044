"""GET models and their segments: states, readings, and both distributions of a segment."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from fastapi import APIRouter, Response

from monitors.baseline.baselines import Baseline
from monitors.columns.column import Column
from monitors.readings import FloatArray
from service.house import House
from service.ledger.records import Evaluation
from service.orders.approvals import WAITING, awaiting
from service.outcome_view import outcomes_of
from service.readings_view import schema_view, unmeasured_view
from service.web.routes.desk import AtDesk, Reader, answer
from service.web.routes.refusals import Unknown
from service.web.snapshot import SEGMENT_STATES

routes = APIRouter(tags=["models"])
SLICES_SHOWN = 24


@routes.get("/v1/models", summary="All models and the state they are in")
def list_models(desk: AtDesk, caller: Reader) -> Response:
    """Each model with its champion, its policy and its worst segment state."""
    return answer({"models": [overview(desk.house, model) for model in desk.models(caller)]})


@routes.get("/v1/models/{model}", summary="One model")
def show_model(model: str, desk: AtDesk, caller: Reader) -> Response:
    """The same for one model, with the reasons of its last decision, its versions with a baseline, and what rows came
    with other columns or of versions without one.
    """
    desk.check_model(model, caller)
    house = desk.house
    evaluation, champion = house.ledger.evaluation(model), house.ledger.champion(model)
    noticed = house.noted(model)
    more = {
        "reasons": evaluation.reasons,
        "evidence_threshold_ln": evaluation.evidence_threshold_ln,
        "findings": evaluation.findings,
        "schema": schema_view(house.policies.policy(model), noticed),
        "unmeasured": unmeasured_view(noticed),
        "watch": house.ledger.watch(model),
        "trial": house.ledger.trying(model),
        "release": next((r for r in reversed(house.ledger.releases(model)) if r.version == champion), None),
        "baselines": house.ledger.baselines(model),
    }
    return answer({**overview(house, model), **more})


@routes.get("/v1/models/{model}/segments", summary="The readings of all segments")
def list_segments(model: str, desk: AtDesk, caller: Reader) -> Response:
    """State, rows, drift by column, faults and performance of each segment, as the last evaluation left them.

    `outcome` is what came of the predictions of the last days, where the policy names one.
    `blind` says why there is nothing newer where the champion has no baseline, and what to do.
    """
    desk.check_model(model, caller)
    ledger = desk.house.ledger
    read, outcomes = _readings(ledger.evaluation(model)), outcomes_of(desk.house, model)
    segments = [{**each, "outcome": outcomes.get(each["segment"])} for each in read["segments"]]
    return answer({**read, "segments": segments, "blind": ledger.blindness(model)})


# A segment's name may hold any sign, a slash too.
@routes.get("/v1/models/{model}/segments/{segment:path}", summary="The readings of one segment")
def show_segment(model: str, segment: str, desk: AtDesk, caller: Reader) -> Response:
    """Its readings, and the shares of each column's bins in the baseline and in the last 24 slices."""
    desk.check_model(model, caller)
    evaluation = desk.house.ledger.evaluation(model)
    found = next((each for each in evaluation.segments if each["segment"] == segment), None)
    if found is None:
        names = ", ".join(str(each["segment"]) for each in evaluation.segments[:20])
        unread = desk.house.ledger.blindness(model) or "it was not evaluated yet"
        listed = f"the last evaluation read {names}" if names else unread
        raise Unknown(f"model {model} has no segment {segment[:200]!r}; {listed}")
    about = {name: value for name, value in _readings(evaluation).items() if name != "segments"}
    more = {
        "outcome": outcomes_of(desk.house, model).get(segment),
        "distributions": distributions(desk.house, evaluation, segment),
    }
    return answer({**about, **found, **more})


def overview(house: House, model: str) -> dict[str, Any]:
    """What the lists show of a model. `state` is the worst of its used segments', None before the first evaluation.

    Without a baseline it is blind, and `blind` says why.
    """
    evaluation, policy = house.ledger.evaluation(model), house.policies.states().get(model)
    states = Counter(str(each["state"]) for each in filter(is_used, evaluation.segments))
    blind, waits = house.ledger.blindness(model), awaiting(house, evaluation)
    return {
        "model": model,
        "champion": house.ledger.champion(model) or None,
        "task": policy.policy.task.kind if policy else None,
        "owner": policy.policy.owner if policy else None,
        "policy": {"file": policy.file.name, "current": policy.is_current, "problem": policy.problem}
        if policy
        else None,
        "state": "blind" if blind else next((state for state in SEGMENT_STATES if states[state]), None),
        "blind": blind,
        "segments": states,
        "faults": evaluation.faults,
        "evaluated_at": evaluation.at,
        "action": evaluation.action or None,
        "decision": evaluation.decision or None,
        "awaits_approval": waits.decision if waits is not None and waits.state == WAITING else None,
    }


def is_used(read: Mapping[str, Any]) -> bool:
    """Whether a segment ever had a row. The tail of a cut that names all values has none, and says nothing."""
    return bool(read["rows"] or read["baseline_rows"])


def distributions(house: House, evaluation: Evaluation, segment: str) -> list[dict[str, Any]]:
    """For each column the labels of its bins, and their shares in the baseline and now; None where no row counts.

    Now is the last `SLICES_SHOWN` slices before the evaluation.
    """
    baseline = house.ledger.baseline(evaluation.model, evaluation.version) if evaluation.version else None
    if baseline is None or segment not in baseline.layout.segments:
        return []
    place = baseline.layout.segments.index(segment)
    current = _last_slices(house, baseline, evaluation.at or house.clock())
    layout = baseline.layout
    return [
        {
            "column": column.name,
            "kind": column.kind,
            "bins": bin_labels(column),
            "baseline": _shares(layout.column_bins(baseline.counts[place], c)),
            "current": _shares(layout.column_bins(current[place], c)),
        }
        for c, column in enumerate(layout.columns)
    ]


def bin_labels(column: Column) -> list[str]:
    """The bins of a column in words, in the order of their counts.

    >>> from monitors.columns.column import Column
    >>> bin_labels(Column("price", "feature_price", "number", "", edges=(1.0, 2.5)))
    ['below 1', '1 to below 2.5', '2.5 and above']
    >>> bin_labels(Column("channel", "tag_channel", "category", "", categories=("app", "web")))
    ['app', 'web', 'all others']
    """
    if column.kind != "number":
        return [*column.categories, "all others"]
    edges = [f"{edge:.6g}" for edge in column.edges]
    if not edges:
        return ["all values"]
    between = [f"{low} to below {high}" for low, high in pairwise(edges)]
    return [f"below {edges[0]}", *between, f"{edges[-1]} and above"]


def _readings(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "model": evaluation.model,
        "version": evaluation.version or None,
        "baseline": evaluation.baseline or None,
        "evaluated_at": evaluation.at,
        "evidence_threshold_ln": evaluation.evidence_threshold_ln,
        "segments": evaluation.segments,
    }


def _last_slices(house: House, baseline: Baseline, until: datetime) -> FloatArray:
    since = int((until - timedelta(seconds=SLICES_SHOWN * baseline.slice_seconds)).timestamp())
    slices = house.cells.load(baseline, since)
    counted = [counts for start, counts in slices.items() if start < until.timestamp()]
    return np.asarray(sum(counted, np.zeros_like(baseline.counts)))


def _shares(counts: FloatArray) -> list[float] | None:
    total = float(counts.sum())
    return [float(share) for share in counts / total] if total else None
