"""The policy's limits for all segments at once: what each segment's override says, else what the policy says."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from monitors.readings import FAULT_KINDS, FloatArray, IntArray
from policies.bars import BoolArray
from policies.file.overrides import DriftOverride, Override, place_of
from policies.file.policy import ColumnDrift, Drift, Policy

_Kind = TypeVar("_Kind", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Limits:
    """S segments, C columns of drift, K kinds of fault (`FAULT_KINDS`); not to be written to.

    `size` (S x C) of drift and where it is `ignored`, `drop` (S) of performance, `share` (S x K) of broken values,
    `persist` (S) evaluations in a row, `labelled_rows` (S): the segment's own figure where `is_own`, else the policy's.
    """

    size: FloatArray
    ignored: BoolArray
    drop: FloatArray
    share: FloatArray
    persist: IntArray
    labelled_rows: IntArray
    is_own: BoolArray


@lru_cache(maxsize=256)
def limits_of(policy: Policy, segments: tuple[str, ...], columns: tuple[str, ...]) -> Limits:
    """The limits of these segments and columns of drift."""
    rules = [policy, *(_apply(override, policy) for override in policy.overrides)]
    places = [place_of(policy.overrides, segment) for segment in segments]
    # Rule 0 is the policy itself; each segment takes the rows of its rule.
    of = np.array([0 if place is None else place + 1 for place in places], np.intp)
    columns_of = [[rule.drift_rule(column) for column in columns] for rule in rules]
    own = [False, *("labelled_rows" in _said(override.requires) for override in policy.overrides)]
    return Limits(
        size=_rows(np.array([[c.threshold for c in rule] for rule in columns_of], float), of),
        ignored=_rows(np.array([[c.ignore for c in rule] for rule in columns_of], bool), of),
        drop=_rows(np.array([rule.performance.max_drop for rule in rules], float), of),
        share=_rows(np.array([_shares(rule) for rule in rules], float), of),
        persist=_rows(np.array([rule.persist for rule in rules], np.int64), of),
        labelled_rows=_rows(np.array([rule.retrain.requires.labelled_rows for rule in rules], np.int64), of),
        is_own=_rows(np.array(own, bool), of),
    )


def policy_for(policy: Policy, segment: str) -> Policy:
    """The policy as it is for one segment: its override merged over it.

    >>> from policies.file.parse import parse
    >>> text = "{model: m, task: {kind: classification}, overrides: [{segment: all, performance: {max_drop: 1%}}]}"
    >>> policy_for(parse(text), "all").performance.max_drop
    0.01
    """
    place = place_of(policy.overrides, segment)
    return policy if place is None else _apply(policy.overrides[place], policy)


def _apply(override: Override, policy: Policy) -> Policy:
    return replace(
        policy,
        drift=_merge_drift(policy.drift, override.drift or DriftOverride()),
        performance=replace(policy.performance, **_said(override.performance)),
        data_quality=replace(policy.data_quality, **_said(override.data_quality)),
        persist=policy.persist if override.persist is None else override.persist,
        retrain=replace(policy.retrain, requires=replace(policy.retrain.requires, **_said(override.requires))),
        gate=replace(policy.gate, **_said(override.gate)),
    )


def _merge_drift(drift: Drift, override: DriftOverride) -> Drift:
    """Its columns come first, each over the policy's of the same name."""
    inherited = dict(drift.columns)
    own = [(name, replace(inherited.get(name, ColumnDrift()), **_said(rule))) for name, rule in override.columns]
    rest = [(name, rule) for name, rule in drift.columns if name not in dict(own)]
    threshold = drift.threshold if override.threshold is None else override.threshold
    return replace(drift, threshold=threshold, columns=(*own, *rest))


def _said(part: Any) -> dict[str, Any]:  # noqa: ANN401  any part of an override, or None
    """What a part of an override says."""
    return {name: value for name, value in asdict(part).items() if value is not None} if part else {}


def _shares(rule: Policy) -> Sequence[float]:
    allowed = rule.data_quality
    # A value of another type is a missing value that something else stands in for.
    by_kind = {"unseen": allowed.unseen, "out_of_range": allowed.out_of_range}
    return [by_kind.get(kind, allowed.missing) for kind in FAULT_KINDS]


def _rows(by_rule: NDArray[_Kind], of: NDArray[np.intp]) -> NDArray[_Kind]:
    rows = by_rule[of]
    rows.setflags(write=False)
    return rows
