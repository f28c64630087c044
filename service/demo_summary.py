"""Demo summary: what happened and why, in the words of the decisions, and where to look further."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from policies.policy import Policy
from service import demo_tables
from service.demo_account import Accuracy, Promise, Scene, held_by, retrainings
from service.demo_telling import Teller, say_when
from service.evidence import folder_of
from service.house import House
from service.records import Retraining


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
        teller.title("What is now")
        teller.tell_segments(ticks[-1].evaluation)
    watched = [tick.watch for tick in ticks if tick.watch and tick.watch.verdict]
    if watched:
        teller.tell_watch(watched[-1])
    teller.title("What happened, and why")
    for line in _tell_faults(scenes):
        teller.say(line)
    done = retrainings(ticks)
    for retraining in done:
        teller.say(_tell_retraining(retraining))
    if not done:
        teller.say("No retraining: no decision asked for one.")
    teller.say()
    teller.say("Accuracy by labels, where the model said each intent (slices of the broken feed left out):")
    teller.table(demo_tables.accuracy_table(measured, policy.task.target))
    teller.table(demo_tables.promises_table(promises))
    broken = [promise for promise in promises if not promise.is_kept]
    if broken:
        teller.say(f"The story did not keep {len(broken)} of its {len(promises)} promises.", "bold red")
    _tell_links(teller, house, policy, done, places)


def _tell_faults(scenes: Sequence[Scene]) -> list[str]:
    said = []
    for scene in scenes:
        held = [tick for tick in scene.ticks if scene.is_broken and "data_fault" in held_by(tick.evaluation)]
        if held:
            reason = next(r for r in held[0].evaluation.reasons if r["code"] == "data_fault")
            after = (held[0].at - scene.begins).total_seconds() / 3600
            said.append(
                f"{say_when(held[0].at)}  data_fault, {after:.1f} h after the feed broke: {reason['text']}. "
                f"It held {len(held)} of {len(scene.ticks)} evaluations; {len(retrainings(scene.ticks))} retrainings."
            )
    return said


def _tell_retraining(retraining: Retraining) -> str:
    return (
        f"{say_when(retraining.opened_at)}  {', '.join(retraining.reasons)} in {', '.join(retraining.segments)}: "
        f"retrained on {retraining.labelled_rows:,} labelled rows, {retraining.state}: {retraining.note}."
    )


def _tell_links(teller: Teller, house: House, policy: Policy, done: Sequence[Retraining], places: Places) -> None:
    teller.title("Where to look")
    teller.say(
        f"{len(house.ledger.decisions(policy.model, 10_000))} decisions are in the ledger, each with all reasons."
    )
    if places.url:
        teller.say(f"console        {places.url}/")
        teller.say(f"decisions      {places.url}/v1/models/{policy.model}/decisions")
        teller.say(f"metrics        {places.url}/metrics")
    for retraining in done:
        report = folder_of(places.folder, retraining.decision) / "report.html"
        if places.url:
            teller.say(f"the decision   {places.url}/v1/decisions/{retraining.decision}")
            teller.say(f"its evidence   {places.url}/v1/decisions/{retraining.decision}/evidence")
        teller.say(f"its report     {report}" if report.is_file() else f"no report was written; see {report.parent}")
    if not places.is_kept:
        teller.say(f"All data are in {places.folder}, which is removed at the end; --data-dir FOLDER keeps them.")
