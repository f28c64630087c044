"""A process that folds, and that some rows kill: python deadly.py FOLDER URL LIVES.

Each life is a fork of this process that folds all there is; the answer is how each ended. A rehearsal imports this file
anew, so that the rows kill it too.
"""

import os
import signal
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from intake import Intake

from service.intake.folding import counting
from service.storage.store import Store

DEADLY = "deadly"


def die_of_deadly_rows() -> None:
    """A stand-in for a library that crashes on some rows, or for the kernel when memory runs out."""
    fold = counting.fold

    def fold_or_die(layout, table: pa.Table, slice_seconds: int):
        if pc.any(pc.starts_with(table.column("prediction_id"), DEADLY)).as_py():
            os.kill(os.getpid(), signal.SIGKILL)
        return fold(layout, table, slice_seconds)

    counting.fold = fold_or_die


def live(folder: Path, url: str) -> None:
    intake = Intake(Store(url), folder, partitions=1)
    intake.worker.acquire()
    intake.worker.step()


def main() -> None:
    for _ in range(int(sys.argv[3])):
        pid = os.fork()
        if pid == 0:
            live(Path(sys.argv[1]), sys.argv[2])
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")


if __name__ in {"__main__", "__mp_main__"}:
    die_of_deadly_rows()
if __name__ == "__main__":
    main()
