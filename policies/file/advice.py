"""What a policy says and cannot mean: limits that nothing reaches, times that are over, images that may change."""

from collections.abc import Iterator
from datetime import datetime

from monitors.counting.scores import FIRST, METRICS
from policies.file.kinds import format_moment, format_span
from policies.file.kubernetes import KubernetesTrainer, is_fixed, unfixed
from policies.file.policy import ColumnDrift, Drift, DriftTrigger, PerformanceTrigger, Policy, TwinTrigger
from policies.file.without_effect import without_effect

# The largest that a statistic can be; the others have no end.
_LARGEST = {"jensenshannon": 0.833, "hellinger": 1.0, "TVD": 1.0, "ks": 1.0}


def advise(policy: Policy, now: datetime) -> list[str]:
    """A sentence for each such thing at `now` (aware), those without effect in this version among them.

    >>> from datetime import UTC
    >>> from policies.file.parse import parse
    >>> text = "{model: m, task: {kind: classification}, drift: {statistic: ks, threshold: 1.2}}"
    >>> advise(parse(text), datetime(2026, 12, 1, tzinfo=UTC))
    ['drift.threshold: ks is at most 1, so 1.2 is never reached']
    """
    said = (_thresholds, _triggers, _estimate, _budget, _image, _unmeasured)
    return [
        *without_effect(policy),
        *(sentence for each in said for sentence in each(policy)),
        *_past(policy, now),
    ]


def _thresholds(policy: Policy) -> Iterator[str]:
    rules: dict[str, Drift | ColumnDrift] = {"drift": policy.drift}
    rules |= {f"drift.columns.{name}": policy.drift_rule(name) for name, _ in _named(policy)}
    for at, override in enumerate(policy.overrides):
        threshold = override.drift.threshold if override.drift else None
        rules[f"overrides[{at}].drift"] = ColumnDrift(policy.drift.statistic, threshold)
    for place, rule in rules.items():
        largest = _LARGEST.get(rule.statistic or "")
        if largest is not None and rule.threshold is not None and rule.threshold > largest:
            yield f"{place}.threshold: {rule.statistic} is at most {largest:g}, so {rule.threshold:g} is never reached"


def _named(policy: Policy) -> list[tuple[str, object]]:
    """Columns with a rule of their own that is looked at; what a pattern gives depends on the rows."""
    return [(name, rule) for name, rule in policy.drift.columns if not rule.ignore and not set(name) & set("*?[")]


def _triggers(policy: Policy) -> Iterator[str]:
    when = policy.retrain.when
    if not when:
        yield "retrain.when is empty: only a person can start a retraining"
    drifts = [(at, trigger) for at, trigger in enumerate(when) if isinstance(trigger, DriftTrigger)]
    for at, trigger in drifts:
        if trigger.drift.segments > 1 and not policy.segments:
            yield (
                f"retrain.when[{at}] asks for {trigger.drift.segments} segments, and `segments` makes no cut: "
                "there is only `all`, so it never fires"
            )
        wider = [
            other
            for place, other in drifts
            if other.also in (None, trigger.also)
            and other.drift.segments <= trigger.drift.segments
            and other.drift.columns <= trigger.drift.columns
            and (other != trigger or place < at)
        ]
        if wider:
            yield f"retrain.when[{at}] adds nothing: another drift trigger fires wherever it does"
    for name, part in (("performance", PerformanceTrigger()), ("twin", TwinTrigger())):
        if when.count(part) > 1:
            yield f"retrain.when has {name} more than once"


def _estimate(policy: Policy) -> Iterator[str]:
    metric, first = policy.performance.metric, FIRST[policy.task.kind]
    asks = any(isinstance(trigger, DriftTrigger) and trigger.also for trigger in policy.retrain.when)
    if asks and not METRICS[metric].mean_of:
        yield f"performance.metric: {metric} has no estimate, so the estimated drop is that of {first}"


def _budget(policy: Policy) -> Iterator[str]:
    budget, cooldown = policy.retrain.budget, policy.retrain.cooldown
    if budget and cooldown and budget.count > (most := budget.per // cooldown + 1):
        room = f"a cooldown of {format_span(cooldown)} leaves room for {most} in {format_span(budget.per)}"
        yield f"retrain.budget: {room}, so a budget of {budget.count} is never spent"


def _image(policy: Policy) -> Iterator[str]:
    trainer = policy.retrain.trainer
    if isinstance(trainer, KubernetesTrainer) and trainer.image and not is_fixed(trainer.image):
        yield f"retrain.trainer.image: {unfixed(trainer.image)}"


def _unmeasured(policy: Policy) -> Iterator[str]:
    trainer, gate = policy.retrain.trainer.kind, policy.gate
    budgets = [f"gate.{name}" for name in ("latency_p95", "max_size") if getattr(gate, name) is not None]
    if trainer != "builtin" and budgets:
        named = " and ".join(budgets)
        yield f"{named}: measured where the {trainer} trainer leaves a model folder, not of a model that stays outside"


def _past(policy: Policy, now: datetime) -> Iterator[str]:
    for at, period in enumerate(policy.retrain.freeze):
        if period.end <= now:
            yield f"retrain.freeze[{at}] ended at {format_moment(period.end)}: it can go"
    for at, silence in enumerate(policy.silences):
        if silence.until <= now:
            yield f"silences[{at}] ended at {format_moment(silence.until)}: it can go"
