"""The fold worker of one process: the partitions it owns, one step of each after the other."""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from service.errors import StaleOwner, StoreAway
from service.intake.archive.archiving import Archiver, Roll
from service.intake.folding.fold import BaselineOf, Partition
from service.intake.folding.retention import Keep
from service.intake.log.log import Log
from service.storage import keys
from service.storage.files import Files
from service.storage.ownership import Ownership
from service.storage.roster import Roster

Clock = Callable[[], datetime]


class Worker:
    """Folds and archives the partitions it owns; one thread calls it.

    Workers of one store spread its partitions evenly. `alone` claims that no other process folds on it (the embedded
    one): then all are ours, and nothing waits for a lease.
    """

    def __init__(
        self,
        partition_log: Log,
        baseline_of: BaselineOf,
        archive: Files | Path,
        clock: Clock,
        *,
        roll: Roll | None = None,
        keep: Keep | None = None,
        lease: timedelta = timedelta(seconds=10),
        alone: bool = False,
        batch_rows: int = 50_000,
        beats: Callable[[], float] = time.monotonic,
    ) -> None:
        owner = uuid.uuid4().hex
        self._clock = clock
        self._roster = None if alone else Roster(partition_log.store, owner, lease=lease, beats=beats)
        self._partitions = [
            Partition(
                partition_log,
                number,
                baseline_of,
                Archiver(partition_log, number, Files.of(archive), roll or Roll()),
                Ownership(
                    partition_log.store,
                    keys.slot(number),
                    owner,
                    lease=lease,
                    alone=alone,
                    is_dead=self._roster.is_dead if self._roster else lambda _: False,
                    beats=beats,
                ),
                batch_rows,
                keep=keep,
                beats=beats,
            )
            for number in range(partition_log.partitions)
        ]

    @property
    def owned(self) -> list[int]:
        """Numbers of the partitions that are ours."""
        return [partition.number for partition in self._held()]

    def acquire(self) -> int:
        """Claim our share of the partitions, give up what is more; to be called now and then. Gives how many are ours.

        What lies on a server of the store that does not answer is left as it is.

        Raises:
            StoreAway: the store does not answer, and nothing is ours.
        """
        share = self._share()
        for partition in self._held()[share:]:
            self._give_up(partition)
        failed: StoreAway | None = None
        for partition in self._partitions:
            if len(self.owned) < share and not partition.ownership.is_held:
                try:
                    partition.claim()
                except StoreAway as error:
                    partition.let_go()
                    failed = error
        if failed and not self.owned:
            raise failed
        return len(self.owned)

    def step(self) -> int:
        """Fold everything that can be read now, then archive what is ready. Gives the rows folded.

        A partition that was taken over meanwhile is let go without a word; one that fails lets the others go on.

        Raises:
            StoreAway: the store does not answer for a partition; call `acquire` before the next step.
        """
        rows = 0
        failed: Exception | None = None
        for partition in self._held():
            try:
                rows += partition.step(self._clock(), self._show_life)
            except StaleOwner:
                partition.let_go()
            except Exception as error:  # noqa: BLE001  it is raised again, after the others had their turn
                partition.let_go()
                failed = failed or error
            except BaseException:
                partition.let_go()
                raise
        if failed:
            raise failed
        return rows

    def release(self) -> None:
        """Give all partitions up, so that others need not wait for the lease.

        Raises:
            StoreAway: the store does not answer; others will wait.
        """
        for partition in self._held():
            self._give_up(partition)
        if self._roster:
            self._roster.leave()

    def _share(self) -> int:
        if not self._roster:
            return len(self._partitions)
        try:
            if any(partition.is_shy for partition in self._partitions):
                # Others are to have what we leave to them: off the roster we have no share, and keep what we hold.
                self._roster.leave()
                return len(self.owned)
            self._roster.show()
        except StoreAway:
            if not self.owned:
                raise
            return len(self.owned)
        return self._roster.share(len(self._partitions))

    def _held(self) -> list[Partition]:
        return [partition for partition in self._partitions if partition.ownership.is_held]

    def _give_up(self, partition: Partition) -> None:
        with suppress(StaleOwner, StoreAway):
            partition.ownership.release()
        partition.let_go()

    def _show_life(self) -> None:
        """Between two batches: one partition with much to read must not cost us the others."""
        if self._roster and self._roster.is_on:
            with suppress(StoreAway):
                self._roster.show()
        for partition in self._held():
            try:
                partition.ownership.renew()
            except (StaleOwner, StoreAway):
                partition.let_go()
