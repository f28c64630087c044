"""What the ledger keeps: plain frozen values, stored as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from policies.proposals import Proposal


@dataclass(frozen=True)
class Release:
    """One move of a model's champion pointer. `kind` is first, release or rollback.

    `uri` is where a model that is not held here lies, `digest` what its files, or the trainer, say that it is.
    """

    model: str
    version: str
    previous: str
    at: datetime
    kind: str
    reason: str
    retraining: str = ""
    uri: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Trial:
    """A challenger on trial: as a canary it gets a `share` of the traffic, in the shadow none.

    `rows` came of it so far and `labels` of them; `segments` are what each segment shows, as plain values; labels were
    judged `looks` times, `labels_judged` the last time; `text` is what a person should know of it now.
    """

    mode: str
    share: float
    began: datetime
    until: datetime
    rows: int = 0
    labels: int = 0
    looks: int = 0
    labels_judged: int = 0
    looked_at: datetime | None = None
    segments: tuple[Mapping[str, Any], ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Placed:
    """An order as it was placed with a trainer, so that whoever goes on asks for the same.

    `trainer` is the policy's as plain values, with its `kind`; `launches` counts how often it was started.
    """

    name: str
    digest: str
    trainer: Mapping[str, Any]
    deadline: datetime
    launches: int = 0


@dataclass(frozen=True)
class Retraining:
    """One retraining from decision to end.

    `state` is requested, training, judging, teaching, trying, released, refused, failed or cancelled; `reasons` are the
    codes that opened it; `verdict` the gate's answer as plain values; `labelled_rows` how many rows it learnt from,
    `labels_seen` how many labels the champion had when it was opened. `uri` and `digest` are those of its release,
    `rows_digest` is of the rows that it is judged by, which a trainer of the same machine could reach. `failures` are
    the champion's failure categories that were open at its opening, ranked, as plain values.
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
    uri: str = ""
    digest: str = ""
    trial: Trial | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    files: str = ""
    rows_digest: str = ""
    order: Placed | None = None
    revision: int = 0
    failures: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED


FINISHED = ("released", "refused", "failed", "cancelled")


@dataclass(frozen=True)
class Watch:
    """A release being watched against the version it replaced.

    `since` is when it was released, `judged` how many labels it had at the last look, and `verdict` what that showed.
    `under` is the watch of the version before where that was not over: it goes on after a rollback.
    """

    version: str
    previous: str
    until: datetime
    judged: int = 0
    verdict: Mapping[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    looks: int = 0
    under: "Watch | None" = None


@dataclass(frozen=True)
class Regression:
    """A release that was found worse than what it replaced while it was watched, in words.

    `labels` is how many labels it took, `rows` how many rows the release had served by then; `rollback` says who was to
    roll it back: automatic or manual.
    """

    model: str
    version: str
    previous: str
    at: datetime
    reason: str
    released_at: datetime | None = None
    rows: int = 0
    labels: int = 0
    segments: tuple[str, ...] = ()
    rollback: str = ""


@dataclass(frozen=True)
class Aftermath:
    """What became of what a release was for. `answer` is one of `AFTERMATHS`.

    `segments` are those that asked for the retraining, each with its own answer in words; `outcome` says of the
    policy's `task.outcome` what it was under the version before and is now, where it is counted.
    """

    model: str
    version: str
    at: datetime
    answer: str
    segments: tuple[Mapping[str, Any], ...] = ()
    outcome: Mapping[str, Any] = field(default_factory=dict)


AFTERMATHS = ("cleared", "not_cleared", "not_enough_yet", "nothing_to_clear")


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
