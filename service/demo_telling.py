"""Demo telling: the story as it happens, for a person. Progress bars on a terminal, plain lines elsewhere."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from monitors.baselines import Baseline
from policies.policy import Policy
from service import demo_tables
from service.checkpoints import Checkpoint
from service.demo_account import Accuracy, Reason, Scene, held_by, read_answers, retrainings, would_retrain
from service.demo_play import Tick
from service.records import DecisionRecord, Evaluation, Retraining, Watch
from service.train_files import Outcome

_ACTIONS = {"hold": "dim", "watch": "yellow", "retrain": "bold green"}


class Teller:
    """Tells one story on one console; remembers what it said last, to say only what is new."""

    def __init__(self, console: Console, policy: Policy) -> None:
        self._console, self._policy = console, policy
        self._said: tuple[object, ...] = ()
        self._scenes = 0
        self._progress: Progress | None = None

    def say(self, text: RenderableType = "", style: str = "", indent: int = 2) -> None:
        """One paragraph; nothing in it is markup."""
        shown = Text(text, style) if isinstance(text, str) else text
        self._console.print(Padding(shown, (0, 0, 0, indent)), highlight=False)

    def title(self, text: str) -> None:
        self._console.print()
        self._console.rule(Text(text, "bold"), align="left", characters="-")

    def table(self, table: Table) -> None:
        self._console.print(Padding(table, (0, 0, 0, 2)), highlight=False)
        self._console.print()

    def tell_beginning(self, policy_file: Path, folder: Path, *, is_kept: bool) -> None:
        """What is about to be seen."""
        self.title("Tidegate demo: the support assistant of AwesomeShoes")
        self.say(
            "The model reads what a customer writes and says what they want: fit, returns or shipping. The customers "
            "are invented; everything else is the code of production, on a clock that follows the story (UTC)."
        )
        self.say(f"policy  {policy_file}")
        self.say(f"data    {folder}" + ("" if is_kept else " (removed at the end)"))

    def open_scene(self, scene: Scene) -> None:
        self._scenes += 1
        self.title(f"{self._scenes} {scene.chapter.phase}: {say_when(scene.begins)} to {say_when(scene.ends)}")
        self.say(scene.chapter.says)

    @contextmanager
    def bar(self, says: str, total: int | None) -> Iterator[Progress]:
        """A progress bar while something runs; nothing without a terminal."""
        columns = TextColumn("  {task.description:<44}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn()
        off = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=off) as progress:
            progress.add_task(says, total=total)
            self._progress = progress
            yield progress
        self._progress = None

    def follow(self, ticks: Iterable[Tick], rows: int) -> tuple[Tick, ...]:
        """Play a chapter to its end, telling every change of what is decided."""
        seen: list[Tick] = []
        with self.bar("rows served", rows) as progress:
            for tick in ticks:
                seen.append(tick)
                progress.update(progress.task_ids[0], advance=tick.rows, description=say_when(tick.at))
                self._tell(tick, seen[-2] if len(seen) > 1 else None)
        return tuple(seen)

    def close_scene(self, scene: Scene) -> None:
        """What a chapter came to."""
        rows, labels = (sum(getattr(tick, name) for tick in scene.ticks) for name in ("rows", "labels"))
        actions = Counter(tick.evaluation.action or "hold" for tick in scene.ticks)
        counted = ", ".join(f"{n} {action}" for action, n in actions.most_common())
        late = self._policy.window.label_delay.total_seconds() / 3600
        self.say()
        self.say(
            f"{rows:,} rows served; {labels:,} labels came, each {late:.0f} h after its prediction, and "
            f"{scene.ticks[-1].unlabelled:,} are on their way. {len(scene.ticks)} evaluations: {counted}. "
            f"{len(retrainings(scene.ticks)) or 'No'} retraining."
        )
        if scene.is_broken and (would := [tick.at for tick in scene.ticks if would_retrain(tick.evaluation)]):
            self.say(
                f"From {say_when(would[0])} on only data_fault stood between the drift and a retraining on broken rows.",
                "bold",
            )

    def tell_first(self, checkpoints: Sequence[Checkpoint], accuracy: Accuracy, baseline: Baseline) -> None:
        """The first model: its checkpoints, how good it is, and its baseline."""
        target = self._policy.task.target
        kept = [checkpoint for checkpoint in checkpoints if checkpoint.is_best][-1]
        self.say(f"Training the first model; {kept.metrics['all']['rows']:,} of the rows choose the checkpoint.")
        self.table(demo_tables.checkpoints_table(checkpoints, (kept.candidate, kept.step), target))
        self.say("Then all rows teach. Each row below was predicted by a model that had not seen it:")
        self.table(demo_tables.first_table(accuracy, target))
        self.say(
            f"Version {baseline.version} is the champion. Its baseline: {accuracy.rows['all']:,} rows in "
            f"{len(baseline.layout.segments)} segments, fingerprint {baseline.fingerprint[:12]}."
        )

    def tell_why_nothing(self, evaluation: Evaluation) -> None:
        """Why no retraining was asked for, by the last evaluation's reasons."""
        self.say("Why nothing happened, in the reasons of the last evaluation, each trigger where it came nearest:")
        self.table(demo_tables.answers_table(evaluation))

    def tell_segments(self, evaluation: Evaluation) -> None:
        """The states of the segments, as read."""
        self.say("The segments as last read (accuracy in the window with the strongest evidence):")
        self.table(demo_tables.segments_table(evaluation))

    def tell_opened(self, decision: DecisionRecord, retraining: Retraining) -> None:
        """A retraining begins: why, and on which rows."""
        self.say()
        self.say(f"{say_when(decision.at)}  RETRAIN: {', '.join(retraining.reasons)}", "bold green")
        for reason in _leading(decision.reasons):
            self.say(reason, indent=4)
        if retraining.change_started:
            self.say(f"the change began about {say_when(retraining.change_started)}, by the windows that ask", indent=4)
        self.say(f"Retraining {retraining.id} is in the ledger. Its rows, of {retraining.manifest['rows']:,} labelled:")
        self.table(demo_tables.curated_table(retraining.manifest))
        left = retraining.manifest["excluded"]["in_faulty_slice"]
        self.say(f"Left out: {left:,} labelled rows of slices in which the feed was broken.")

    def tell_checkpoint(self, checkpoint: Checkpoint) -> None:
        """A step of the training that runs, on the bar."""
        if self._progress is None:
            return
        if len(self._progress.task_ids) == 1:
            self._progress.add_task("training", total=None)
        right = checkpoint.metrics.get("all", {}).get("accuracy", 0.0)
        says = f"training on {checkpoint.candidate}, step {checkpoint.step}: {right:.1%} right"
        self._progress.update(self._progress.task_ids[1], advance=1, description=says)

    def tell_trained(self, retraining: Retraining, outcome: Outcome) -> None:
        """The checkpoints, the gate and what came of it."""
        noted = [Checkpoint(**each) for each in retraining.checkpoints]
        self.say("Checkpoints of each candidate, scored on the validation rows, per intent:")
        kept = (outcome.candidate, outcome.checkpoint.step)
        self.table(demo_tables.checkpoints_table(noted, kept, self._policy.task.target))
        self.say(f"Taught again with the validation rows, {outcome.training_rows:,} in all. The gate, on unseen rows:")
        self.table(demo_tables.gate_table(retraining))
        answers = Counter(s["answer"] for s in retraining.verdict["segments"] if "," in s["name"])
        smaller = ", ".join(f"{n} {answer}" for answer, n in answers.items())
        self.say(f"Of the smaller segments: {smaller}. Too few labels to tell do not refuse; the watch goes on there.")

    def tell_watch(self, watch: Watch) -> None:
        """What the watch saw last."""
        if watch.verdict:
            self.say(f"The watch: both versions on the {watch.judged:,} rows labelled since the release.")
            self.table(demo_tables.watch_table(watch, self._policy.task.target))

    def _tell(self, tick: Tick, before: Tick | None) -> None:
        turn = tick.turn
        if turn.retraining:
            done = turn.retraining
            says = f"{say_when(tick.at)}  {done.state.upper()}: {done.note}"
            self.say(says, "bold green" if done.state == "released" else "bold red")
            self._said = ()
            return
        if turn.rollback:
            self.say(f"{say_when(tick.at)}  ROLLED BACK to {turn.rollback.version}: {turn.rollback.reason}", "bold red")
        if before and before.watch and tick.watch is None and not turn.rollback:
            self.say(f"{say_when(tick.at)}  watch over: version {before.watch.version} stays", "bold green")
        self._tell_decision(tick.at, tick.evaluation)

    def _tell_decision(self, at: datetime, evaluation: Evaluation) -> None:
        answers, holds = read_answers(evaluation.reasons)
        asks = tuple(dict.fromkeys(answer.trigger["code"] for answer in answers if answer.asks))
        held = held_by(evaluation)
        near = next((answer for answer in answers if answer.is_near), None)
        short = near is not None and near.asks and not near.is_ready
        said = (evaluation.action, frozenset(asks), held, short, evaluation.fault_open)
        if said == self._said or not evaluation.action:
            return
        self._said = said
        what = f"{', '.join(asks)} asks" if asks else "something comes near" if near else "nothing asks"
        against = [*(["insufficient_labels"] if short else []), *held]
        but = f", but: {', '.join(against)}" if against else ""
        self.say(f"{say_when(at)}  {evaluation.action}: {what}{but}", _ACTIONS[evaluation.action])
        if near is not None:
            size, evidence, lasting, labels = near.conditions[:4]
            shown = [size, evidence] if near.asks else [size, evidence, lasting]
            for reason in [*shown, *([labels] if short else [])]:
                self.say(str(reason["text"]), "dim", indent=4)
        for hold in holds:
            if hold["met"]:
                self.say(f"{hold['code']}: {hold['text']}", indent=4)


def _leading(reasons: Iterable[Reason]) -> list[str]:
    """What the strongest answer that asks was made from."""
    strongest = next((answer for answer in read_answers(reasons)[0] if answer.asks), None)
    return [str(reason["text"]) for reason in strongest.conditions] if strongest else []


def say_when(moment: datetime) -> str:
    """A moment of the story, in UTC."""
    return f"{moment:%a %d %b %H:%M}"
