"""Saying: what a person says of a failure category, who works on it, in what state it is, how bad it is."""

from dataclasses import replace

from policies.failures import LEAST_SEVERITY, MOST_SEVERITY, STATES
from service.errors import ServiceError
from service.failures.book import Book
from service.failures.records import Said, Shown
from service.failures.view import find_category
from service.house import House
from service.ledger.records import Act
from service.storage.keys import is_safe_name

MOST_CHARACTERS = 1000
VERB = "failure"


class BadWord(ServiceError):
    """What is said of a failure category cannot be kept."""


def say(
    house: House,
    model: str,
    identity: str,
    who: str,
    why: str,
    *,
    owner: str | None = None,
    state: str | None = None,
    note: str | None = None,
    severity: float | None = None,
    release: str | None = None,
) -> Shown:
    """Keep what somebody says of a category, and in the ledger that it was said. What is None stays as it was.

    Raises:
        NoSuchFailure: the model has no such category.
        BadWord: nothing is said, or something that cannot be kept.
    """
    wished = {"owner": owner, "state": state, "note": note, "severity": severity, "release": release}
    told = {name: value for name, value in wished.items() if value is not None}
    _check(told)
    now, book = house.clock(), Book(house.store, model)
    category = find_category(house, model, identity)
    before = category.said or Said(identity, who, why, now)
    said = replace(before, who=who, why=why, at=now, **told)  # type: ignore[arg-type]  # checked above
    if state is not None:
        said = replace(said, state_at=now, release=release or "")
    house.ledger.record_act(Act(model, VERB, who, why, now, {"id": identity, "name": category.name, **told}))
    book.say(said)
    return find_category(house, model, identity)


def _check(told: dict[str, str | float]) -> None:
    if not told:
        raise BadWord("say at least one of `owner`, `state`, `note`, `severity` and `release`")
    state, severity, release = told.get("state"), told.get("severity"), told.get("release")
    if state is not None and state not in STATES:
        raise BadWord(f"`state` {str(state)[:40]!r} is none: allowed are {', '.join(STATES)}")
    if severity is not None and not LEAST_SEVERITY <= float(severity) <= MOST_SEVERITY:
        raise BadWord(f"`severity` {severity} is out of range: allowed is {LEAST_SEVERITY:g} to {MOST_SEVERITY:g}")
    if release and not is_safe_name(str(release)):
        raise BadWord(f"`release` {str(release)[:40]!r} is no version's name")
    if release and state not in {"fixed", "being_fixed"}:
        raise BadWord("`release` says which version fixes it: it goes with the state fixed or being_fixed")
    for name in ("owner", "note"):
        if len(str(told.get(name, ""))) > MOST_CHARACTERS:
            raise BadWord(f"`{name}` is longer than {MOST_CHARACTERS} characters")
