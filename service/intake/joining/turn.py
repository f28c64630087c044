"""What one step of the label join changes: labels to count, labels to take back, and the ends they came to."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pyarrow as pa

from monitors.baseline.baselines import Baseline
from monitors.counting.labelled import fold_labelled
from service.errors import StoreError
from service.intake import columns
from service.intake.folding.open_profiles import OpenProfiles
from service.intake.joining.ends import DUPLICATE, Counted, Label, LabelValue, Outcome, judge, last_outcome
from service.intake.joining.outcomes import OTHER, Outcomes, said
from service.intake.joining.recent import Seen, rows_with
from service.intake.log.entries import id_number

_log = logging.getLogger(__name__)

OutcomeField = Callable[[str], str]
"""Of a model: the field of its outcomes that is counted, "" where there is none."""

_Group = tuple[str, str]
_Pairs = list[tuple[Seen, LabelValue | None]]


class _Changes:
    """What is added to the counts of each (model, version), and what is taken back."""

    def __init__(self) -> None:
        self._signed: dict[float, dict[_Group, _Pairs]] = {-1.0: defaultdict(list), 1.0: defaultdict(list)}

    def note(self, sign: float, group: _Group, seen: Seen, value: LabelValue | None) -> None:
        self._signed[sign][group].append((seen, value))

    def tables(self, name: str) -> Iterator[tuple[float, _Group, pa.Table]]:
        """The rows with their values as a column of this name."""
        for sign, groups in self._signed.items():
            for group, pairs in groups.items():
                for table in columns.group_by_schema(rows_with(name, pairs)):
                    # Rows of many small batches: each of their chunks would cost as much as a large one.
                    yield sign, group, table.combine_chunks()


class LabelTurn:
    """Collects; nothing is counted before `fold`.

    `measured` of the join (baseline -> log positions where it began to count under it) is read and added to, what was
    added is in the turn's own `measured`; `positions` are those before the step.
    """

    def __init__(
        self,
        baseline_of: Callable[[str, str], Baseline | None],
        outcome_field: OutcomeField,
        outcomes: Outcomes,
        measured: dict[str, list[str]],
        positions: Sequence[str],
    ) -> None:
        self.ends: Counter[tuple[str, str]] = Counter()
        """By model and end."""
        self.uncountable: Counter[str] = Counter()
        """By model: labels and outcomes that have met their prediction, and which nothing can count."""
        self.measured: dict[str, list[str]] = {}
        self._baseline_of = baseline_of
        self._outcome_field = outcome_field
        self._outcomes = outcomes
        self._all_measured = measured
        self._positions = list(positions)
        self._labels, self._said = _Changes(), _Changes()
        # Asked once a step: all of a step is counted under one baseline and one field.
        self._baselines: dict[_Group, Baseline | None] = {}
        self._fields: dict[str, str] = {}
        self._noted: set[_Group] = set()

    def end(self, label: Label, end: str) -> None:
        """Note the end of a label."""
        self.ends[label.model, end] += 1

    def meet(self, label: Label, seen: Seen) -> None:
        """A label and its prediction have met."""
        before, group = seen.label, (label.model, seen.batch.version(seen.row))
        baseline = self._baseline(group)
        end = judge(label, before)
        self.end(label, end)
        value, order = label.value, label.order
        if before is not None and end == DUPLICATE:
            value, order = before.value, max(label.order, before.order)
        outcome, outcome_under = (before.outcome, before.outcome_under) if before else (None, None)
        if label.outcome is not None:
            outcome, outcome_under = self._meet_outcome(label.outcome, seen, group, baseline)
        fingerprint = baseline.fingerprint if baseline else None
        seen.label = Counted(value, order, fingerprint, outcome, outcome_under)
        if baseline is None:
            return
        # A label from before the baseline is counted with the next one that says anything of it.
        is_counted = before is not None and before.fingerprint == fingerprint
        if is_counted and end == DUPLICATE:
            return
        if before is not None and is_counted:
            self._labels.note(-1.0, group, seen, before.value)
        self._labels.note(1.0, group, seen, value)
        if group not in self._noted:
            self._noted.add(group)
            self._note_measured(baseline)

    def recall(self, seen: Seen, labels: Sequence[Label]) -> None:
        """The labels that met a prediction before this turn: what they came to, and under what it is counted."""
        last = max(labels, key=lambda label: label.order)
        outcome = last_outcome([label.outcome for label in labels])
        baseline = self._baseline((last.model, seen.batch.version(seen.row)))
        fingerprint = outcome_under = None
        if baseline is not None:
            predicted = seen.batch.place(seen.row)
            places = [predicted, *((label.partition, label.log_id) for label in labels)]
            if _is_after(self._all_measured.get(_name(baseline)), places):
                fingerprint = baseline.fingerprint
            field = self._field(last.model)
            places = [predicted, *((label.partition, label.log_id) for label in labels if label.outcome)]
            if _is_after(self._outcomes.since(baseline, field), places):
                outcome_under = self._outcomes.begin(baseline, field, self._positions)
        seen.label = Counted(last.value, last.order, fingerprint, outcome, outcome_under)

    def fold(self, profiles: OpenProfiles) -> None:
        """Count everything into the slices of the predictions."""
        for sign, group, table in self._labels.tables("label"):
            if baseline := self._baselines[group]:
                self._count(group, table, partial(_count_labels, profiles, baseline, sign))
        for sign, group, table in self._said.tables("outcome"):
            if baseline := self._baselines[group]:
                self._count(group, table, partial(self._outcomes.add, baseline, sign=sign))

    def _count(self, group: _Group, table: pa.Table, count: Callable[[pa.Table], None]) -> None:
        """Count rows; where that fails, those that can be counted: one row must not end the join."""
        try:
            count(table)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001  whatever a row does to the count, it is told, and must not stop the join
            if table.num_rows == 1:
                identity = table.column("prediction_id")[0].as_py()
                _log.exception("%s: what came for prediction %s cannot be counted", group[0], identity)
                self.uncountable[group[0]] += 1
                return
            half = table.num_rows // 2
            self._count(group, table.slice(0, half), count)
            self._count(group, table.slice(half), count)

    def _meet_outcome(
        self, outcome: Outcome, seen: Seen, group: _Group, baseline: Baseline | None
    ) -> tuple[Outcome | None, str | None]:
        """The prediction's outcome now, and under what it is counted."""
        before, before_under = (seen.label.outcome, seen.label.outcome_under) if seen.label else (None, None)
        last = last_outcome((before, outcome))
        if baseline is None:
            return last, None
        field = self._field(group[0])
        under = self._outcomes.begin(baseline, field, self._positions)
        if before_under != under:
            self._say(1.0, group, seen, last, field)
        elif last is not before:
            self._say(-1.0, group, seen, before, field)
            self._say(1.0, group, seen, last, field)
        return last, under

    def _say(self, sign: float, group: _Group, seen: Seen, outcome: Outcome | None, field: str) -> None:
        value = said(outcome.text, field) if outcome and field else None
        if value is not None:
            self._said.note(sign, group, seen, None if value == OTHER else value)

    def _baseline(self, group: _Group) -> Baseline | None:
        if group not in self._baselines:
            self._baselines[group] = self._baseline_of(*group)
        return self._baselines[group]

    def _field(self, model: str) -> str:
        if model not in self._fields:
            self._fields[model] = self._outcome_field(model)
        return self._fields[model]

    def _note_measured(self, baseline: Baseline) -> None:
        name = _name(baseline)
        if name not in self._all_measured:
            self._all_measured[name] = self.measured[name] = self._positions


def _count_labels(profiles: OpenProfiles, baseline: Baseline, sign: float, table: pa.Table) -> None:
    counts = fold_labelled(baseline.layout, table, baseline.slice_seconds)
    profiles.add(baseline, {start: sign * vectors for start, vectors in counts.items()})


def _name(baseline: Baseline) -> str:
    return f"{baseline.model}:{baseline.version}:{baseline.fingerprint}"


def _is_after(since: Sequence[str] | None, places: Sequence[tuple[int, int]]) -> bool:
    """Whether something that stands at one of these places (partition, log id) was counted since."""
    return since is not None and any(place > id_number(since[partition]) for partition, place in places)
