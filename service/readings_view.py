"""Readings as plain values: what the ledger keeps, and pages, routes and metrics show."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from monitors.readings import FAULT_KINDS, LabelShift, Readings
from policies.file.policy import Policy
from policies.limits import limits_of
from service.intake.folding.noted import Noted
from service.intake.folding.schema import KINDS, UNMEASURED

COLUMNS_SHOWN = 20
OTHER = "other"
_UNCOUNTED = ("ignore", "tag")


def segments_view(policy: Policy, readings: Readings, states: dict[str, str]) -> list[dict[str, Any]]:
    """One dict a segment: state, rows, columns (the strongest first), faults and performance; None where not read."""
    return [
        {
            "segment": name,
            "state": states[name],
            "parent": readings.segments[readings.parents[s]] if readings.parents[s] >= 0 else None,
            "rows": int(readings.rows[s]),
            "baseline_rows": int(readings.baseline_rows[s]),
            "columns": _columns(policy, readings, s),
            "faults": _faults(readings, s),
            "performance": _performance(readings, s),
        }
        for s, name in enumerate(readings.segments)
    ]


def _columns(policy: Policy, readings: Readings, segment: int) -> list[dict[str, Any]]:
    drift, limits = readings.drift, limits_of(policy, readings.segments, readings.drift.columns)
    order = np.argsort(-np.nan_to_num(drift.evidence_ln[segment], nan=-np.inf), kind="stable")[:COLUMNS_SHOWN]
    return [
        {
            "column": drift.columns[c],
            "statistic": drift.statistics[c],
            "size": number(drift.size[segment, c]),
            "uncorrected": number(drift.uncorrected[segment, c]),
            "threshold": float(limits.size[segment, c]),
            "rows": number(drift.rows[segment, c]),
            "borrowed": number(drift.borrowed[segment, c]),
            "evidence_ln": number(drift.evidence_ln[segment, c]),
            "window_start": moment(drift.window_start[segment, c]),
        }
        for c in order.tolist()
        if not limits.ignored[segment, c]
    ]


def _faults(readings: Readings, segment: int) -> list[dict[str, Any]]:
    quality = readings.quality
    shown = np.argwhere((quality.share[segment] > quality.expected[segment]) & (quality.evidence_ln[segment] > 0))
    return [
        {
            "column": quality.columns[c],
            "kind": FAULT_KINDS[k],
            "share": number(quality.share[segment, c, k]),
            "expected": number(quality.expected[segment, c, k]),
            "evidence_ln": number(quality.evidence_ln[segment, c, k]),
            "window_start": moment(quality.window_start[segment, c, k]),
        }
        for c, k in shown.tolist()
    ]


def _performance(readings: Readings, segment: int) -> dict[str, Any]:
    p = readings.performance
    return {
        "metric": p.metric,
        "value": number(p.value[segment]),
        "expected": number(p.expected[segment]),
        "drop": number(p.drop[segment]),
        "evidence_ln": number(p.evidence_ln[segment]),
        "labelled": int(p.labelled[segment]),
        "labelled_since_change": int(p.labelled_since_change[segment]),
        "covariate_part": number(p.covariate_part[segment]),
        "concept_part": number(p.concept_part[segment]),
        "window_start": moment(p.window_start[segment]),
        "estimate": number(p.estimate[segment]),
        "estimated_drop": number(p.estimated_drop[segment]),
        "label_shift": _label_shift(p.label_shift) if segment == 0 else None,
    }


def _label_shift(shift: LabelShift | None) -> dict[str, Any] | None:
    if shift is None:
        return None
    shares = zip(shift.classes, shift.now, shift.baseline, strict=True)
    return {
        "problem": shift.problem,
        "classes": [{"class": name, "share": number(now), "baseline": number(was)} for name, now, was in shares],
    }


def schema_view(policy: Policy | None, noted: Iterable[Noted]) -> list[dict[str, Any]]:
    """What rows had other columns than the baseline of their version, the newest first, but for ignored columns.

    The column `other` stands for those beyond the names that are kept.
    """
    kinds = policy.column_kinds() if policy else {}
    found = [each for each in noted if each.kind in KINDS and kinds.get(each.name) not in _UNCOUNTED]
    return [
        {
            "kind": each.kind,
            "column": each.name or OTHER,
            "version": each.version,
            "rows": each.rows,
            "since": datetime.fromtimestamp(each.since, UTC),
            "until": datetime.fromtimestamp(each.until, UTC),
            "form": each.form or None,
        }
        for each in sorted(found, key=lambda each: -each.until)
    ]


def unmeasured_view(noted: Iterable[Noted]) -> list[dict[str, Any]]:
    """Versions of which rows came and could not be compared with a baseline, the most rows first."""
    return [
        {
            "version": each.name or OTHER,
            "rows": each.rows,
            "since": datetime.fromtimestamp(each.since, UTC),
            "until": datetime.fromtimestamp(each.until, UTC),
        }
        for each in noted
        if each.kind == UNMEASURED
    ]


def number(value: float) -> float | None:
    """A number that JSON can hold; None for one that could not be read."""
    return float(value) if math.isfinite(value) else None


def moment(value: np.datetime64) -> str | None:
    """ISO 8601 in UTC; None where there is none."""
    return None if np.isnat(value) else f"{value.astype('datetime64[s]')}Z"
