"""The values of deciding: what was known before, each reason, and the decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from policies.file.policy import Period, Silence
from policies.proposals import Answer, Proposal

TRIGGER_CODES = ("performance_drop", "drift_with_estimated_drop", "twin_better", "manual")
CONDITION_CODES = ("size_below_threshold", "evidence_below_threshold", "not_persistent", "insufficient_labels")
HOLD_CODES = (
    "insufficient_rows",
    "data_fault",
    "blind",
    "cooling_down",
    "budget_spent",
    "in_flight",
    "frozen",
    "silenced",
    "no_expected_gain",
    "awaiting_approval",
)
CODES = TRIGGER_CODES + CONDITION_CODES + HOLD_CODES


@dataclass(frozen=True)
class Reason:
    """One condition, answered: `met` says whether what the code claims is so and counts now.

    A trigger code that is met asks for a retraining; any other code that is met speaks against one.
    `observed` and `limit` are the two numbers that were compared, where there are two.
    """

    code: str
    met: bool
    segment: str | None
    column: str | None
    observed: float | None
    limit: float | None
    text: str


class Attempt(NamedTuple):
    """One retraining that was started; `outcome` is None while it runs."""

    started_at: datetime
    outcome: str | None


@dataclass(frozen=True)
class ManualRequest:
    """A person asks for a retraining now."""

    who: str
    why: str
    at: datetime


@dataclass(frozen=True)
class Freeze:
    """A person's order to retrain nothing within a period."""

    period: Period
    who: str
    why: str


@dataclass(frozen=True)
class History:
    """What was known before this evaluation.

    `runs`: for each condition, like `performance:intent=returns` or `drift:all`, how many evaluations in a row it was
    exceeded. `in_flight`: the retraining that runs now. `labels_since_attempt`: new labels since the last one, if that
    brought no better model. `retrainings`: the started ones, at least of the budget's span.
    `fault_open`: the last evaluation saw broken data; `fault_quiet_since`: when the last fault ended, None for never.
    `proposal`: what asked for a retraining at the last evaluation; `approval` and `refusal`: a person's newest yes and
    no. `silences` and `freezes`: what people ordered besides the policy file. `signal`: what another system says that
    holds retrainings back, in words.
    """

    runs: Mapping[str, int] = field(default_factory=dict)
    in_flight: str | None = None
    retrainings: tuple[Attempt, ...] = ()
    last_finished_at: datetime | None = None
    labels_since_attempt: int | None = None
    fault_open: bool = False
    fault_quiet_since: datetime | None = None
    proposal: Proposal | None = None
    approval: Answer | None = None
    refusal: Answer | None = None
    manual: ManualRequest | None = None
    silences: tuple[Silence, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    signal: str | None = None

    def after(self, decision: "Decision") -> "History":
        """What the next evaluation has to know of this one; retrainings and people's answers are the caller's."""
        return replace(
            self,
            runs=decision.runs,
            fault_open=decision.fault_open,
            fault_quiet_since=decision.fault_quiet_since,
            proposal=decision.proposal,
        )


@dataclass(frozen=True)
class Decision:
    """What the policy makes of the readings at one moment, with a reason for every condition.

    `action` is hold, watch or retrain. `states` holds each segment's state, `runs` what the next `History.runs` is.
    `triggers` are the segments that ask for a retraining (where it is granted: those with labels enough), and
    `change_started` is the earliest start of their strongest windows: None if unknown. `policy` is the digest of the
    policy, `baseline` the fingerprint of the baseline. `proposal`: what asks, for a person to agree to or refuse.
    """

    model: str
    version: str
    at: datetime
    action: str
    reasons: tuple[Reason, ...]
    states: Mapping[str, str]
    runs: Mapping[str, int]
    triggers: tuple[str, ...]
    change_started: datetime | None
    policy: str
    baseline: str
    fault_open: bool
    fault_quiet_since: datetime | None
    proposal: Proposal | None = None
