"""The console: one page of every model, for people; it works without scripts and looks again every ten seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from policies.decision import HOLD_CODES, TRIGGER_CODES
from service.conventions.signals import Signal
from service.errors import StoreError
from service.evidence import together
from service.evidence.together import Together
from service.house import House
from service.intake.folding import aside
from service.intake.folding.schema import MISSING, TYPE, UNKNOWN
from service.ledger.records import (
    Aftermath,
    Confirmed,
    DecisionRecord,
    Evaluation,
    Regression,
    Release,
    Retraining,
    Watch,
)
from service.orders.approvals import Awaiting, awaiting
from service.orders.view import OrderShown, standing_orders
from service.outcome_view import outcomes_of
from service.policy_files import PolicyState
from service.readings_view import schema_view, unmeasured_view
from service.retraining.aftermath import between_regressions
from service.shadows.view import side_by_side
from service.training.curating.words import words_of
from service.training_view import TrainingShown, training_of
from service.web.auth import Caller
from service.web.failure_rows import FailuresPart, failures_part
from service.web.observe import budget_left
from service.web.problems import KINDS, PAGE
from service.web.routes.decisions import report_file
from service.web.routes.desk import AtDesk, in_thread
from service.web.routes.models import is_used
from service.web.routes.signals import signals_of
from service.web.snapshot import SEGMENT_STATES

routes = APIRouter(include_in_schema=False)

# The sign stands beside the word, so that nobody needs to tell colours apart.
STATE_SIGNS = {"ok": "✓", "watch": "◐", "drifting": "▲", "insufficient": "…", "blind": "∅", "fault": "✕"}
_SHOWN, _SEGMENTS_SHOWN, _REASONS_SHOWN = 8, 40, 4
_SCHEMA_TOLD = {
    UNKNOWN: "the baseline does not know column",
    MISSING: "missing is column",
    TYPE: "of another type is column",
}
_SHARES = {"accuracy", "macro_f1", "precision", "recall", "calibration"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class SegmentRow:
    """One segment as the table shows it; `column` is the one that most needs a look, None where none was read."""

    name: str
    state: str
    rows: int
    column: Mapping[str, Any] | None
    performance: Mapping[str, Any]
    outcome: Mapping[str, Any] | None


@dataclass(frozen=True)
class DecisionRow:
    """One decision: what speaks first, then all else that was met; `has_report` where a person can read evidence,
    `has_policy` where what its policy said then was kept.

    `together` says which columns together made the change, where that was read; `confirmed` what labels made of it.
    """

    record: DecisionRecord
    reasons: Sequence[str]
    more: Sequence[str]
    has_report: bool
    together: Together | None
    confirmed: Confirmed | None = None
    has_policy: bool = False


@dataclass(frozen=True)
class ModelPart:
    """One model of the page."""

    model: str
    champion: str
    policy: PolicyState | None
    evaluation: Evaluation
    watch: Watch | None
    segments: Sequence[SegmentRow]
    tail: Sequence[SegmentRow]
    decisions: Sequence[DecisionRow]
    retrainings: Sequence[Retraining]
    training: TrainingShown | None
    releases: Sequence[Release]
    trial: Retraining | None
    regressions: Sequence[Regression]
    between: float | None
    aftermaths: Mapping[str, Aftermath]
    budget_left: int | None
    blind: str | None
    signals: Sequence[Signal]
    schema: Sequence[Mapping[str, Any]]
    unmeasured: Sequence[Mapping[str, Any]]
    shadows: Mapping[str, Any]
    awaiting: Awaiting | None
    orders: Mapping[str, Sequence[OrderShown]]
    failures: FailuresPart

    @property
    def state(self) -> str:
        """The worst of its segments' states; empty before the first evaluation."""
        if self.blind:
            return "blind"
        return self.segments[0].state if self.segments else ""

    @property
    def anchor(self) -> str:
        return f"model-{self.model}"


@routes.get("/")
async def show_console(request: Request, desk: AtDesk) -> Response:
    """Every model that the caller may see. With the store away the page says so, and keeps looking."""
    try:
        caller = await desk.admit(request, "read")
        return await in_thread(lambda: _page(desk.house, desk.models(caller), caller))
    except StoreError as error:
        return render("away.html", 503, problem=str(error))


@routes.get(PAGE)
async def show_problems() -> Response:
    """What each `type` of a problem document means."""
    return render("problems.html", kinds=KINDS)


