"""Bodies of rows: a JSON array, or a JSON object a line."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.errors import MalformedBody, TooManyRows, TooManyValues
from service.intake.bodies import shapes
from service.intake.bodies.limits import Limits
from service.intake.bodies.settle import Columns
from service.intake.bodies.shapes import Shape

_SAMPLES = 8
_PEEK_BYTES = 64 * 1024
# Structs of two thousand rows stay in the processor's cache between decoding and gathering; those of 50,000 do not, and
# take three times as long.
_PIECE_BYTES = 1 << 20
_PIECE_ROWS = 2_000
_LINE_END, _RETURN, _OPEN, _CLOSE = b"\n\r{}"
_NO_ROWS: NDArray[np.intp] = np.array([], dtype=np.intp)
ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BYTE = re.compile(r"\(byte (\d+)\)")
_WORDS = (b"-Infinity", b"Infinity", b"NaN")


class Rows:
    """The rows of a body, one by one as bytes or all as columns; `count` is known once either was asked for.

    Raises:
        MalformedBody: the body is not a JSON array.
        TooManyRows: it has more rows than the limit.
    """

    def __init__(self, body: bytes, form: str, limits: Limits) -> None:
        self._body = body
        self._is_lines = form == "ndjson"
        self._limits = limits
        # Looking for one byte is 75 times as fast as looking for six.
        self.may_hold_nul = b"\\" in body and b"\\u0000" in body
        self._raws: Sequence[bytes] | None = None
        self._first: Sequence[bytes] = ()

    @property
    def raws(self) -> Sequence[bytes]:
        """Each row as it was sent."""
        if self._raws is None:
            found = _lines(self._body) if self._is_lines else _items(self._body)
            self._raws = list(islice(found, self._limits.rows + 1))
            if len(self._raws) > self._limits.rows:
                raise TooManyRows(self._limits.rows)
        return self._raws

    def row(self, place: int) -> Any:  # noqa: ANN401  whatever JSON holds
        """One row. Raises what msgspec raises where it is not JSON."""
        return msgspec.json.decode(self.raws[place])

    def samples(self) -> list[int]:
        """Places of the rows that a shape is learnt from at first."""
        if self._is_lines:
            self._first = list(islice(_lines(self._body), _SAMPLES))
        else:
            self._first = list(islice(_items(self._body, _PEEK_BYTES), _SAMPLES)) or self.raws[:1]
        return list(range(len(self._first)))

    def sample(self, place: int) -> Mapping[str, Any]:
        """A row to learn a shape from, empty where it is none."""
        try:
            row = msgspec.json.decode(self._first[place] if place < len(self._first) else self.raws[place])
        except ERRORS:
            return {}
        return row if isinstance(row, dict) else {}

    def columns(self, shape: Shape) -> tuple[Columns, int, NDArray[np.intp]]:
        """Columns of the rows that have this shape, how many rows there are, and the places of those that have not."""
        pieces, others, count = [], [], 0
        for structs, places, size in self._pieces(shape):
            others += [count + place for place in places]
            count += size
            self._check_size(count, shape)
            parts = (structs[start : start + _PIECE_ROWS] for start in range(0, len(structs), _PIECE_ROWS))
            pieces += [shapes.columns_of(part, shape, self._limits) for part in parts]
        if not pieces:
            return {}, count, np.array(others, dtype=np.intp)
        if len(pieces) == 1:
            return pieces[0], count, np.array(others, dtype=np.intp) if others else _NO_ROWS
        whole = {name: pa.concat_arrays([piece[name] for piece in pieces]) for name in pieces[0]}
        return whole, count, np.array(others, dtype=np.intp) if others else _NO_ROWS

    def _check_size(self, rows: int, shape: Shape) -> None:
        if rows > self._limits.rows:
            raise TooManyRows(self._limits.rows)
        if rows * shape.columns > self._limits.values:
            raise TooManyValues(rows, shape.columns, self._limits.values)

    def _pieces(self, shape: Shape) -> Iterator[tuple[list[Any], list[int], int]]:
        """Decoded rows, the places of those that could not be, and how many rows there were, piece by piece."""
        if self._is_lines:
            decode = shapes.decoder(shape)
            for piece in _line_pieces(self._body):
                structs = _decoded_lines(piece, decode)
                yield (structs, [], len(structs)) if structs is not None else _one_by_one(list(_lines(piece)), decode)
            return
        try:
            structs = shapes.list_decoder(shape).decode(self._body)
        except ERRORS:
            yield _one_by_one(self.raws, shapes.decoder(shape))
        else:
            yield structs, [], len(structs)


def _one_by_one(raws: Sequence[bytes], decoder: msgspec.json.Decoder[Any]) -> tuple[list[Any], list[int], int]:
    structs, places = [], []
    for place, raw in enumerate(raws):
        try:
            structs.append(decoder.decode(raw))
        except ERRORS:
            places.append(place)
    return structs, places, len(raws)


def _decoded_lines(piece: bytes, decoder: msgspec.json.Decoder[Any]) -> list[Any] | None:
    """The rows of some lines, None where one of them is not a row of its own and has another shape."""
    try:
        structs: list[Any] = decoder.decode_lines(piece)
    except ERRORS:
        return None
    # The decoder would take two rows on a line, or one over two lines. Where each line ends with } and the next begins
    # with {, no row can go over its end.
    data = np.frombuffer(piece, np.uint8)
    ends = np.flatnonzero(data[:-1] == _LINE_END)
    before, after = data[ends - 1], data[ends + 1]
    if (before == _RETURN).any():
        before = np.where(before == _RETURN, data[ends - 2], before)
    is_plain = len(ends) + 1 == len(structs) and bool((before == _CLOSE).all() and (after == _OPEN).all())
    return structs if is_plain else None


def _line_pieces(body: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(body):
        end = body.find(b"\n", start + _PIECE_BYTES) + 1 or len(body)
        yield body if end - start == len(body) else body[start:end]
        start = end


def _lines(body: bytes) -> Iterator[bytes]:
    """Lines that are not blank."""
    start = 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        line = body[start:end]
        if line and not line.isspace():
            yield line
        start = end + 1


_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_SIGNS = {sign: re.compile(rf"[ \t\n\r]*\{sign}[ \t\n\r]*") for sign in "[],"}


def _items(body: bytes, most_bytes: int | None = None) -> Iterator[bytes]:
    """The items of a JSON array, one after the other. Only their ends are looked for: what is within one, like NaN or
    text that is not UTF-8, is its own affair.

    With `most_bytes` only so many are looked at, and what is wrong ends the items without a word.
    """
    # Latin-1 has a character for each byte.
    text = (body if most_bytes is None else body[:most_bytes]).decode("latin-1")
    try:
        for start, end in _spans(text):
            yield body[start:end]
    except (ValueError, RecursionError) as error:
        if most_bytes is None:
            raise MalformedBody(f"the body is not a JSON array of rows: {explain(error, body)}") from error


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each item. Raises JSONDecodeError, RecursionError."""
    at = _after(text, 0, "[")
    if text[at : at + 1] == "]":
        at = _after(text, at, "]")
    else:
        sign = ","
        while sign == ",":
            _, end = _SCANNER.raw_decode(text, at)
            yield at, end
            sign = "," if _SIGNS[","].match(text, end) else "]"
            at = _after(text, end, sign)
    if at < len(text):
        raise json.JSONDecodeError("trailing characters", text, at)


def _after(text: str, at: int, sign: str) -> int:
    """Where the text goes on after this sign and the space around it."""
    found = _SIGNS[sign].match(text, at)
    if found is None:
        raise json.JSONDecodeError(f"expected {sign!r}", text, at)
    return found.end()


def explain(error: Exception, text: bytes) -> str:
    """What is wrong with a JSON text, in words for the sender."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at byte {error.pos}"
    found = _BYTE.search(str(error))
    if found:
        at = int(found[1])
        for word in _WORDS:
            # The parser points at the sign's successor.
            if text[max(0, at - 1) :].startswith(word) or text[at:].startswith(word):
                return f"{word.decode()} at byte {at} is not JSON: send null for a missing number"
    return str(error)


def reason_of(error: Exception) -> str:
    """The stable code of the same."""
    return "number_range" if "out of range" in str(error) else "malformed"
