"""Every metric, declared once: name, type, labels, its sentence, and where in the snapshot its values are."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, product

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from policies.failures import STATES as FAILURE_STATES
from policies.file.notices import NOTICE_KINDS
from service.intake.folding.schema import KINDS as SCHEMA_KINDS
from service.intake.joining.ends import ENDS
from service.ledger.records import FINISHED, TRIGGER_ENDS
from service.notices.outbox import ENDS as NOTICE_ENDS
from service.web.snapshot import (
    SEGMENT_STATES,
    Durations,
    Limits,
    ModelSnapshot,
    SegmentSnapshot,
    Snapshot,
    TrainingSnapshot,
    TrialSnapshot,
    bound,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Shown as 0 before they first happen, so that increase() sees the first one.
ACTIONS = ("hold", "watch", "retrain")
VERDICTS = ("pass", "fail", "not_enough_labels")

Value = float | Durations
Rows = Iterable[tuple[tuple[str, ...], Value]]


@dataclass(frozen=True)
class Declared:
    """One metric. `read` gives a row for each series: the values of `labels` in that order, and its value."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    read: Callable[[Snapshot], Rows]


def collect(snapshot: Snapshot, limits: Limits | None = None) -> Iterator[Metric]:
    """The snapshot as Prometheus metrics, within the limits; a metric without a value has no series."""
    bounded = bound(snapshot, limits or Limits())
    for declared in DECLARED:
        yield _render(declared, bounded)


def expose(snapshot_of: Callable[[], Snapshot], limits: Limits | None = None) -> bytes:
    """The text that a scrape of /metrics gets, with `CONTENT_TYPE`; `snapshot_of` is called once."""
    return generate_latest(_Scrape(snapshot_of(), limits or Limits()))


@dataclass(frozen=True)
class _Scrape(Collector):
    snapshot: Snapshot
    limits: Limits

    def collect(self) -> Iterator[Metric]:
        return collect(self.snapshot, self.limits)


def _render(declared: Declared, snapshot: Snapshot) -> Metric:
    rows = declared.read(snapshot)
    if declared.kind == "histogram":
        histogram = HistogramMetricFamily(declared.name, declared.help, labels=declared.labels)
        for labels, value in rows:
            if isinstance(value, Durations):
                histogram.add_metric(labels, _buckets(value), value.sum_seconds)
        return histogram
    if declared.kind == "info":
        info = InfoMetricFamily(declared.name.removesuffix("_info"), declared.help)
        for labels, _ in rows:
            info.add_metric((), dict(zip(declared.labels, labels, strict=True)))
        return info
    kind = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
    family = kind(declared.name, declared.help, labels=declared.labels)
    for labels, value in rows:
        if not isinstance(value, Durations) and not math.isnan(value):
            family.add_metric(labels, value)
    return family


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    bounds = [*(str(each) for each in durations.bounds), "+Inf"]
    return list(zip(bounds, accumulate(durations.counts), strict=True))


def _process(read: Callable[[Snapshot], Value | None], snapshot: Snapshot) -> Rows:
    value = read(snapshot)
    if value is not None:
        yield (), value


def _model(read: Callable[[ModelSnapshot], Value | None], snapshot: Snapshot) -> Rows:
    for model in snapshot.models:
        value = read(model)
        if value is not None:
            yield (model.model,), value


def _counts(read: Callable[[ModelSnapshot], Mapping[str, int]], known: tuple[str, ...], snapshot: Snapshot) -> Rows:
    for model in snapshot.models:
        for key, count in (dict.fromkeys(known, 0) | dict(read(model))).items():
            yield (model.model, key), count


def _failure_shares(snapshot: Snapshot) -> Rows:
    for model in snapshot.models:
        for category, share in model.failure_shares.items():
            yield (model.model, category), share


def _told(read: Callable[[TrainingSnapshot], Mapping[str, float]], snapshot: Snapshot) -> Rows:
    for model in snapshot.models:
        for name, value in read(model.training).items() if model.training else ():
            yield (model.model, name), value


def _segment(read: Callable[[SegmentSnapshot], Rows], snapshot: Snapshot) -> Rows:
    for model in snapshot.models:
        for segment in model.segments:
            for labels, value in read(segment):
                yield (model.model, segment.name, *labels), value


def _states(segment: SegmentSnapshot) -> Rows:
    return [((state,), float(state == segment.state)) for state in SEGMENT_STATES]


def _sizes(segment: SegmentSnapshot) -> Rows:
    return [((each.column, each.statistic), each.size) for each in segment.drift]


