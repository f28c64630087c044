"""`tidegate import`: logs of other systems, read into rows and posted to a running service."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from service.conventions import bentoml, mlserver, sagemaker
from service.conventions.exchanges import as_lines
from service.conventions.logs import Options, Row, Told, files_of, finish, read
from service.conventions.unusable import Unusable
from service.errors import BadSetting
from service.intake.log.ingest import hash_body
from service.remote import Remote

READERS: dict[str, Callable[[Iterable[Told], Options], Iterator[Row]]] = {
    "sagemaker": sagemaker.rows,
    "bentoml": bentoml.rows,
    "mlserver": mlserver.rows,
}
BATCH_ROWS = 1000
_MOST_TOLD = 50
_SHOWN = 3


@dataclass
class Account:
    """What came of an import so far; `problems` counts lines and rows that were not taken."""

    read: int = 0
    taken: int = 0
    problems: int = 0
    untimed: int = 0
    shown: list[str] = field(default_factory=list)

    def note(self, problem: str) -> None:
        """Tell the first problems one by one."""
        self.problems += 1
        if self.problems <= _MOST_TOLD:
            sys.stderr.write(f"{problem}\n")


def run(options: argparse.Namespace) -> int:
    """Post the rows of all files; 1 where a line or a row was not taken."""
    files = files_of(options.paths)
    chosen = Options(
        tuple(name.strip() for name in options.columns.split(",")) if options.columns else (),
        options.prediction,
        options.version or "",
        options.threshold,
        _zone(options.zone),
    )
    rows = (finish(row, chosen) for row in READERS[options.convention](read(files), chosen))
    remote = None if options.dry_run else Remote(options.url)
    account = Account()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("import")
        for batch in _batches(rows, account):
            _send(remote, options.model, batch, account)
            progress.update(task, description=f"{account.read} rows read, {account.taken} taken")
    _tell(account, len(files), is_dry=options.dry_run)
    return 1 if account.problems else 0


def _batches(rows: Iterable[Row], account: Account) -> Iterator[list[Row]]:
    """Always the same for the same files, so that a second import has the same bodies under the same keys."""
    batch: list[Row] = []
    for row in rows:
        if row.problem:
            account.note(f"{row.place}: {row.problem}")
            continue
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _send(remote: Remote | None, model: str, batch: list[Row], account: Account) -> None:
    body = as_lines([row.fields for row in batch])
    account.read += len(batch)
    account.untimed += sum(not row.fields.get("timestamp") for row in batch)
    if remote is None:
        account.shown += [line.decode() for line in body.splitlines()[: _SHOWN - len(account.shown)]]
        return
    answer = remote.post_lines("models", model, "predictions", body=body, key=f"import-{hash_body(body)}")
    account.taken += answer.get("accepted", 0)
    for told in answer["rejected"]:
        account.note(f"{batch[told['row']].place}: {told['field']}: {told['problem']}")
    account.problems += answer["rejected_rows"] - len(answer["rejected"])


def _tell(account: Account, files: int, *, is_dry: bool) -> None:
    if account.problems > _MOST_TOLD:
        sys.stderr.write(f"... and {account.problems - _MOST_TOLD} more\n")
    if account.untimed:
        sys.stderr.write(f"{account.untimed} rows say no time: they count as of now\n")
    for line in account.shown:
        sys.stdout.write(f"{line}\n")
    done = "would be sent" if is_dry else f"read, {account.taken} taken"
    sys.stdout.write(f"{files} files: {account.read} rows {done}, {account.problems} problems\n")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise BadSetting("--zone", name, "a name of the time zone database is needed, like Europe/Berlin") from error


__all__ = ["READERS", "Unusable", "run"]
