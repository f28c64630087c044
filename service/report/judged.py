"""What was judged: metrics, segments, classes, calibration, cases, budgets, recent traffic, the outcome."""

from collections.abc import Iterator, Sequence

from policies.file.kinds import format_size, format_span
from policies.file.policy import Policy
from policies.gate import Alignment, Distribution, MetricVerdict, Readiness, SegmentVerdict, Verdict
from service.ledger.records import Retraining
from service.report.values import Section, Table, table_of
from service.report.words import answer, change, count, metric, percent, plain, value

_MARK = {"classification": "accuracy", "regression": "mae"}
_HOW = (
    "Both models on the same unseen rows. A gain above 0 is better: points of a share, or the relative fall of a loss "
    "or an error. The draws are of these rows, again and again with replacement: a metric is worse where 99 of 100 "
    "draws lose more than is allowed."
)
_WORST = {"worse": 0, "not_enough_labels": 1, "not_measured": 2}


def judged_sections(policy: Policy, retraining: Retraining, verdict: Verdict) -> Iterator[Section]:
    """The sections on the verdict, those that have something to say."""
    names = f"Version {retraining.champion}", f"Version {retraining.version or 'new'}"
    kind = policy.task.kind
    if verdict.metrics:
        yield _metrics(verdict.metrics, names)
    yield _segments(verdict.segments, names, kind)
    if verdict.classes:
        yield _classes(verdict.classes, names, dict(policy.gate.metrics).get("class_recall"))
    if any(verdict.calibration.values()):
        yield _calibration(verdict, names)
    ready = verdict.readiness
    if ready is None:
        return
    yield _cases(ready)
    yield _budgets(policy, ready)
    if ready.distribution:
        yield _distribution(ready.distribution, names, kind)
    if ready.alignment:
        yield _alignment(ready.alignment)
    if ready.failures:
        yield _failures(ready, names)


def _metrics(metrics: Sequence[MetricVerdict], names: tuple[str, str]) -> Section:
    rows = []
    for each in metrics:
        low, high = (None if bound is None else -bound for bound in (each.high, each.low))
        span = "-" if low is None else f"{change(each.name, low).split()[0]} to {change(each.name, high)}"
        allowed = "-" if each.allowed is None else change(each.name, -each.allowed)
        gain = None if each.drop is None else -each.drop
        rows.append(
            (
                metric(each.name),
                count(each.n),
                value(each.name, each.champion),
                value(each.name, each.challenger),
                change(each.name, gain),
                span,
                allowed,
                answer(each.answer),
                count(each.labels_needed) if each.labels_needed else "-",
            )
        )
    columns = {"Metric": False, "Rows": True, names[0]: True, names[1]: True, "Gain": True, "98 of 100 draws": True}
    columns |= {"Allowed": True, "Answer": False, "Labels needed": True}
    unmeasured = [each for each in metrics if each.answer == "not_measured"]
    says = (_HOW, *(f"{metric(each.name)} is not measured: {each.why}." for each in unmeasured))
    return Section("Metrics side by side", says, (table_of("All unseen rows", columns, rows),))


def _segments(segments: Sequence[SegmentVerdict], names: tuple[str, str], kind: str) -> Section:
    unsettled = sum(each.answer == "not_enough_labels" for each in segments)
    says = [f"By {metric(_MARK[kind])}, the whole model first, then what is worse or open."]
    if unsettled:
        says.append(
            f"{unsettled} of {len(segments)} cannot be told yet. They refuse nothing and pass nothing: the last column "
            "says about how many labels more would settle each."
        )
    ordered = sorted(segments, key=lambda each: (each.name != "all", _WORST.get(each.answer, 9), each.gain or 0.0))
    return Section("Segments", tuple(says), (_by_name("Segment", ordered, names, _MARK[kind]),))


def _classes(classes: Sequence[SegmentVerdict], names: tuple[str, str], allowed: float | None) -> Section:
    ordered = sorted(classes, key=lambda each: (_WORST.get(each.answer, 9), each.gain or 0.0, each.name))
    says = (
        "How much of each class is found. Means hide a lost class of the long tail; this does not. "
        f"A class may lose {percent(allowed)} of its rows; more, with evidence, refuses."
    )
    return Section("Recall of each class", (says,), (_by_name("Class", ordered, names, "class_recall"),))


def _by_name(what: str, found: Sequence[SegmentVerdict], names: tuple[str, str], of: str) -> Table:
    rows = [
        (
            each.name,
            count(each.n),
            value(of, each.champion),
            value(of, each.challenger),
            change(of, each.gain),
            answer(each.answer),
            count(each.labels_needed) if each.labels_needed else "-",
        )
        for each in found
    ]
    columns = {what: False, "Rows": True, names[0]: True, names[1]: True, "Gain": True, "Answer": False}
    return table_of("Those to look at first", columns | {"Labels needed": True}, rows)


