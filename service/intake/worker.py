"""The fold worker of one process: the partitions it owns, one step of each after the other."""

import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from service.errors import StaleOwner, StoreAway
from service.intake.archiving import Archiver, Roll
from service.intake.fold import BaselineOf, Partition
from service.intake.log import Log
from service.storage import keys
from service.storage.ownership import Ownership

Clock = Callable[[], datetime]


class Worker:
    """Folds and archives the partitions it owns; one thread calls it.

    `alone` claims that no other process folds on this store (the embedded one): then nothing waits for a lease.
    `most_partitions` leaves partitions for other workers.
    """

    def __init__(
        self,
        partition_log: Log,
        baseline_of: BaselineOf,
        archive_dir: Path,
        clock: Clock,
        *,
        roll: Roll | None = None,
        lease: timedelta = timedelta(seconds=10),
        alone: bool = False,
        most_partitions: int | None = None,
        batch_rows: int = 50_000,
        beats: Callable[[], float] = time.monotonic,
    ) -> None:
        owner = uuid.uuid4().hex
        self._clock = clock
        self._most_partitions = most_partitions or partition_log.partitions
        self._partitions = [
            Partition(
                partition_log,
                number,
                baseline_of,
                Archiver(partition_log, number, archive_dir, roll or Roll()),
                Ownership(partition_log.store, keys.slot(number), owner, lease=lease, alone=alone, beats=beats),
                batch_rows,
            )
            for number in range(partition_log.partitions)
        ]

    @property
    def owned(self) -> list[int]:
        """Numbers of the partitions that are ours."""
        return [partition.number for partition in self._partitions if partition.ownership.is_held]

    def acquire(self) -> int:
        """Claim what can be claimed; to be called now and then. Gives how many partitions are ours.

        Raises:
            StoreAway: the store does not answer.
        """
        for partition in self._partitions:
            if len(self.owned) < self._most_partitions and not partition.ownership.is_held:
                partition.claim()
        return len(self.owned)

    def step(self) -> int:
        """Fold everything that can be read now, then archive what is ready. Gives the rows folded.

        A partition that was taken over meanwhile is let go without a word.

        Raises:
            StoreAway: the store does not answer; call `acquire` before the next step.
        """
        rows = 0
        for partition in self._partitions:
            if partition.ownership.is_held:
                try:
                    rows += partition.step(self._clock())
                except StaleOwner:
                    partition.let_go()
                except BaseException:
                    partition.let_go()
                    raise
        return rows

    def release(self) -> None:
        """Give all partitions up, so that others need not wait for the lease."""
        for partition in self._partitions:
            try:
                partition.ownership.release()
            except (StaleOwner, StoreAway):
                partition.let_go()
