"""Carrying: failure categories into a retraining, so that the trainer sees what to mend, and into its report."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from monitors.baseline.baselines import Baseline
from monitors.reading.failures.categories import assign
from monitors.reading.failures.rules import OTHER_RULE, from_plain
from policies.failures import ACCEPTED, FIXED
from service.failures.view import categories_of
from service.house import House
from service.ledger.records import Retraining

MOST_CARRIED = 10
FILE = "failures.json"


def failures_to_mend(house: House, model: str) -> tuple[Mapping[str, Any], ...]:
    """For the record of a retraining: the categories that come first and are neither fixed nor accepted, ranked."""
    look, shown = categories_of(house, model)
    if look.version != house.ledger.champion(model):
        return ()
    open_ones = [
        (each, each.seen, each.known)
        for each in shown
        if each.seen and each.known and each.state not in {FIXED, ACCEPTED}
    ]
    return tuple(
        {
            "id": each.id,
            "name": each.name,
            "kind": seen.kind,
            "errors": seen.errors,
            "share": round(seen.share, 4),
            "trend": seen.trend,
            "priority": each.priority,
            "rule": known.rule,
        }
        for each, seen, known in open_ones[:MOST_CARRIED]
    )


def write_failures(folder: Path, retraining: Retraining) -> None:
    """Beside the training files: what the champion does wrong, as `failures.json`; an empty list where that is unknown.

    Always the same bytes for the same retraining.
    """
    (folder / FILE).write_bytes(msgspec.json.encode(list(retraining.failures)) + b"\n")


def errors_by_category(
    retraining: Retraining, baseline: Baseline, rows: pa.Table, champion: pa.Table, challenger: pa.Table
) -> list[dict[str, Any]]:
    """How many errors of each category that the retraining was to mend champion and challenger make on the same rows.

    `rows` hold labels and features; `champion` and `challenger` a `prediction` for each. Both are sorted by the
    categories of the champion's baseline, in their order; the last entry is all other errors.
    """
    rules = [from_plain(each["rule"]) for each in retraining.failures]
    answered = [_with_prediction(rows, each) for each in (champion, challenger)]
    before, after = (Counter(assign(rules, each, baseline)) for each in answered)
    named = [*((rule.id, rule.name) for rule in rules), (OTHER_RULE.id, OTHER_RULE.name)]
    return [
        {"id": identity, "name": name, "champion": before[identity], "challenger": after[identity]}
        for identity, name in named
    ]


def _with_prediction(rows: pa.Table, answers: pa.Table) -> pa.Table:
    prediction = answers.column("prediction")
    if "prediction" not in rows.column_names:
        return rows.append_column("prediction", prediction)
    return rows.set_column(rows.column_names.index("prediction"), "prediction", prediction)
