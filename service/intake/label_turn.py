"""What one step of the label join changes: labels to count, labels to take back, and the ends they came to."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from monitors.baseline.baselines import Baseline
from monitors.counting.labelled import fold_labelled
from service.intake import columns
from service.intake.entries import id_number
from service.intake.label_ends import CORRECTED, DUPLICATE, Label, LabelValue, judge
from service.intake.open_profiles import OpenProfiles
from service.intake.recent import Counted, Seen, with_labels

_Pairs = dict[tuple[str, str], list[tuple[Seen, LabelValue]]]


class LabelTurn:
    """Collects; nothing is counted before `fold`.

    `measured` of the join (baseline -> log positions where it began to count under it) is read and added to, what was
    added is in the turn's own `measured`; `positions` are those before the step.
    """

    def __init__(
        self,
        baseline_of: Callable[[str, str], Baseline | None],
        measured: dict[str, list[str]],
        positions: Sequence[str],
    ) -> None:
        self.ends: Counter[str] = Counter()
        self.measured: dict[str, list[str]] = {}
        self._baseline_of = baseline_of
        self._all_measured = measured
        self._positions = list(positions)
        self._add: _Pairs = defaultdict(list)
        self._remove: _Pairs = defaultdict(list)
        self._baselines: dict[tuple[str, str], Baseline | None] = {}

    def end(self, label: Label, end: str) -> None:
        """Note the end of a label."""
        self.ends[f"labels:{label.model}:{end}"] += 1

    def meet(self, label: Label, seen: Seen) -> None:
        """A label and its prediction have met."""
        before = seen.label
        end = judge(label, before.value, before.order) if before else judge(label, None, None)
        self.end(label, end)
        if before is not None and end == DUPLICATE:
            seen.label = Counted(before.value, max(label.order, before.order), before.fingerprint)
            return
        baseline = self._baseline(label.model, seen)
        if baseline is None:
            seen.label = Counted(label.value, label.order, None)
            return
        group = (label.model, baseline.version)
        if before is not None and end == CORRECTED and before.fingerprint == baseline.fingerprint:
            self._remove[group].append((seen, before.value))
        self._add[group].append((seen, label.value))
        self._note_measured(baseline)
        seen.label = Counted(label.value, label.order, baseline.fingerprint)

    def counted_under(self, label: Label, seen: Seen) -> str | None:
        """The fingerprint under which an earlier label was counted, None where it was before the baseline."""
        baseline = self._baseline(label.model, seen)
        since = self._all_measured.get(_name(baseline)) if baseline else None
        if baseline is None or since is None:
            return None
        places = ((label.partition, label.log_id), (_cell(seen, "log_partition"), _cell(seen, "log_id")))
        is_counted = any(place > id_number(since[partition]) for partition, place in places)
        return baseline.fingerprint if is_counted else None

    def fold(self, profiles: OpenProfiles) -> None:
        """Count everything into the slices of the predictions."""
        for sign, groups in ((-1.0, self._remove), (1.0, self._add)):
            for group, pairs in groups.items():
                baseline = self._baselines[group]
                if baseline is None:
                    continue
                for table in columns.group_by_schema(with_labels(pairs)):
                    counts = fold_labelled(baseline.layout, table, baseline.slice_seconds)
                    profiles.add(baseline, {start: sign * vectors for start, vectors in counts.items()})

    def _baseline(self, model: str, seen: Seen) -> Baseline | None:
        # Asked once a step: all of a step is counted under one baseline.
        name = (model, _cell(seen, "model_version"))
        if name not in self._baselines:
            self._baselines[name] = self._baseline_of(*name)
        return self._baselines[name]

    def _note_measured(self, baseline: Baseline) -> None:
        name = _name(baseline)
        if name not in self._all_measured:
            self._all_measured[name] = self.measured[name] = self._positions


def _name(baseline: Baseline) -> str:
    return f"{baseline.model}:{baseline.version}:{baseline.fingerprint}"


def _cell(seen: Seen, column: str) -> Any:  # noqa: ANN401  a text or a whole number, by column
    return seen.table.column(column)[seen.row].as_py()
