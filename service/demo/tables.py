"""Demo tables: what the demo shows as rows and columns. Plain text where there is no terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.table import Table

from service.demo.account import Accuracy, Promise
from service.demo.traffic import INTENTS
from service.ledger.records import Evaluation, Retraining, Watch
from service.training.checkpoints import Checkpoint

_SHOWN = ("all", *INTENTS)


def checkpoints_table(checkpoints: Iterable[Checkpoint], kept: tuple[str, int], target: str) -> Table:
    """Each step with its accuracy per intent on the validation rows; `kept` is (candidate, step)."""
    noted = list(checkpoints)
    names = ["all", *(f"{target}={intent}" for intent in INTENTS)]
    names = [name for name in names if any(name in c.metrics for c in noted)]
    table = _table("rows", "step", "loss", *(name.removeprefix(f"{target}=") for name in names), "")
    for c in noted:
        shown = [_percent(c.metrics[name]["accuracy"] if name in c.metrics else None) for name in names]
        is_kept = (c.candidate, c.step) == kept
        loss = "-" if c.validation_loss is None else f"{c.validation_loss:.3f}"
        said = "kept" if is_kept else ""
        table.add_row(c.candidate or "history", str(c.step), loss, *shown, said, style="bold" if is_kept else "")
    return table


def first_table(accuracy: Accuracy, target: str) -> Table:
    """How good the first model is, per intent that it says."""
    table = _table("segment", "rows", "accuracy")
    for name in _SHOWN:
        table.add_row(_segment(name, target), f"{accuracy.rows[name]:,}", _percent(accuracy.right.get(name)))
    return table


def segments_table(evaluation: Evaluation) -> Table:
    """The segments of one column: state, accuracy by labels, and the column with the strongest evidence of drift."""
    table = _table("segment", "state", "accuracy", "drop", "strongest drift", right=3)
    for read in evaluation.segments:
        if "," in read["segment"] or read["state"] == "blind":
            continue
        seen, columns = read["performance"], [c for c in read["columns"] if c["size"] is not None]
        drift = f"{columns[0]['column']} {columns[0]['size']:.2f}" if columns else "-"
        numbers = _percent(seen["value"]), _points(seen["drop"], sign="")
        table.add_row(read["segment"], read["state"], *numbers, drift)
    return table


def curated_table(manifest: Mapping[str, Any]) -> Table:
    """The parts of the labelled rows, and what each is for."""
    says = {"validation": "chooses the checkpoint", "holdout": "judges at the gate"}
    table = _table("part", "rows", "from", "until", "what for", right=1)
    for name, part in manifest["parts"].items():
        begins, ends = (datetime.fromisoformat(part[end]) for end in ("from", "until"))
        use = says.get(name, "may train")
        table.add_row(name, f"{part['rows']:,}", f"{begins:%d %b %H:%M}", f"{ends:%d %b %H:%M}", use)
    return table


def gate_table(retraining: Retraining) -> Table:
    """Champion against challenger on the same unseen rows, for the segments of one column."""
    names = f"champion {retraining.champion}", f"challenger {retraining.version}"
    table = _table("segment", "rows", *names, "gain", "answer", right=4)
    for found in retraining.verdict["segments"]:
        if "," not in found["name"]:
            shown = _percent(found["champion"]), _percent(found["challenger"]), _points(found["gain"])
            table.add_row(found["name"], str(found["n"]), *shown, found["answer"])
    return table


def watch_table(watch: Watch, target: str) -> Table:
    """The release against what the version before would have said on the same rows."""
    table = _table("segment", "rows", f"version {watch.previous}", f"version {watch.version}", "answer", right=3)
    names = {_segment(name, target) for name in _SHOWN}
    for found in watch.verdict["segments"]:
        if found["name"] in names:
            shown = _percent(found["champion"]), _percent(found["challenger"])
            table.add_row(found["name"], f"{found['n']:,}", *shown, found["answer"])
    return table


def accuracy_table(measured: Sequence[Accuracy], target: str) -> Table:
    """Accuracy per intent, by version and time."""
    table = _table("segment", *(f"version {m.version} {m.says}" for m in measured))
    for name in _SHOWN:
        shown = [f"{_percent(m.right.get(name))} of {m.rows[name]:,}" for m in measured]
        table.add_row(_segment(name, target), *shown, style="bold" if name == "returns" else "")
    return table


def promises_table(promises: Iterable[Promise]) -> Table:
    """What the story promised, and whether it was so."""
    table = _table("kept", "promise", right=0)
    for promise in promises:
        table.add_row("yes" if promise.is_kept else "NO", promise.says, style="" if promise.is_kept else "bold red")
    return table


def _table(*names: str, right: int | None = None) -> Table:
    """`right`: how many columns after the first hold numbers; all, where not said."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    numbers = len(names) if right is None else right
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if 0 < place <= numbers else "left", overflow="fold")
    return table


def _segment(name: str, target: str) -> str:
    return name if name == "all" else f"{target}={name}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _points(value: float | None, sign: str = "+") -> str:
    return "-" if value is None else f"{100 * value:{sign}.1f}"
