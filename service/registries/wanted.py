"""What a registry should say of a model, as the ledger says it: its versions, and which of them serves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from service.house import House
from service.ledger.records import Release, Retraining
from service.web.routes.releases import version_before

NEWEST = 20
"""So many versions of a model are registered, the newest, and those that aliases point at."""
CHAMPION, PREVIOUS = "champion", "previous"


@dataclass(frozen=True)
class Version:
    """A version that was in service, as a registry is to know it; `metrics` are figures of its gate."""

    name: str
    release: Release
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    record: bytes


@dataclass(frozen=True)
class Wanted:
    """The versions, the oldest first, and what each alias points at; `seen` is the same while both are."""

    model: str
    versions: Sequence[Version]
    aliases: Mapping[str, str]

    @property
    def seen(self) -> str:
        return f"{','.join(version.name for version in self.versions)} {sorted(self.aliases.items())}"


def wanted(house: House, model: str) -> Wanted:
    """What the ledger says of a model now; `previous` is the version that a rollback would go back to."""
    ledger = house.ledger
    releases, champion = ledger.releases(model), ledger.champion(model)
    introduced = {each.version: each for each in releases if each.kind != "rollback"}
    aliases = {CHAMPION: champion, PREVIOUS: version_before(releases, champion)}
    aliases = {alias: version for alias, version in aliases.items() if version in introduced}
    newest = {*list(introduced)[-NEWEST:], *aliases.values()}
    versions = [_version(house, release) for version, release in introduced.items() if version in newest]
    return Wanted(model, versions, aliases)


def _version(house: House, release: Release) -> Version:
    record = house.ledger.retraining(release.model, release.retraining) if release.retraining else None
    tags = {"model": release.model, "version": release.version, "kind": release.kind, "uri": release.uri}
    tags |= {"digest": release.digest, "retraining": release.retraining, "reason": release.reason}
    if record is not None:
        tags |= {"decision": record.decision, "verdict": "pass" if record.verdict.get("passed") else ""}
    named = {f"tidegate.{name}": value for name, value in tags.items() if value}
    said = msgspec.json.format(msgspec.json.encode(record or release))
    return Version(release.version, release, named, _metrics(record), said)


def _metrics(record: Retraining | None) -> dict[str, float]:
    """The figures of the gate for all rows."""
    if record is None:
        return {}
    segments: Sequence[Mapping[str, Any]] = record.verdict.get("segments", ())
    whole = next((each for each in segments if each.get("name") == "all"), {})
    figures = {f"gate_{name}": value for name, value in whole.items() if isinstance(value, int | float)}
    return {"labelled_rows": float(record.labelled_rows)} | {
        name: float(value) for name, value in figures.items() if not isinstance(value, bool)
    }
