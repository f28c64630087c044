"""Failure categories as people see them: what is found, what is known and what was said of each, put together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from monitors.reading.failures.rules import OTHER_RULE
from policies.failures import ACCEPTED, FIXED, Proof, priority_of
from service.errors import ServiceError
from service.failures.book import Book
from service.failures.proving import state_of
from service.failures.records import Known, Look, Said, Seen, Shown
from service.house import House

MOST_MEASURED = 10
"""Categories of a model with a series of their own."""


class NoSuchFailure(ServiceError):
    """The model has no failure category of this id."""

    def __init__(self, model: str, identity: str) -> None:
        super().__init__(
            f"{model} has no failure category {identity[:80]!r}: `tidegate failures {model}` lists those it has"
        )


def categories_of(house: House, model: str) -> tuple[Look, list[Shown]]:
    """The last look at a model, and its categories: those that need somebody first, by priority; `other` last."""
    book = Book(house.store, model)
    look, known, said = book.look(), book.known(), book.said()
    seen = {each.id: each for each in look.categories}
    shown = [_shown(seen.get(each), known.get(each), said.get(each)) for each in dict.fromkeys([*seen, *known])]
    return look, sorted(shown, key=_order)


def find_category(house: House, model: str, identity: str) -> Shown:
    """One of them. Raises NoSuchFailure; `other` is none, for nobody can mend it as one."""
    found = next((each for each in categories_of(house, model)[1] if each.id == identity), None)
    if found is None or found.known is None:
        raise NoSuchFailure(model, identity)
    return found


def failures_view(house: House, model: str) -> dict[str, Any]:
    """All of it as JSON."""
    look, shown = categories_of(house, model)
    return {
        "model": model,
        "version": look.version,
        "at": look.at,
        "rows": look.rows,
        "errors": look.errors,
        "error_limit": look.limit or None,
        "since": look.since,
        "until": look.until,
        "periods": {
            "seconds": look.period_seconds,
            "starts": [datetime.fromtimestamp(each, UTC) for each in look.periods],
            "rows": look.rows_by_period,
        },
        "categories": [category_view(each) for each in shown],
    }


def states_of(shown: Sequence[Shown]) -> dict[str, int]:
    """How many categories are in each state."""
    return Counter(each.state for each in shown if each.known)


def shares_of(shown: Sequence[Shown]) -> dict[str, float]:
    """Of those that come first the share of all errors, by id."""
    found = [each for each in shown if each.known and each.seen][:MOST_MEASURED]
    return {each.id: each.seen.share for each in found if each.seen}


def category_view(shown: Shown) -> dict[str, Any]:
    """One category as JSON. Where the last look did not find it, there are no figures, and `found` is false."""
    seen, known, said = shown.seen, shown.known, shown.said
    return {
        "id": shown.id,
        "name": shown.name,
        "kind": seen.kind if seen else known.rule["kind"] if known else "",
        "found": seen is not None,
        "state": shown.state,
        "priority": shown.priority,
        "severity": shown.severity,
        **_figures(seen),
        "owner": said.owner if said else "",
        "note": said.note if said else "",
        "release": said.release if said else "",
        "who": said.who if said else "",
        "why": said.why if said else "",
        "said_at": said.at if said else None,
        "first_seen": known.first_seen if known else None,
        "last_seen": known.last_seen if known else None,
        "proof": _proof(known.proof, known.since) if known and known.proof else None,
        "decided": known.text if known else "",
        "decided_at": known.decided_at if known else None,
    }


def _figures(seen: Seen | None) -> dict[str, Any]:
    names = ("basis", "errors", "share", "scope", "inside", "outside", "expected", "evidence_ln", "trend", "counts",
             "words", "examples")  # fmt: skip
    empty: Mapping[str, Any] = {"errors": 0, "share": 0.0, "counts": (), "words": (), "examples": ()}
    return {name: getattr(seen, name) if seen else empty.get(name) for name in names}


def _proof(proof: Proof, since: datetime | None) -> dict[str, Any]:
    return {
        "answer": proof.answer,
        "text": proof.text,
        "since": since,
        "before": proof.before,
        "after": proof.after,
        "labels_needed": proof.labels_needed,
    }


def _shown(seen: Seen | None, known: Known | None, said: Said | None) -> Shown:
    severity = said.severity if said and said.severity is not None else seen.severity if seen else 1.0
    return Shown(
        id=seen.id if seen else known.id if known else "",
        name=seen.name if seen else known.name if known else "",
        state=state_of(known, said),
        priority=round(priority_of(seen.errors, severity, seen.trend), 3) if seen else 0.0,
        severity=severity,
        seen=seen,
        known=known,
        said=said,
    )


def _order(shown: Shown) -> tuple[bool, bool, bool, float, str]:
    is_other = shown.id == OTHER_RULE.id
    return is_other, shown.state in {FIXED, ACCEPTED}, shown.seen is None, -shown.priority, shown.id
