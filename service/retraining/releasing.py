"""Releasing: the model's files and its baseline first, then the champion pointer and its watch in one step; and back.

Every step may be taken again. Whoever goes on after a crash begins at the first: what is there already stays as it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from policies.file.policy import Policy
from service.errors import ServiceError
from service.house import House
from service.ledger.records import Release, Retraining, Watch
from service.training.references import baseline_of, keep_baseline
from service.training.registry import Registry

BASELINE_ROWS = 500
CALM_BASELINE_ROWS = 2_000
"""Without a known change, the newest of the rows that taught the model stand for the present."""


class NothingToRelease(ServiceError):
    """A retraining brought neither the files of a model nor the address of one."""

    def __init__(self, retraining: Retraining) -> None:
        super().__init__(
            f"retraining {retraining.id} has neither a model folder nor a uri for version {retraining.version}: "
            "there is nothing that production could serve"
        )


def release(
    house: House, registry: Registry, policy: Policy, retraining: Retraining, model: Path | None, rows: pa.Table
) -> Retraining:
    """Make the model in a folder the champion, or without a folder the one at the retraining's `uri`. `rows` carry its
    honest predictions, for its baseline. Gives the retraining with the digest of what was released.

    Raises:
        ChampionMoved: another version became the champion meanwhile.
        NothingToRelease, BadModelFile, VersionExists, ArchiveAway: as `introduce`.
    """
    done = next((r for r in house.ledger.releases(retraining.model) if r.retraining == retraining.id), None)
    if done is not None:
        return replace(retraining, digest=done.digest)
    known = introduce(house, registry, policy, retraining, model, rows)
    promote(house, policy, known)
    return known


def introduce(
    house: House, registry: Registry, policy: Policy, retraining: Retraining, model: Path | None, rows: pa.Table
) -> Retraining:
    """Store the version's files, where it has any, and its baseline: from now on rows of it are counted as its own, and
    nothing else is changed.

    Raises:
        NothingToRelease: there is neither a folder nor a uri.
        BadModelFile, VersionExists: the folder holds no sound model, or the version is another one's.
        ArchiveAway: files cannot be written now.
    """
    name, version, digest = retraining.model, retraining.version, retraining.digest
    if model is not None:
        digest = registry.adopt(model, name=name, version=version).sha256
    elif not retraining.uri:
        raise NothingToRelease(retraining)
    baseline = baseline_of(policy, version, rows, out_of_fold=True, most_segments=house.settings.max_segments)
    keep_baseline(house.ledger, house.files, baseline, rows)
    return replace(retraining, digest=digest)


def promote(house: House, policy: Policy, retraining: Retraining) -> Release:
    """Move the champion pointer to what was introduced, and watch it from the same moment on; once for a retraining.

    Raises:
        ChampionMoved: another version became the champion meanwhile.
        NoBaseline: it was not introduced.
    """
    now, before = house.clock(), house.ledger.watch(retraining.model)
    moved = Release(
        retraining.model,
        retraining.version,
        retraining.champion,
        now,
        "release",
        ", ".join(retraining.reasons),
        retraining.id,
        retraining.uri,
        retraining.digest,
    )
    under = before if before is not None and before.version == retraining.champion and before.until > now else None
    # Labels of its last rows come later.
    until = now + policy.watch.duration + policy.window.label_delay
    watch = Watch(retraining.version, retraining.champion, until, since=now, under=under)
    house.ledger.move_champion(moved, watch)
    return moved


def roll_back(house: House, model: str, version: str, previous: str, reason: str) -> Release:
    """Move the pointer back from `version` to `previous`, whose own watch goes on where it was not over.

    Raises:
        ChampionMoved: `version` is not the champion any more.
        NoBaseline: `previous` has none.
    """
    now, watch = house.clock(), house.ledger.watch(model)
    found = next((r for r in reversed(house.ledger.releases(model)) if r.version == previous), None)
    uri, digest = (found.uri, found.digest) if found else ("", "")
    moved = Release(model, previous, version, now, "rollback", reason, uri=uri, digest=digest)
    under = watch.under if watch is not None and watch.version == version else None
    goes_on = under if under is not None and under.version == previous and under.until > now else None
    house.ledger.move_champion(moved, goes_on)
    return moved


def is_overtaken(champion: str, releases: Sequence[Release], retraining: Retraining) -> bool:
    """Whether a retraining is too late: another version than the one it was to replace is the champion, and not because
    of itself, as when a crash came between the move of the pointer and the last word about it.
    """
    return champion != retraining.champion and all(each.retraining != retraining.id for each in releases)


def when_rows_changed(retraining: Retraining) -> datetime | None:
    """A fresh twin that wins says that newer rows teach better; rows as they are now may be much like those before."""
    return None if set(retraining.reasons) <= {"twin_better", "manual"} else retraining.change_started


def describe_now(rows: pa.Table, change_started: datetime | None) -> pa.Table:
    """The rows that a baseline is made of: those of the world as it is now, at least `BASELINE_ROWS` of them.

    A baseline that reached back over a change would take the change for the usual wobble, and see no further one.
    """
    rows = rows.sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")])
    fewest = BASELINE_ROWS if change_started else CALM_BASELINE_ROWS
    after = (
        pc.sum(pc.greater_equal(rows.column("timestamp"), pa.scalar(change_started))).as_py() if change_started else 0
    )
    return rows.slice(max(0, rows.num_rows - max(after or 0, fewest)))