def _thresholds(segment: SegmentSnapshot) -> Rows:
    return [((each.column, each.statistic), each.threshold) for each in segment.drift]


def _evidence(segment: SegmentSnapshot) -> Rows:
    return [((each.column,), each.evidence_ln) for each in segment.drift]


def _performance(segment: SegmentSnapshot) -> Rows:
    return [((each.metric, each.basis), each.value) for each in segment.performance]


def _faults(segment: SegmentSnapshot) -> Rows:
    return [((kind,), 1.0) for kind in sorted(segment.faults)]


def _outcome(segment: SegmentSnapshot) -> Rows:
    return [] if segment.outcome is None else [((), segment.outcome)]


def _versions(snapshot: Snapshot) -> Rows:
    return [((model.model, model.version), 1.0) for model in snapshot.models if model.version]


def _trials(read: Callable[[TrialSnapshot], float], snapshot: Snapshot) -> Rows:
    tried = [(model.model, model.trial) for model in snapshot.models if model.trial]
    return [((name, trial.version, trial.mode), read(trial)) for name, trial in tried]


def _cleared(model: ModelSnapshot) -> float | None:
    return {"cleared": 1.0, "not_cleared": 0.0}.get(model.aftermath)


def _notices(snapshot: Snapshot) -> Rows:
    known = dict.fromkeys(product(NOTICE_KINDS, NOTICE_ENDS), 0)
    return [
        ((each.model, *key), float(n)) for each in snapshot.models for key, n in (known | dict(each.notices)).items()
    ]


def _shadow_decisions(snapshot: Snapshot) -> Rows:
    for model in snapshot.models:
        for (shadow, action), count in model.shadow_decisions.items():
            yield (model.model, shadow, action), count


def _events(snapshot: Snapshot) -> Rows:
    return [((outcome,), float(count)) for outcome, count in (snapshot.kserve_events or {}).items()]


def _precision(triggers: Mapping[str, int]) -> float | None:
    confirmed, unfounded = (triggers.get(end, 0) for end in ("confirmed", "unfounded"))
    return confirmed / (confirmed + unfounded) if confirmed + unfounded else None


_TRIAL = ("model", "version", "mode")
_DRIFT = ("model", "segment", "column", "statistic")

