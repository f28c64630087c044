"""`tidegate replay`."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from policies.errors import PolicyInvalid
from policies.file.parse import dump
from policies.file.policy import Policy
from service.house import open_house
from service.intake.archive.tables import Roles, as_batch, read_table
from service.policy_reading import read_settled
from service.replay import Account, BadReplay, FileClock, Options, Replay
from service.settings import Durability, Settings


def run(options: argparse.Namespace) -> int:
    """Stream the file and print what was done, for people or as JSON."""
    policy = read_policy(options.policy)
    roles = Roles(options.timestamp, options.label, "", "", policy.column_kinds())
    rows = as_batch(options.file, read_table(options.file), roles, policy.task.kind, "")
    chosen = Options(options.start, options.label_share, options.label_delay, _every(options.retrain))
    clock, console = FileClock(), Console(stderr=True)
    with _folder(options.data_dir) as folder:
        (folder / "policies").mkdir(parents=True, exist_ok=True)
        (folder / "policies" / "policy.yaml").write_text(json.dumps(dump(policy), ensure_ascii=False), encoding="utf-8")
        # Nobody is lost when a replay dies: it is run again. One partition, for there is one sender.
        settings = replace(
            Settings(),
            data_dir=folder,
            policies=folder / "policies",
            partitions=1,
            durability=Durability("everysec"),
            archive_age=timedelta(days=36_500),
            label_horizon=timedelta(days=36_500),
        )
        with open_house(settings, clock) as house:
            account = _show(Replay(house, clock, policy, rows, chosen, makes_reports=bool(options.data_dir)), console)
    if options.json:
        sys.stdout.write(json.dumps(account.as_json(), indent=2) + "\n")
    else:
        _tell(account, policy)
    return 0


def read_policy(file: Path) -> Policy:
    """The policy of a file over its defaults, a shadow's as if it were in force. Raises BadReplay where it is none."""
    try:
        return replace(read_settled(file).policy, shadow=False)
    except PolicyInvalid as error:
        raise BadReplay(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadReplay(f"{file}: cannot be read: {error}") from error


def _every(text: str) -> int | None:
    if text in {"policy", "never"}:
        return 0 if text == "policy" else None
    kind, _, rows = text.partition(":")
    if kind != "every" or not rows.isdecimal() or int(rows) < 1:
        raise BadReplay(f"--retrain {text}: allowed are policy, never and every:N with N rows")
    return int(rows)


def _show(replay: Replay, console: Console) -> Account:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("replay", total=replay.account.rows)

        def note(row: int, account: Account) -> None:
            told = f"score {account.score:.4f}, {len(account.retrainings)} retrainings"
            progress.update(task, completed=row, description=told)

        return replay.run(note)


def _tell(account: Account, policy: Policy) -> None:
    out = Console(soft_wrap=True)
    figure = "mean absolute error" if policy.task.kind == "regression" else "accuracy"
    out.print(f"{account.rows} rows, {account.scored} predicted and scored row by row: {figure} {account.score:.4f}")
    out.print(f"{len(account.retrainings)} retrainings")
    for done in account.retrainings:
        where = ", ".join(done["segments"])
        out.print(
            f"  at row {done['at_row']}: {', '.join(done['reasons'])} in {where}; {done['outcome']}: {done['note']}"
        )
    for release in account.releases:
        out.print(f"  at row {release['at_row']}: {release['kind']} of version {release['version']}")
    out.print(f"{len(account.faults)} faults")
    for fault in account.faults:
        until = fault["until_row"] or "the end"
        out.print(f"  rows {fault['at_row']} to {until}: {fault['column']} {fault['kind']} in {fault['segment']}")
    out.print(f"{len(account.decisions)} decisions kept; --json shows each")


@contextmanager
def _folder(kept: str | None) -> Iterator[Path]:
    if kept:
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="tidegate-replay-") as folder:
        yield Path(folder)