def part(house: House, model: str) -> ModelPart:
    """What the page shows of a model."""
    evaluation, retrainings = house.ledger.evaluation(model), house.ledger.retrainings(model)
    outcomes = outcomes_of(house, model)
    used = filter(is_used, evaluation.segments)
    rows = sorted((_segment_row(each, outcomes.get(each["segment"])) for each in used), key=_urgency)
    noticed = house.noted(model)
    return ModelPart(
        model=model,
        champion=house.ledger.champion(model),
        policy=house.policies.states().get(model),
        evaluation=evaluation,
        watch=house.ledger.watch(model),
        segments=rows[:_SEGMENTS_SHOWN],
        tail=rows[_SEGMENTS_SHOWN:],
        decisions=_decision_rows(house, model),
        retrainings=retrainings[:_SHOWN],
        training=training_of(retrainings),
        releases=house.ledger.releases(model)[: -_SHOWN - 1 : -1],
        trial=house.ledger.trying(model),
        regressions=house.ledger.regressions(model),
        between=between_regressions(house.ledger, model, house.clock()),
        aftermaths=house.ledger.aftermaths(model),
        budget_left=budget_left(house, model, retrainings, house.clock()),
        blind=house.ledger.blindness(model),
        signals=signals_of(house).firing(model),
        schema=schema_view(house.policies.policy(model), noticed),
        unmeasured=unmeasured_view(noticed),
        shadows=side_by_side(house, model) if house.policies.shadows(model) else {},
        awaiting=awaiting(house, evaluation),
        orders=standing_orders(house, model),
        failures=failures_part(house, model),
    )


def _decision_rows(house: House, model: str) -> list[DecisionRow]:
    kept = house.ledger.decisions(model, _SHOWN)
    confirmed = house.ledger.confirmed(model, [each.id for each in kept])
    texts = {name for name in {each.policy for each in kept} if house.ledger.policy_text(model, name)}
    rows = [decision_row(house, each, confirmed.get(each.id)) for each in kept]
    return [replace(row, has_policy=row.record.policy in texts) for row in rows]


def decision_row(house: House, record: DecisionRecord, confirmed: Confirmed | None = None) -> DecisionRow:
    """A decision with its met reasons in the order in which they matter: what asks, what holds, then the rest."""
    first = TRIGGER_CODES if record.action == "retrain" else (*TRIGGER_CODES, *HOLD_CODES)
    met = [reason for reason in record.reasons if reason["met"]]
    ordered = sorted(met, key=lambda reason: reason["code"] not in first)
    texts = list(dict.fromkeys(str(reason["text"]) for reason in ordered))
    report = report_file(house, record)
    found = together.read(report.parent) if record.action == "retrain" else None
    return DecisionRow(record, texts[:_REASONS_SHOWN], texts[_REASONS_SHOWN:], report.is_file(), found, confirmed)


def _page(house: House, models: Sequence[str], caller: Caller) -> Response:
    states = house.policies.states()
    troubled = [(model, states[model].problem) for model in models if model in states and states[model].problem]
    orphans = [] if caller.models else list(house.policies.problems().items())
    parts = [part(house, model) for model in models]
    waiting = [each for each in aside.list_all(house.store, house.log.partitions) if caller.may_see(each.model)]
    return render(
        "console.html",
        parts=parts,
        troubled=troubled,
        orphans=orphans,
        aside=waiting,
        now=house.clock(),
        house=house,
    )


def _segment_row(read: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> SegmentRow:
    columns = [each for each in read["columns"] if each["size"] is not None]
    over = (each for each in columns if each["size"] >= each["threshold"])
    # Columns come with the strongest evidence first: the first that is also large enough, else the first.
    worst = next(over, columns[0] if columns else None)
    return SegmentRow(read["segment"], read["state"], read["rows"], worst, read["performance"], outcome)


def _urgency(row: SegmentRow) -> tuple[int, bool, int, str]:
    place = SEGMENT_STATES.index(row.state) if row.state in SEGMENT_STATES else len(SEGMENT_STATES)
    return (place, row.name != "all", -row.rows, row.name)


def show_number(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash where there is none.

    >>> show_number(0.12345), show_number(12345.6), show_number(None)
    ('0.123', '12,346', '-')
    """
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def show_performance(value: float | None, metric: str) -> str:
    """Shares like accuracy in per cent, an error as a number.

    >>> show_performance(0.8125, "accuracy"), show_performance(3.5, "mae")
    ('81.2 %', '3.5')
    """
    return f"{100 * value:.1f} %" if value is not None and metric in _SHARES else show_number(value)


def show_time(at: datetime | None) -> str:
    """Minutes are enough for people."""
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "-"


def show_sentence(text: str) -> str:
    """A text with its first letter in upper case, and the rest as it is.

    >>> show_sentence("in channel=App")
    'In channel=App'
    """
    return text[:1].upper() + text[1:]


def render(template: str, status: int = 200, **values: object) -> Response:
    """A page of the console, with the headers that all of them have."""
    text = _PAGES.get_template(template).render(**values)
    return Response(text, status, _HEADERS, "text/html; charset=utf-8")


def _environment() -> Environment:
    folder = Path(__file__).with_name("templates")
    pages = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(number=show_number, performance=show_performance, time=show_time, sentence=show_sentence)
    pages.filters["curation"] = words_of
    pages.globals.update(signs=STATE_SIGNS, schema_told=_SCHEMA_TOLD, shown=_SHOWN)
    return pages


_PAGES = _environment()