DECLARED = (
    Declared(
        "tidegate_predictions_total", "counter", ("model",),
        "Predictions that were accepted and durably appended.", partial(_model, lambda m: m.predictions),
    ),
    Declared(
        "tidegate_labels_total", "counter", ("model", "end"),
        "Labels by what became of them.", partial(_counts, lambda m: m.labels, ENDS),
    ),
    Declared(
        "tidegate_labels_unmatched_ratio", "gauge", ("model",),
        "Share of the last day's labels whose prediction has not come; no series where fewer than ten labels came.",
        partial(_model, lambda m: m.labels_unmatched),
    ),
    Declared(
        "tidegate_label_delay_seconds", "gauge", ("model",),
        "Mean time from a prediction to its label, over the labels of the last day that met one.",
        partial(_model, lambda m: m.label_delay_seconds),
    ),
    Declared(
        "tidegate_rejected_rows_total", "counter", ("model", "reason"),
        "Rows that were refused, by the reason told to the sender.",
        partial(_counts, lambda m: m.rejected, ()),
    ),
    Declared(
        "tidegate_kserve_events_total", "counter", ("outcome",),
        "Events of KServe's inference logger by what became of them.", _events,
    ),
    Declared(
        "tidegate_unmeasured_rows_total", "counter", ("model",),
        "Rows of versions without a baseline that this build can read: stored, and counted in no profile.",
        partial(_model, lambda m: m.unmeasured),
    ),
    Declared(
        "tidegate_schema_rows_total", "counter", ("model", "kind"),
        "Rows with a column that the baseline does not know, without one that it knows, or with one of another type.",
        partial(_counts, lambda m: m.schema, SCHEMA_KINDS),
    ),
    Declared(
        "tidegate_aside_batches", "gauge", (),
        "Accepted batches that could not be counted and wait for a person to replay or discard them.",
        partial(_process, lambda s: s.aside_batches),
    ),
    Declared(
        "tidegate_ingest_backlog_rows", "gauge", (),
        "Rows that were accepted and are not counted yet.", partial(_process, lambda s: s.backlog_rows),
    ),
    Declared(
        "tidegate_ingest_lag_seconds", "gauge", ("model",),
        "Age of the oldest accepted row that is not counted yet; 0 when all are.",
        partial(_model, lambda m: m.ingest_lag_seconds),
    ),
    Declared(
        "tidegate_last_prediction_timestamp_seconds", "gauge", ("model",),
        "Unix time of the newest prediction.", partial(_model, lambda m: m.last_prediction_seconds),
    ),
    Declared(
        "tidegate_segment_state", "gauge", ("model", "segment", "state"),
        "1 for the state the segment is in, 0 for the others.", partial(_segment, _states),
    ),
    Declared(
        "tidegate_drift_size", "gauge", _DRIFT,
        "Size of the change against the baseline, with the part expected from sampling taken off.",
        partial(_segment, _sizes),
    ),
    Declared(
        "tidegate_drift_threshold", "gauge", _DRIFT,
        "Size from which the policy says that a change matters.", partial(_segment, _thresholds),
    ),
    Declared(
        "tidegate_drift_evidence_ln", "gauge", ("model", "segment", "column"),
        "Natural logarithm of the evidence that the change is more than the segment's usual wobble.",
        partial(_segment, _evidence),
    ),
    Declared(
        "tidegate_drift_evidence_threshold_ln", "gauge", ("model",),
        "Natural logarithm of the evidence that the allowed false alarms per year ask for.",
        partial(_model, lambda m: m.evidence_threshold_ln),
    ),
    Declared(
        "tidegate_performance_ratio", "gauge", ("model", "segment", "metric", "basis"),
        "Performance in the strongest window, from labels or estimated without them.",
        partial(_segment, _performance),
    ),
    Declared(
        "tidegate_outcome_ratio", "gauge", ("model", "segment"),
        "Mean of the policy's outcome over the predictions of seven days; of truth values the share of true ones.",
        partial(_segment, _outcome),
    ),
    Declared(
        "tidegate_data_fault", "gauge", ("model", "segment", "kind"),
        "1 while a fault of this kind is open in the segment's input; no series otherwise.",
        partial(_segment, _faults),
    ),
    Declared(
        "tidegate_decisions_total", "counter", ("model", "action"),
        "Decisions by their action.", partial(_counts, lambda m: m.decisions, ACTIONS),
    ),
    Declared(
        "tidegate_shadow_decisions_total", "counter", ("model", "shadow", "action"),
        "Decisions that a shadow policy would have made, by their action.", _shadow_decisions,
    ),
    Declared(
        "tidegate_hold_reasons_total", "counter", ("model", "reason"),
        "Reasons that kept decisions from retraining; a decision may have several.",
        partial(_counts, lambda m: m.hold_reasons, ()),
    ),
    Declared(
        "tidegate_triggers_total", "counter", ("model", "end"),
        "Triggers that fired, by what labels made of them later.",
        partial(_counts, lambda m: m.triggers, TRIGGER_ENDS),
    ),
    Declared(
        "tidegate_trigger_precision_ratio", "gauge", ("model",),
        "Share of confirmed ones among the triggers that labels confirmed or found unfounded.",
        partial(_model, lambda m: _precision(m.triggers)),
    ),
    Declared(
        "tidegate_retrainings_total", "counter", ("model", "outcome"),
        "Finished retrainings by how they ended.", partial(_counts, lambda m: m.retrainings, FINISHED),
    ),
    Declared(
        "tidegate_retraining_running", "gauge", ("model",),
        "1 while a retraining of the model runs.", partial(_model, lambda m: float(m.retraining_running)),
    ),
    Declared(
        "tidegate_retraining_progress_ratio", "gauge", ("model",),
        "Part of the running training that is done, as its trainer tells it; no series where it does not.",
        partial(_model, lambda m: m.training.progress if m.training else None),
    ),
    Declared(
        "tidegate_retraining_checkpoints", "gauge", ("model",),
        "Checkpoints of the running training so far, of which the newest hundred are kept.",
        partial(_model, lambda m: float(m.training.checkpoints) if m.training else None),
    ),
    Declared(
        "tidegate_retraining_checkpoint_loss", "gauge", ("model", "part"),
        "Loss of the running training's newest checkpoint on its training and validation rows, as its trainer tells "
        "it.", partial(_told, lambda training: training.losses),
    ),
    Declared(
        "tidegate_retraining_checkpoint_score", "gauge", ("model", "metric"),
        "Accuracy, macro F1, MAE or RMSE of the running training's newest checkpoint over all validation rows, as its "
        "trainer tells it.", partial(_told, lambda training: training.scores),
    ),
    Declared(
        "tidegate_retraining_duration_seconds", "histogram", ("model",),
        "Time from opening a retraining to its end.", partial(_model, lambda m: m.retraining_durations),
    ),
    Declared(
        "tidegate_retraining_budget_remaining", "gauge", ("model",),
        "Retrainings that the policy's budget still allows now.",
        partial(_model, lambda m: m.budget_remaining),
    ),
    Declared(
        "tidegate_gate_verdicts_total", "counter", ("model", "verdict"),
        "Verdicts of the gate on challengers.", partial(_counts, lambda m: m.verdicts, VERDICTS),
    ),
    Declared(
        "tidegate_releases_total", "counter", ("model",),
        "Times the champion pointer moved to a new version.", partial(_model, lambda m: m.releases),
    ),
    Declared(
        "tidegate_rollbacks_total", "counter", ("model",),
        "Times the champion pointer moved back.", partial(_model, lambda m: m.rollbacks),
    ),
    Declared(
        "tidegate_post_release_regressions_total", "counter", ("model",),
        "Releases that were found worse than what they replaced while watched.",
        partial(_model, lambda m: m.post_release_regressions),
    ),
    Declared(
        "tidegate_regressions_mean_time_seconds", "gauge", ("model",),
        "Time since the first release for each release that was found worse; no series where none was.",
        partial(_model, lambda m: m.between_regressions_seconds),
    ),
    Declared(
        "tidegate_release_condition_cleared", "gauge", ("model",),
        "1 where what triggered the champion's retraining has cleared since its release, 0 where it has not; no series "
        "where too few labels tell.",
        partial(_model, _cleared),
    ),
    Declared(
        "tidegate_trial_share_ratio", "gauge", _TRIAL,
        "Share of the traffic that the challenger on trial is to get, 0 in the shadow; no series without a trial.",
        partial(_trials, lambda t: t.share),
    ),
    Declared(
        "tidegate_trial_rows", "gauge", _TRIAL,
        "Rows of the challenger on trial so far.", partial(_trials, lambda t: float(t.rows)),
    ),
    Declared(
        "tidegate_trial_labels", "gauge", _TRIAL,
        "Labels of the challenger on trial so far.", partial(_trials, lambda t: float(t.labels)),
    ),
    Declared(
        "tidegate_model_info", "info", ("model", "version"),
        "The champion version of the model.", _versions,
    ),
    Declared(
        "tidegate_policy_last_reload_successful", "gauge", ("model",),
        "1 when the policy's files are taken as they are now, 0 while an older text of one of them holds.",
        partial(_model, lambda m: None if m.policy_reload_ok is None else float(m.policy_reload_ok)),
    ),
    Declared(
        "tidegate_signals", "gauge", ("model",),
        "Alerts of other systems about the model that are firing.", partial(_model, lambda m: float(m.signals)),
    ),
    Declared(
        "tidegate_notices_total", "counter", ("model", "kind", "end"),
        "Notices by what became of them, one for each receiver.", _notices,
    ),
    Declared(
        "tidegate_notices_waiting", "gauge", ("model",),
        "Notices that are still to be delivered, one for each receiver.",
        partial(_model, lambda m: float(m.notices_waiting)),
    ),
    Declared(
        "tidegate_silences", "gauge", ("model",),
        "Silences of the policy file and of people that count now.", partial(_model, lambda m: float(m.silences)),
    ),
    Declared(
        "tidegate_awaiting_approval", "gauge", ("model",),
        "1 while a retraining is in order and waits for a person's yes.",
        partial(_model, lambda m: float(m.awaiting_approval)),
    ),
    Declared(
        "tidegate_mlflow_in_step", "gauge", ("model",),
        "1 where MLflow says of a model what the ledger says, 0 while it is behind; no series without TIDEGATE_MLFLOW.",
        partial(_model, lambda m: None if m.mlflow_in_step is None else float(m.mlflow_in_step)),
    ),
    Declared(
        "tidegate_failures", "gauge", ("model", "state"),
        "Failure categories by their state, as people and counts have it.",
        partial(_counts, lambda m: m.failures, FAILURE_STATES),
    ),
    Declared(
        "tidegate_failure_share_ratio", "gauge", ("model", "category"),
        "Share of all errors that is in a failure category, of those that come first.", _failure_shares,
    ),
    Declared(
        "tidegate_evaluation_duration_seconds", "histogram", (),
        "Time that one evaluation of one model took in this process.",
        partial(_process, lambda s: s.evaluations),
    ),
    Declared(
        "tidegate_is_leader", "gauge", (),
        "1 in the process that evaluates and decides.", partial(_process, lambda s: float(s.is_leader)),
    ),
    Declared(
        "tidegate_store_up", "gauge", (),
        "1 when this process could read the store for this scrape.",
        partial(_process, lambda s: float(s.store_up)),
    ),
)  # fmt: skip
