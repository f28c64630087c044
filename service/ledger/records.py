"""What the ledger keeps: plain frozen values, stored as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from policies.proposals import Proposal


@dataclass(frozen=True)
class Release:
    """One move of a model's champion pointer. `kind` is first, release or rollback."""

    model: str
    version: str
    previous: str
    at: datetime
    kind: str
    reason: str
    retraining: str = ""


@dataclass(frozen=True)
class Retraining:
    """One retraining from decision to end.

    `state` is requested, training, judging, released, refused, failed or cancelled; `reasons` are the codes that opened
    it; `verdict` the gate's answer as plain values; `labelled_rows` how many rows it learnt from,
    `labels_seen` how many labels the champion had when it was opened.
    """

    id: str
    model: str
    decision: str
    champion: str
    state: str
    opened_at: datetime
    reasons: tuple[str, ...]
    segments: tuple[str, ...]
    change_started: datetime | None = None
    finished_at: datetime | None = None
    labelled_rows: int = 0
    labels_seen: int = 0
    version: str = ""
    checkpoints: tuple[Mapping[str, Any], ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)
    verdict: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED


FINISHED = ("released", "refused", "failed", "cancelled")


@dataclass(frozen=True)
class Watch:
    """A release being watched against the version it replaced."""

    version: str
    previous: str
    until: datetime
    judged: int = 0
    verdict: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Regression:
    """A release that was found worse than what it replaced while it was watched, in words."""

    model: str
    version: str
    previous: str
    at: datetime
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation leaves for the next, and for whoever looks.

    `runs` counts how often in a row each condition held; `fault_quiet_since` when the last fault ended;
    `twin` the (wins, losses) of each test of a fresh model, oldest first; `twin_labels` labels seen at the last test;
    `segments` and `readings` are what pages and metrics show; `proposal` is what asked for a retraining.
    """

    model: str
    version: str = ""
    baseline: str = ""
    at: datetime | None = None
    seconds: float = 0.0
    seen: str = ""
    closed: int = 0
    runs: Mapping[str, int] = field(default_factory=dict)
    fault_quiet_since: datetime | None = None
    fault_open: bool = False
    faults: tuple[str, ...] = ()
    twin: tuple[tuple[int, int], ...] = ()
    twin_labels: int = 0
    labels: int = 0
    action: str = ""
    decision: str = ""
    kept_at: datetime | None = None
    summary: str = ""
    reasons: Sequence[Mapping[str, Any]] = ()
    evidence_threshold_ln: float | None = None
    findings: tuple[str, ...] = ()
    segments: Sequence[Mapping[str, Any]] = ()
    proposal: Proposal | None = None


@dataclass(frozen=True)
class DecisionRecord:
    """One decision, kept for ever, with the digests of what it was made from.

    `readings` are of segments that needed a look or are named in the reasons, and empty where nothing had changed.
    """

    id: str
    model: str
    version: str
    at: datetime
    action: str
    reasons: Sequence[Mapping[str, Any]]
    states: Mapping[str, str]
    triggers: tuple[str, ...]
    change_started: datetime | None
    policy: str
    baseline: str
    readings: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Request:
    """A person's wish for a model: `verb` is retrain, approve, reject, or cancel and a retraining's id.

    It lapses at `until`, where one is given. `proposal` is what an approval or refusal is about.
    """

    verb: str
    who: str
    why: str
    at: datetime
    until: datetime | None = None
    proposal: Proposal | None = None


@dataclass(frozen=True)
class Act:
    """What a person did that bears on retraining, kept for ever: `verb` is what, `details` what it was done to."""

    model: str
    verb: str
    who: str
    why: str
    at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Confirmed:
    """What late labels made of the trigger of a decision, kept for ever: `end` is one of `TRIGGER_ENDS`.

    The numbers are those of `policies.confirm.Confirmation`.
    """

    model: str
    decision: str
    version: str
    at: datetime
    end: str
    segment: str | None
    labelled: int
    drop: float | None
    limit: float | None
    evidence_ln: float | None
    against_ln: float | None
    settled_at: datetime | None
    text: str


TRIGGER_ENDS = ("confirmed", "unfounded", "undecided")
