"""Building a report from a retraining's record: nothing else is asked, so any replica says the same."""

import msgspec

from policies.file.policy import Policy
from policies.gate import Verdict
from service.ledger.records import Retraining
from service.report.history import history_sections
from service.report.judged import judged_sections
from service.report.values import ModelReport
from service.report.words import change, count, lasted, metric, moment, value

_FIRST = {"classification": "accuracy", "regression": "mae"}


def report_of(policy: Policy, retraining: Retraining) -> ModelReport:
    """The report of a retraining as it stands. Without a verdict it says what came instead."""
    verdict = _read_verdict(retraining)
    word = "not judged" if not retraining.verdict else "passed" if retraining.verdict["passed"] else "refused"
    return ModelReport(
        title=f"{retraining.model}: version {retraining.version or 'unnamed'} against {retraining.champion}",
        answer=word,
        headline=_headline(policy, retraining, verdict),
        facts=tuple(_facts(policy, retraining, verdict).items()),
        refusals=tuple(reason.text for reason in verdict.refusals) if verdict else (),
        warnings=tuple(reason.text for reason in verdict.warnings) if verdict else (),
        sections=(
            *(judged_sections(policy, retraining, verdict) if verdict else ()),
            *history_sections(policy, retraining, verdict),
        ),
    )


def _read_verdict(retraining: Retraining) -> Verdict | None:
    """None where there is none, or one whose form this version does not know."""
    try:
        return msgspec.convert(retraining.verdict, Verdict) if retraining.verdict else None
    except msgspec.ValidationError:
        return None


def _headline(policy: Policy, retraining: Retraining, verdict: Verdict | None) -> str:
    if verdict is None and retraining.verdict:
        return f"Its verdict has a form that is not read here; GET /v1/retrainings/{retraining.id} has all of it."
    if verdict is None:
        return f"It was not judged: {retraining.note or f'it is {retraining.state}'}."
    name, before, after, gain = _success(policy, verdict)
    told = f"{metric(name)} {value(name, before)} before, {value(name, after)} now ({change(name, gain)})"
    return f"On {verdict.segments[0].n:,} unseen rows {told}."


def _success(policy: Policy, verdict: Verdict) -> tuple[str, float | None, float | None, float | None]:
    """The success metric with what it was, is and gained."""
    name = verdict.success_metric or _FIRST[policy.task.kind]
    found = next((each for each in verdict.metrics if each.name == name and each.drop is not None), None)
    if found and found.drop is not None:
        return name, found.champion, found.challenger, -found.drop
    whole = verdict.segments[0]
    return _FIRST[policy.task.kind], whole.champion, whole.challenger, whole.gain


def _facts(policy: Policy, retraining: Retraining, verdict: Verdict | None) -> dict[str, str]:
    holdout = retraining.manifest.get("parts", {}).get("holdout", {})
    found = {
        "State": retraining.state,
        "Champion": retraining.champion,
        "Challenger": retraining.version or "-",
        "Task": f"{policy.task.kind} of {policy.task.target}",
        "Success metric": metric(policy.task.success_metric),
        "Outcome": policy.task.outcome or "none named",
        "Owner": policy.owner or "-",
        "Trainer": policy.retrain.trainer.kind,
        "Learnt from": f"{count(retraining.labelled_rows)} labelled rows" if retraining.labelled_rows else "-",
        "Judged on": f"{count(verdict.segments[0].n)} rows" if verdict else "-",
        "Unseen rows of": f"{moment(holdout['from'])} to {moment(holdout['until'])}" if holdout else "-",
        "Opened": moment(retraining.opened_at),
        "Took": lasted(retraining) or "-",
        "Where it is": retraining.uri or "-",
        "Note": retraining.note if retraining.note and (verdict is None or verdict.passed) else "-",
        "Retraining": retraining.id,
    }
    return {term: told for term, told in found.items() if told != "-"}
