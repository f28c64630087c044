"""Demo telling: the story as it happens, for a person. Progress bars on a terminal, plain lines elsewhere."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from monitors.baseline.baselines import Baseline
from policies.file.policy import Policy
from service.demo import tables
from service.demo.account import (
    Accuracy,
    Answer,
    Reason,
    Scene,
    asks,
    held_by,
    read_answers,
    retrainings,
    would_retrain,
)
from service.demo.page import Page
from service.demo.play import Tick
from service.failures.records import Look
from service.ledger.records import DecisionRecord, Evaluation, Retraining, Watch
from service.training.checkpoints import Checkpoint
from service.training.train_files import Outcome

_FAILURES_TOLD = 3
_STYLES = {"hold": "dim", "watch": "yellow", "retrain": "bold green", "released": "bold green"}


class Teller:
    """Tells one story on one console; remembers what it said last, to say only what is new."""

    def __init__(self, console: Console, policy: Policy) -> None:
        self.page = Page(console)
        self._policy, self._target = policy, policy.task.target
        self._said: tuple[object, ...] = ()
        self._scenes = 0
        self._progress: Progress | None = None

    # the story

    def tell_beginning(self, policy_file: Path, folder: Path, *, is_kept: bool) -> None:
        """What is about to be seen."""
        self.page.title("Tidegate demo: the support assistant of AwesomeShoes")
        self.page.say(
            "The model reads what a customer writes and says what they want: fit, returns or shipping. The customers "
            "are invented; everything else is the code of production, on a clock that follows the story (UTC)."
        )
        self.page.say(f"policy  {policy_file}")
        self.page.say(f"data    {folder}" + ("" if is_kept else " (removed at the end)"))

    def open_scene(self, scene: Scene) -> None:
        """The heading of a chapter."""
        self._scenes += 1
        self.page.title(f"{self._scenes} {scene.chapter.phase}: {say_when(scene.begins)} to {say_when(scene.ends)}")
        self.page.say(scene.chapter.says, "italic")

    def tell_first(self, checkpoints: Sequence[Checkpoint], accuracy: Accuracy, baseline: Baseline) -> None:
        """The first model: its checkpoints, how good it is, and its baseline."""
        kept = [checkpoint for checkpoint in checkpoints if checkpoint.is_best][-1]
        chosen = kept.metrics["all"]["rows"]
        self.page.say(f"Training the first model. Accuracy of each checkpoint on the newest {chosen:,.0f} rows:")
        self.page.table(tables.checkpoints_table(checkpoints, (kept.candidate, kept.step), self._target))
        self.page.say("Then all rows teach. How good it is, each row predicted by a model that had not seen it:")
        self.page.table(tables.first_table(accuracy, self._target))
        self.page.say(
            f"Version {baseline.version} is the champion. Its baseline: {accuracy.rows['all']:,} rows in "
            f"{len(baseline.layout.segments)} segments, fingerprint {baseline.fingerprint[:12]}."
        )

    def follow(self, ticks: Iterable[Tick], rows: int) -> tuple[Tick, ...]:
        """Play a chapter to its end, telling every change of what is decided."""
        seen: list[Tick] = []
        with self.page.bar("rows served", rows) as progress:
            self._progress = progress
            for tick in ticks:
                seen.append(tick)
                served = sum(each.rows for each in seen)
                said = f"{say_when(tick.at)}  {served:,} of {rows:,} rows served"
                progress.update(progress.task_ids[0], completed=served, description=said)
                self._tell(tick, seen[-2] if len(seen) > 1 else None)
        self._progress = None
        return tuple(seen)

    def close_scene(self, scene: Scene) -> None:
        """What a chapter came to."""
        rows, labels = (sum(getattr(tick, name) for tick in scene.ticks) for name in ("rows", "labels"))
        actions = Counter(tick.evaluation.action for tick in scene.ticks)
        counted = ", ".join(f"{n} {action}" for action, n in actions.most_common())
        late = self._policy.window.label_delay.total_seconds() / 3600
        last, opened = scene.ticks[-1], len(retrainings(scene.ticks))
        self.page.say()
        self.page.say(
            f"{rows:,} rows served; {labels:,} labels came, at least {late:.0f} h after their predictions, and "
            f"{last.unlabelled:,} are on their way. {len(scene.ticks)} evaluations: {counted}. "
            f"Retrainings: {opened}."
        )
        if faults := sorted({name.partition(": ")[2] for tick in scene.ticks for name in tick.evaluation.faults}):
            self.page.say(f"Faults reported: {', '.join(faults)}.")
        if scene.is_broken and (would := [tick.at for tick in scene.ticks if would_retrain(tick.evaluation)]):
            said = f"From {say_when(would[0])} on, data_fault alone stood between the drift and a retraining on broken"
            self.page.say(f"{said} rows.", "bold")
        if scene.is_changed and not opened:
            self.tell_segments(last.evaluation)
        if not scene.is_changed and not opened:
            self._tell_why_nothing(last.evaluation)

    def tell_failures(self, look: Look | None) -> None:
        """What goes wrong most beyond chance, of the champion's newest labelled errors."""
        named = [each for each in look.categories if each.basis in {"evidence", "fact"}] if look else []
        if look and named:
            largest = sorted(named, key=lambda each: -each.errors)[:_FAILURES_TOLD]
            told = "; ".join(f"{each.name} ({each.share:.0%})" for each in largest)
            self.page.say(f"What version {look.version} gets wrong, of {look.errors:,} errors: {told}.")

    def _tell_why_nothing(self, evaluation: Evaluation) -> None:
        self.page.say(
            "Why nothing happened, by the reasons of the last evaluation, each trigger where it came nearest:"
        )
        nearest = {answer.trigger["code"]: answer for answer in reversed(read_answers(evaluation.reasons)[0])}
        for code, answer in reversed(nearest.items()):
            self.page.say(f"{code} did not ask", indent=4)
            for reason in answer.conditions:
                if reason["met"]:
                    self.page.say(f"{reason['code']}: {reason['text']}", "dim", indent=6)

    def tell_segments(self, evaluation: Evaluation) -> None:
        """The states of the segments, as read."""
        self.page.say(
            "The segments as last read, each in its strongest window (the drop is in points below the baseline):"
        )
        self.page.table(tables.segments_table(evaluation))

    # a retraining, from the decision to the watch

    def tell_opened(self, decision: DecisionRecord, retraining: Retraining) -> None:
        """A retraining begins: why, and on which rows."""
        self.page.say()
        self.page.say(f"{say_when(decision.at)}  RETRAIN: {', '.join(retraining.reasons)}", _STYLES["retrain"])
        strongest = next((answer for answer in read_answers(decision.reasons)[0] if answer.asks), None)
        for reason in _chosen(strongest) if strongest else ():
            self.page.say(str(reason["text"]), "dim", indent=4)
        if retraining.change_started:
            self.page.say(
                f"by the windows that ask, the change began about {say_when(retraining.change_started)}", indent=4
            )
        self.page.say(f"Decision {decision.id}, retraining {retraining.id}.", indent=4)
        self.page.say()
        excluded = retraining.manifest["excluded"]
        self.page.say(
            f"Curated from {retraining.manifest['rows']:,} labelled rows; {excluded['in_faulty_slice']:,} of slices "
            "with the broken feed are left out:"
        )
        self.page.table(tables.curated_table(retraining.manifest))

    def tell_checkpoint(self, checkpoint: Checkpoint) -> None:
        """A step of the training that runs, on the bar."""
        if self._progress is None:
            return
        if len(self._progress.task_ids) == 1:
            self._progress.add_task("", total=None)
        right = checkpoint.metrics.get("all", {}).get("accuracy", 0.0)
        says = f"training on {checkpoint.candidate}, step {checkpoint.step}: {right:.1%} right"
        self._progress.update(self._progress.task_ids[-1], description=says)

    def tell_trained(self, checkpoints: Sequence[Checkpoint], outcome: Outcome) -> None:
        """Every checkpoint of every candidate, and the one that was kept."""
        if self._progress is not None and len(self._progress.task_ids) > 1:
            self._progress.remove_task(self._progress.task_ids[-1])
        self.page.say(
            "Checkpoints, with their accuracy per intent on the validation rows. Of each candidate the step with the "
            "lowest loss counts, and of those the most accurate is kept:"
        )
        kept = (outcome.candidate, outcome.checkpoint.step)
        self.page.table(tables.checkpoints_table(checkpoints, kept, self._target))
        self.page.say(f"Taught again together with the validation rows: {outcome.training_rows:,} rows.")

    def _tell_end_of(self, done: Retraining, at: datetime) -> None:
        if done.verdict:
            self.page.say(
                "The gate: champion against challenger on rows that neither has learnt from (the gain is in points):"
            )
            self.page.table(tables.gate_table(done))
            answers = Counter(s["answer"] for s in done.verdict["segments"] if "," in s["name"])
            smaller = ", ".join(f"{n} {answer}" for answer, n in answers.items())
            self.page.say(f"Of the smaller segments: {smaller}. Too few labels refuse nothing; the watch looks on.")
        self.page.say(f"{say_when(at)}  {done.state.upper()}: {done.note}", _STYLES.get(done.state, "bold red"))

    def tell_watch(self, watch: Watch) -> None:
        """What the watch saw last."""
        self.page.say(
            f"The watch, on {watch.judged:,} rows labelled since the release, each by the intent that version "
            f"{watch.version} said: how often it is right, and version {watch.previous} would be."
        )
        self.page.table(tables.watch_table(watch, self._target))

    # what is new at each evaluation

    def _tell(self, tick: Tick, before: Tick | None) -> None:
        turn = tick.turn
        if turn.retraining:
            self._tell_end_of(turn.retraining, tick.at)
            if tick.watch:
                self.page.say(f"watched until {say_when(tick.watch.until)}", indent=4)
            self.page.say()
            self._said = ()
            return
        if turn.rollback:
            self.page.say(
                f"{say_when(tick.at)}  ROLLED BACK to {turn.rollback.version}: {turn.rollback.reason}", "bold red"
            )
        elif before and before.watch and tick.watch is None:
            self.page.say(f"{say_when(tick.at)}  the watch is over: version {before.watch.version} stays", "bold green")
        self._tell_decision(tick.at, tick.evaluation)

    def _tell_decision(self, at: datetime, evaluation: Evaluation) -> None:
        answers, holds = read_answers(evaluation.reasons)
        asked = asks(evaluation)
        nearest = answers[0] if answers and evaluation.action != "hold" else None
        lacks = ["insufficient_labels"] if asked and nearest and not nearest.is_ready else []
        against = (*lacks, *held_by(evaluation))
        if (evaluation.action, asked, against) == self._said or not evaluation.action:
            return
        self._said = (evaluation.action, asked, against)
        what = f"asked for by {', '.join(asked)}" if asked else "something comes near" if nearest else "nothing asks"
        held = f"{'; held by' if asked else ';'} {', '.join(against)}" if against else ""
        self.page.say(f"{say_when(at)}  {evaluation.action}: {what}{held}", _STYLES[evaluation.action])
        for reason in _chosen(nearest) if nearest else ():
            self.page.say(str(reason["text"]), "dim", indent=4)
        for hold in holds if asked else ():
            if hold["met"]:
                self.page.say(f"{hold['code']}: {hold['text']}", indent=4)


def _chosen(answer: Answer) -> list[Reason]:
    """Size and evidence; then the labels where the trigger asks, or how lasting it is where it does not yet."""
    left_out = "not_persistent" if answer.asks else "insufficient_labels"
    return [reason for reason in answer.conditions if reason["code"] not in (left_out, "insufficient_rows")]


def say_when(moment: datetime) -> str:
    """A moment of the story, in UTC."""
    return f"{moment:%a %d %b %H:%M}"


def say_hours(begins: datetime, ends: datetime) -> str:
    """A span of the story."""
    return f"{(ends - begins).total_seconds() / 3600:.1f} h"