def _calibration(verdict: Verdict, names: tuple[str, str]) -> Section:
    by_bin: dict[tuple[float, float], dict[str, tuple[str, str, str]]] = {}
    for side, bins in verdict.calibration.items():
        for each in bins:
            told = count(each.n), percent(each.confidence), percent(each.accuracy)
            by_bin.setdefault((each.low, each.high), {})[side] = told
    nothing = ("-", "-", "-")
    rows = [
        (f"{low:.0%} to {high:.0%}", *sides.get("champion", nothing), *sides.get("challenger", nothing))
        for (low, high), sides in sorted(by_bin.items())
    ]
    columns = {"Confidence": False}
    for name in names:
        columns |= {f"{name}: rows": True, f"{name}: was sure": True, f"{name}: was right": True}
    found = {each.name: each for each in verdict.metrics}.get("calibration")
    says = ["A calibrated model is right as often as it is sure."]
    if found and found.champion is not None:
        says.append(f"Expected calibration error: {percent(found.champion)} before, {percent(found.challenger)} now.")
    return Section("Calibration", tuple(says), (table_of("By how sure the model was", columns, rows),))


def _cases(ready: Readiness) -> Section:
    if not ready.cases:
        return Section("Cases that must pass", ("The policy names no file of cases (`gate.must_pass`).",))
    if not ready.failed:
        return Section("Cases that must pass", (f"All {ready.cases:,} came out right.",))
    rows = [
        (
            case.name,
            case.segment or "-",
            ", ".join(f"{name}: {said}" for name, said in case.features.items()),
            str(case.expected),
            str(case.said),
        )
        for case in ready.failed
    ]
    columns = {"Case": False, "Segment": False, "Features": False, "Expected": False, "Said": False}
    says = (f"{len(ready.failed):,} of {ready.cases:,} came out wrong.",)
    return Section("Cases that must pass", says, (table_of("Cases that came out wrong", columns, rows),))


def _budgets(policy: Policy, ready: Readiness) -> Section:
    latency, size = policy.gate.latency_p95, policy.gate.max_size
    seen = "-" if ready.latency_p95 is None else f"{1000 * ready.latency_p95.total_seconds():.1f} ms"
    rows = [
        ("Latency, 95th percentile of one prediction", seen, "-" if latency is None else format_span(latency)),
        (
            "Size of the model's files",
            "-" if ready.size_bytes is None else format_size(ready.size_bytes),
            "-" if size is None else format_size(size),
        ),
    ]
    says = [f"{what.replace('_', ' ')}: {why}." for what, why in ready.unmeasured.items()]
    columns = {"What": False, "Measured": True, "Allowed": True}
    return Section("Latency and size", tuple(says), (table_of("Budgets", columns, rows, keep_empty=True),))


def _distribution(found: Distribution, names: tuple[str, str], kind: str) -> Section:
    if found.why:
        return Section("Recent traffic", (f"Not compared: {found.why}.",))
    as_words = percent if kind == "classification" else plain
    rows = [(each.name, *(as_words(n) for n in (each.champion, each.challenger, each.labels))) for each in found.shown]
    what = "Class" if kind == "classification" else "Quantile"
    columns = {what: False, f"{names[0]} said": True, f"{names[1]} says": True, "Labels of the holdout": True}
    says = (f"What both say of the same {found.n:,} recent rows, beside {found.labels:,} labels of the holdout.",)
    caption = "Shares of the answers" if kind == "classification" else "Quantiles of the answers"
    return Section("Recent traffic", says, (table_of(caption, columns, rows),), (*found.broken, *found.odd))


def _alignment(found: Alignment) -> Section:
    rows = [
        ("right", count(found.right_rows), plain(found.right_mean)),
        ("wrong", count(found.wrong_rows), plain(found.wrong_mean)),
    ]
    span = "" if found.low is None else f" ({found.low:+.4f} to {found.high:+.4f} in 95 of 100 cases)"
    gap = "" if found.difference is None else f" The difference is {found.difference:+.4f}{span}."
    says = (f"Does being right help the user? {answer(found.answer).capitalize()}.{gap}",)
    columns = {"Predictions that were": False, "Rows": True, f"Mean {found.outcome}": True}
    return Section("Outcome of users", says, (table_of(f"{found.outcome} of the last 30 days", columns, rows),))


def _failures(ready: Readiness, names: tuple[str, str]) -> Section:
    rows = [(each.name, count(each.champion), count(each.challenger)) for each in ready.failures]
    columns = {"Category": False, f"Errors of {names[0].lower()}": True, f"Errors of {names[1].lower()}": True}
    says = ("What went wrong most before it was retrained, counted on the unseen rows.",)
    return Section("Failure categories", says, (table_of("Errors by category", columns, rows),))
