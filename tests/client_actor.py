"""A process that predicts: python client_actor.py URL SPOOL MODE FIRST COUNT. What it logged is marked in SPOOL.marks.

Modes: `log` logs and lives on; `pack` does too, and marks only what is in the spool; `memory` has no spool; `leave`
logs and ends in the usual way; `fork` logs in children of a client that was made before; `idle` only starts the client,
which sends what is in the spool. AT in the environment is the time of the rows, where it is not now.
"""

import os
import sys
import time
from datetime import datetime
from pathlib import Path

import tidegate_client

PACKED = 20
AT = datetime.fromisoformat(os.environ["AT"]) if "AT" in os.environ else None


def log(client: tidegate_client.Client, numbers: range, marks: Path, *, is_packed: bool = False) -> None:
    """Log a row each, marked when the call has come back (or when the row is in the spool)."""
    with marks.open("ab", buffering=0) as file:
        for number in numbers:
            client.log(f"p-{number}", "fit", features={"x": number / 7, "channel": "web"}, timestamp=AT)
            if not is_packed:
                file.write(b".")
            elif number % PACKED == PACKED - 1:
                client.start()._packer.pack()
                file.write(b"." * PACKED)
            time.sleep(0.0005)  # the pace of a service; without it all rows would be one batch


def fork_and_log(client: tidegate_client.Client, numbers: range, marks: Path) -> None:
    """A share of the rows here, the others in three children."""
    share = len(numbers) // 4
    log(client, numbers[:share], marks)
    for begin in range(share, len(numbers), share):
        if os.fork() == 0:
            log(client, numbers[begin : begin + share], marks)
            sys.exit(0)
    for _ in range(3):
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0


def main() -> None:
    url, spool, mode, first, count = sys.argv[1:]
    numbers, marks = range(int(first), int(first) + int(count)), Path(f"{spool}.marks")
    client = tidegate_client.connect(
        url,
        "shop",
        spool=False if mode == "memory" else spool,
        batch_seconds=0.02,
        batch_rows=PACKED,
        retry_seconds=0.2,
        timeout_seconds=5,
        exit_seconds=15,
    )
    if mode == "fork":
        fork_and_log(client, numbers, marks)
    elif mode == "idle":
        client.start()
    else:
        log(client, numbers, marks, is_packed=mode == "pack")
    if mode not in {"leave", "fork"}:
        sys.stdin.read()


if __name__ == "__main__":
    main()
