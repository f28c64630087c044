"""The newest predictions by id, so that most labels meet theirs without a look into the archive.

A cache that may be empty at any time: whatever it does not know is looked up. Bodies stay packed and ids stay arrays
until a label asks for one of the rows; so a prediction whose label does not come costs next to nothing.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.intake.joining.ends import Counted, LabelValue
from service.intake.joining.packed import Batch

# A block is dropped as a whole: so many of them are what "the oldest" is told by.
_BLOCKS = 8


class Seen:
    """One prediction: a row of a batch. The label that was counted for it is kept with the batch."""

    __slots__ = ("batch", "row")

    def __init__(self, batch: Batch, row: int) -> None:
        self.batch = batch
        self.row = row

    @property
    def label(self) -> Counted | None:
        """The label counted for it."""
        return self.batch.labels.get(self.row)

    @label.setter
    def label(self, label: Counted) -> None:
        self.batch.labels[self.row] = label


class Block:
    """Batches one after the other and their ids."""

    def __init__(self, batches: list[Batch], parts: list[pa.StringArray], number: int = 0) -> None:
        self.batches = batches
        self.parts = parts
        self.number = number
        """Grows with every block that `Recent` is given."""
        self.rows = sum(batch.rows for batch in batches)

    def and_then(self, other: "Block") -> "Block":
        """This one and then the other."""
        return Block(self.batches + other.batches, self.parts + other.parts, self.number)

    @property
    def ids(self) -> pa.StringArray:
        """All ids in one array, put together when they are first asked for."""
        if len(self.parts) > 1:
            self.parts = [pa.concat_arrays(self.parts)]
        return self.parts[0]

    def find(self, names: Sequence[str]) -> dict[str, Seen]:
        """The first row of each of the names that is here; the names must be distinct."""
        found = pc.index_in(self.ids, value_set=pa.array(names, pa.string()))
        if found.null_count == len(found):
            return {}
        places, first = np.unique(found.drop_null().to_numpy(), return_index=True)
        rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))[first]
        starts = np.cumsum([0, *(batch.rows for batch in self.batches[:-1])])
        owners = np.searchsorted(starts, rows, side="right") - 1
        where = zip(places.tolist(), owners.tolist(), (rows - starts[owners]).tolist(), strict=True)
        return {names[place]: Seen(self.batches[owner], row) for place, owner, row in where}


class Recent:
    """Predictions of all models, by (model, id). Holds at most `most_rows` rows and `most_bytes` bytes.

    `is_complete` says that nothing was ever dropped since the log began: what it does not know does not exist. Else it
    holds first copies only: a batch with timestamps (microseconds since 1970) from before `since`, until when rows came
    that it does not hold, may repeat one of those, and is `unsure` until it is dropped with the next `shrink`.
    """

    def __init__(
        self, *, is_complete: bool, since: int = 0, most_rows: int = 200_000, most_bytes: int = 256 << 20
    ) -> None:
        self.is_complete = is_complete
        self._since = since
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._block_rows = max(1, most_rows // _BLOCKS)
        self._rows = 0
        self._bytes = 0
        self._number = 0
        self._sure: dict[str, list[Block]] = {}
        self._unsure: dict[str, list[Block]] = {}

    def add(self, model: str, block: Block, oldest: int) -> None:
        """Remember predictions with their oldest timestamp; of two copies of a prediction the first is found."""
        self._number += 1
        block.number = self._number
        if not self.is_complete and oldest < self._since:
            self._unsure.setdefault(model, []).append(block)
            return
        self._rows += block.rows
        self._bytes += sum(batch.bytes for batch in block.batches)
        blocks = self._sure.setdefault(model, [])
        # Doubling: there are few blocks to look through, and a row moves a few times only.
        while blocks and blocks[-1].rows <= block.rows and 2 * block.rows <= self._block_rows:
            block = blocks.pop().and_then(block)
        blocks.append(block)

    def find(self, model: str, names: Sequence[str], *, unsure: bool = False) -> dict[str, Seen]:
        """Those of the predictions that are still known; with `unsure` those that may be second copies."""
        blocks = (self._unsure if unsure else self._sure).get(model, [])
        distinct = list(dict.fromkeys(names))
        found: dict[str, Seen] = {}
        for block in blocks if distinct else []:
            found = block.find(distinct) | found
        unreadable = {batch for batch in {seen.batch for seen in found.values()} if not self._is_readable(batch)}
        return {name: seen for name, seen in found.items() if seen.batch not in unreadable} if unreadable else found

    def shrink(self) -> None:
        """Drop the oldest batches beyond the bounds, and what is unsure."""
        if self._unsure:
            self._unsure.clear()
        while self._sure and (self._rows > self._most_rows or self._bytes > self._most_bytes):
            model = min(self._sure, key=lambda each: self._sure[each][0].number)
            block = self._sure[model].pop(0)
            if not self._sure[model]:
                del self._sure[model]
            self.is_complete = False
            self._since = max(self._since, *(batch.arrived for batch in block.batches))
            self._rows -= block.rows
            self._bytes -= sum(batch.bytes for batch in block.batches)

    def _is_readable(self, batch: Batch) -> bool:
        before = batch.bytes
        is_readable = batch.is_readable()
        self._bytes += batch.bytes - before
        return is_readable


def rows_with(name: str, pairs: Iterable[tuple[Seen, LabelValue | None]]) -> list[pa.Table]:
    """The predictions with these values (texts, or numbers) as one more column: a table for each of their batches."""
    groups: dict[int, tuple[Batch, list[int], list[LabelValue | None]]] = {}
    for seen, value in pairs:
        _, rows, values = groups.setdefault(id(seen.batch), (seen.batch, [], []))
        rows.append(seen.row)
        values.append(value)
    tables = []
    for batch, rows, values in groups.values():
        is_whole = len(rows) == batch.rows and rows == list(range(batch.rows))
        table = batch.table() if is_whole else batch.table().take(rows)
        kind = pa.string() if isinstance(values[0], str) else pa.float64()
        tables.append(table.append_column(name, pa.array(values, kind)))
    return tables
