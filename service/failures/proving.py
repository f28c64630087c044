"""Proving: whether a category was fixed, by a release or by a person's word, and whether it has come back."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from policies.failures import ACCEPTED, FIXED, OPEN, Proof, Tally, is_back, prove, rows_to_come_back
from service.failures.records import Known, Said

FEWEST = 10
"""Errors before, without which nothing can be compared."""

Count = Callable[[datetime | None, datetime | None, int | None], Tally]
"""Errors of the category among rows from one time to another, at most so many, the newest."""


def state_of(known: Known | None, said: Said | None) -> str:
    """What was decided last, by counts or by people."""
    by_counts = (known.decided_at, known.state) if known else (None, "")
    by_people = (said.state_at, said.state) if said else (None, "")
    told = [(at, state) for at, state in (by_people, by_counts) if at is not None]
    return max(told, key=lambda each: each[0])[1] if told else OPEN


def followed(
    known: Known, said: Said | None, version: str, released_at: datetime | None, count: Count, now: datetime
) -> Known:
    """What is known of a category after a look at the rows of the version in service.

    A new version draws a boundary where it was released, a person's "fixed" where it was said; rows before it are
    compared with rows after it. One answer for each boundary moves the state by itself: to fixed, or back to open where
    somebody said fixed and it is not. One that is fixed and comes back is open again.
    """
    known = _bounded(known, said, version, released_at, count)
    after = count(known.since, None, None) if known.since else None
    proof = prove(known.before, after) if known.before and after else None
    known = replace(known, proof=proof, version=version, last=after or count(None, None, None))
    state = state_of(known, said)
    if said is not None and said.state == FIXED and said.release not in {"", version}:
        return known  # that release has not come yet
    if state == FIXED and known.decided_for == known.since and known.before and _is_back(known, known.before, count):
        return _come_back(known, known.before, count, now)
    if proof is None or state == ACCEPTED or known.decided_for == known.since:
        return known
    return _decided(known, proof, state, now)


def _bounded(known: Known, said: Said | None, version: str, released_at: datetime | None, count: Count) -> Known:
    """The category with its boundary where that has moved, and what it was before."""
    if known.version != version and released_at is not None:
        before = known.last if known.last.errors >= FEWEST else known.before
        return replace(known, before=before, since=released_at)
    if said is None or said.state != FIXED or said.state_at is None or said.release:
        return known
    if known.since is not None and known.since >= said.state_at:
        return known
    before = count(known.since, said.state_at, None)
    return replace(known, before=before if before.errors >= FEWEST else known.before, since=said.state_at)


def _decided(known: Known, proof: Proof, state: str, now: datetime) -> Known:
    if proof.answer == "fixed" and state == known.state == FIXED:
        return replace(known, decided_for=known.since)  # it was so before
    if proof.answer == "fixed":
        text = f"fixed by release {proof.after.version}" if _is_of_release(proof) else "fixed"
        return replace(known, state=FIXED, decided_at=now, decided_for=known.since, text=f"{text}: {_counted(proof)}")
    if proof.answer == "not_fixed" and state == FIXED:
        text = f"open again, it is not fixed: {_counted(proof)}"
        return replace(known, state=OPEN, decided_at=now, decided_for=known.since, text=text)
    return known


def _is_back(known: Known, before: Tally, count: Count) -> bool:
    return is_back(before, count(known.since, None, rows_to_come_back(before)))


def _come_back(known: Known, before: Tally, count: Count, now: datetime) -> Known:
    newest = count(known.since, None, rows_to_come_back(before))
    text = f"it is back: {newest.errors:,} errors in the newest {newest.rows:,} labelled rows"
    return replace(known, state=OPEN, decided_at=now, before=newest, since=now, decided_for=now, text=text, proof=None)


def _is_of_release(proof: Proof) -> bool:
    return proof.before.version != proof.after.version


def _counted(proof: Proof) -> str:
    return proof.text.partition(": ")[2]
