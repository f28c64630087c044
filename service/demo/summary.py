"""Demo summary: what happened and why, in the words of the decisions, and where to look further."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from policies.file.policy import Policy
from service.demo import tables
from service.demo.account import Accuracy, Promise, Scene, asks, held_by, read_answers, retrainings
from service.demo.telling import Teller, say_hours, say_when
from service.evidence.reports import folder_of
from service.house import House
from service.ledger.records import Retraining


@dataclass(frozen=True)
class Places:
    """Where things are: the console's address (empty where it is not served), and the folder of all data."""

    url: str
    folder: Path
    is_kept: bool


def tell_end(
    teller: Teller,
    house: House,
    policy: Policy,
    scenes: Sequence[Scene],
    measured: Sequence[Accuracy],
    promises: Sequence[Promise],
    places: Places,
) -> None:
    """The end of the story: the states, the accuracy, what happened and why, the promises, the links."""
    ticks = [tick for scene in scenes for tick in scene.ticks]
    if ticks:
        teller.page.title("What is now")
        teller.tell_segments(ticks[-1].evaluation)
    watched = [tick.watch for tick in ticks if tick.watch and tick.watch.verdict]
    if watched:
        teller.tell_watch(watched[-1])
    teller.page.title("What happened, and why")
    done = retrainings(ticks)
    teller.page.say(f"- {_quiet_line(scenes)}", hang=2)
    for at, line in sorted([*_ask_lines(scenes), *_fault_lines(scenes), *map(_retraining_line, done)]):
        teller.page.say(f"- {say_when(at)}  {line}", hang=2)
    teller.page.say()
    teller.page.say("Accuracy by labels, where the model said each intent (slices of the broken feed left out):")
    teller.page.table(tables.accuracy_table(measured, policy.task.target))
    teller.page.table(tables.promises_table(promises))
    broken = [promise for promise in promises if not promise.is_kept]
    if broken:
        teller.page.say(f"The story did not keep {len(broken)} of its {len(promises)} promises.", "bold red")
    _tell_links(teller, house, policy, done, places)


_Line = tuple[datetime, str]


def _quiet_line(scenes: Sequence[Scene]) -> str:
    ticks = [tick for scene in scenes if not scene.is_changed for tick in scene.ticks]
    asked = sum(asks(tick.evaluation) != () for tick in ticks)
    return f"While nothing changed: {len(ticks)} evaluations, and {asked or 'none'} of them asked for a retraining."


def _ask_lines(scenes: Sequence[Scene]) -> list[_Line]:
    """When something asked for the first time, and what stood against it."""
    ticks = [tick for scene in scenes for tick in scene.ticks]
    first = next((tick for tick in ticks if asks(tick.evaluation)), None)
    if first is None:
        return []
    answer = read_answers(first.evaluation.reasons)[0][0]
    against = [c for c in answer.conditions if c["met"]]
    said = [c["text"] for c in answer.conditions if c["code"] == "size_below_threshold" or c in against]
    held = "".join(f", held by {c['code']}" for c in against)
    since = next((f", {say_hours(s.begins, first.at)} after the change" for s in scenes if s.is_changed), "")
    return [(first.at, f"{answer.trigger['code']} asked first{since}{held}: {'; '.join(said)}.")]


def _fault_lines(scenes: Sequence[Scene]) -> list[_Line]:
    said = []
    for scene in scenes:
        held = [tick for tick in scene.ticks if scene.is_broken and "data_fault" in held_by(tick.evaluation)]
        if held:
            reason = next(r for r in held[0].evaluation.reasons if r["code"] == "data_fault")
            text = (
                f"data_fault, {say_hours(scene.begins, held[0].at)} after the feed broke: {reason['text']}. It stood "
                f"in {len(held)} of {len(scene.ticks)} evaluations of that time; retrainings: "
                f"{len(retrainings(scene.ticks))}."
            )
            said.append((held[0].at, text))
    return said


def _retraining_line(retraining: Retraining) -> _Line:
    judged = [str(reason["text"]) for reason in retraining.verdict.get("reasons", ()) if reason["segment"] == "all"]
    gate = f" The gate: {judged[0]}." if judged else ""
    asked = f"{', '.join(retraining.reasons)} in {'; '.join(retraining.segments)}"
    rows = f"retrained on {retraining.labelled_rows:,} labelled rows"
    return retraining.opened_at, f"{asked}: {rows}.{gate} It was {retraining.state}: {retraining.note}."


def _tell_links(teller: Teller, house: House, policy: Policy, done: Sequence[Retraining], places: Places) -> None:
    teller.page.title("Where to look")
    teller.page.say(
        f"{len(house.ledger.decisions(policy.model, 10_000))} decisions are in the ledger, each with all reasons."
    )
    if places.url:
        teller.page.say(f"console        {places.url}/")
        teller.page.say(f"decisions      {places.url}/v1/models/{policy.model}/decisions")
        teller.page.say(f"metrics        {places.url}/metrics")
    for retraining in done:
        report = folder_of(places.folder, retraining.decision) / "report.html"
        if places.url:
            teller.page.say(f"the decision   {places.url}/v1/decisions/{retraining.decision}")
            teller.page.say(f"its evidence   {places.url}/v1/decisions/{retraining.decision}/evidence")
        teller.page.say(
            f"its report     {report}" if report.is_file() else f"no report was written; see {report.parent}"
        )
    if not places.is_kept:
        teller.page.say(f"All data are in {places.folder}, which is removed at the end; --data-dir FOLDER keeps them.")
