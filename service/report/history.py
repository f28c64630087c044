"""How a challenger came about and what comes next: the trigger, the training, the data, and what to look at."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from monitors.counting.segments import ALL
from policies.file.kinds import format_span
from policies.file.policy import Policy
from policies.gate import Verdict
from service.ledger.records import Retraining
from service.report.curve import curve_of
from service.report.values import Section, Table, table_of
from service.report.words import answer, count, metric, moment, percent, plain, value

_NAMED = 5
_SCORES = ("accuracy", "macro_f1", "mae", "rmse")


def history_sections(policy: Policy, retraining: Retraining, verdict: Verdict | None) -> Iterator[Section]:
    """What led to it, in the order in which people ask, and what follows from it."""
    if verdict is not None:
        title, first = "After the release", _watch(policy, retraining)
        if not verdict.passed:
            title, first = (
                "What next",
                f"Version {retraining.champion} stays; what asked may ask again as labels come.",
            )
        yield Section(title, points=(first, *_look_at(retraining, verdict)))
    yield _trigger(retraining)
    if retraining.checkpoints:
        yield _training(retraining.checkpoints)
    if retraining.manifest:
        yield _data(retraining.manifest)
    if verdict:
        yield _conditions(verdict)


def _watch(policy: Policy, retraining: Retraining) -> str:
    who = "it is rolled back" if policy.watch.rollback == "automatic" else "a person is told"
    return (
        f"It is watched for {format_span(policy.watch.duration)} against version {retraining.champion} on the same "
        f"rows: where a segment loses more than {percent(policy.gate.max_segment_drop)} with evidence, {who}."
    )


def _look_at(retraining: Retraining, verdict: Verdict) -> Iterator[str]:
    asked = [name for name in retraining.segments if name != ALL] or [ALL]
    yield f"Look whether what asked for it clears: {', '.join(retraining.reasons) or 'a wish'} in {_some(asked)}."
    thin = [each for each in verdict.segments if each.answer == "not_enough_labels"]
    if thin:
        named = _some([f"{each.name} (about {each.labels_needed:,} more)" for each in thin])
        yield f"Have rows labelled where the labels did not suffice: {named}."
    calibration = next((each for each in verdict.metrics if each.name == "calibration"), None)
    if calibration and calibration.drop is not None and calibration.drop > 0.05:
        yield (
            f"Its confidences are off by {percent(calibration.challenger)}, before by {percent(calibration.champion)}: "
            "look at whatever uses them, like a threshold below which a person is asked."
        )
    ready = verdict.readiness
    if ready and ready.distribution:
        yield from (f"Look at recent traffic: {text}." for text in ready.distribution.odd)
    if ready and ready.failures:
        yield f"Look whether the failure categories fall: {_some([each.name for each in ready.failures])}."


def _trigger(retraining: Retraining) -> Section:
    points = [
        f"Reasons: {', '.join(retraining.reasons) or 'a wish'}.",
        f"Segments: {_some(list(retraining.segments)) or ALL}.",
        f"The change is estimated to have begun at {moment(retraining.change_started)}."
        if retraining.change_started
        else "When a change began is not known.",
        f"Decision {retraining.decision}, of {moment(retraining.opened_at)}.",
    ]
    rows = [
        (str(each.get("name", "")), count(int(each.get("errors", 0))), str(each.get("trend", "-")))
        for each in retraining.failures
    ]
    columns = {"Failure category of the champion": False, "Errors": True, "Trend": False}
    tables = (table_of("What went wrong when it was opened, the most important first", columns, rows),) if rows else ()
    return Section("Why it was retrained", tables=tables, points=tuple(points))


def _training(checkpoints: Sequence[Mapping[str, Any]]) -> Section:
    scores = [name for name in _SCORES if any(name in each["metrics"].get(ALL, {}) for each in checkpoints)]
    rows = [
        (
            each.get("candidate") or "-",
            str(each["step"]),
            plain(each["loss"]),
            plain(each["validation_loss"]),
            *(value(name, each["metrics"].get(ALL, {}).get(name)) for name in scores),
            "best so far" if each["is_best"] else "-",
        )
        for each in checkpoints
    ]
    columns = {"Rows": False, "Step": True, "Loss": True, "Validation loss": True}
    columns |= {metric(name): True for name in scores} | {"": False}
    says = "As the trainer told it, on validation rows, which choose. The verdict is on rows that it never saw."
    return Section("Training", (says,), (table_of("Checkpoints", columns, rows),), curve=curve_of(checkpoints))


def _data(manifest: Mapping[str, Any]) -> Section:
    rows = [
        (
            name.replace("_", " "),
            {"validation": "chooses", "holdout": "judges"}.get(name, "teaches"),
            count(part["rows"]),
            moment(part["from"]),
            moment(part["until"]),
            str(part["digest"])[:12],
        )
        for name, part in manifest.get("parts", {}).items()
    ]
    columns = {"Part": False, "What for": False, "Rows": True, "From": False, "Until": False, "Digest": False}
    gone = [(answer(reason), count(int(n))) for reason, n in manifest.get("excluded", {}).items() if n]
    tables: tuple[Table, ...] = (table_of("Parts; the digest is of the ids of their rows", columns, rows),)
    if gone:
        tables += (table_of("Rows left out", {"Reason": False, "Rows": True}, gone),)
    says = [f"{manifest.get('rows', 0):,} labelled rows were there."]
    if manifest.get("conflicting"):
        says.append(f"{manifest['conflicting']:,} rows have the features of a row with another label.")
    return Section("Data", tuple(says), tables)


def _conditions(verdict: Verdict) -> Section:
    rows = [
        (
            reason.code,
            reason.segment or reason.column or "-",
            "refuses" if reason.met and reason.code in verdict.refused_by else "to know" if reason.met else "passes",
            reason.text,
        )
        for reason in sorted(verdict.reasons, key=lambda reason: not reason.met)
    ]
    columns = {"Code": False, "Of": False, "Answer": False, "In words": False}
    return Section("Every condition", tables=(table_of("All that was asked, what is met first", columns, rows),))


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
