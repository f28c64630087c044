"""`tidegate baseline build`: a file of predictions as the baseline of a model version."""

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime

from monitors.errors import MonitorError
from service.cli import settings_of
from service.commands.replay import read_policy
from service.errors import ServiceError
from service.house import House, open_house
from service.intake.archive.tables import BadFile, Roles, as_batch, read_table
from service.ledger.records import Release
from service.training.references import baseline_of, keep_baseline


class NoPolicy(ServiceError):
    """A baseline needs a policy: its segments, column kinds and slice."""


def run(options: argparse.Namespace) -> int:
    """Build and store; say what was built."""
    with open_house(settings_of(options), lambda: datetime.now(UTC), beside=True) as house:
        policy = read_policy(options.policy) if options.policy else house.policies.policy(options.model)
        if policy is None:
            raise NoPolicy(
                f"no policy for {options.model} in {house.settings.policies}: add one, or give --policy FILE"
            )
        policy = replace(policy, model=options.model)
        roles = Roles(options.timestamp, options.label, options.prediction, options.confidence, policy.column_kinds())
        rows = as_batch(options.file, read_table(options.file), roles, policy.task.kind, options.version)
        if "prediction" not in rows.column_names:
            raise BadFile(
                options.file, f"it has no column {options.prediction!r}: name the prediction's with --prediction"
            )
        try:
            baseline = baseline_of(policy, options.version, rows, most_segments=house.settings.max_segments)
        except MonitorError as error:
            raise BadFile(options.file, str(error)) from error
        keep_baseline(house.ledger, house.files, baseline, rows)
        if options.champion or not house.ledger.champion(options.model):
            _promote(house, options)
        told = f"{len(baseline.layout.segments)} segments, {len(baseline.layout.columns)} columns, {rows.num_rows} rows"
        sys.stdout.write(f"baseline of {options.model} {options.version}: {told}, {baseline.fingerprint[:12]}\n")
    return 0


def _promote(house: House, options: argparse.Namespace) -> None:
    previous = house.ledger.champion(options.model)
    kind = "release" if previous else "first"
    release = Release(
        options.model, options.version, previous, house.clock(), kind, f"baseline built from {options.file.name}"
    )
    house.ledger.move_champion(release)
