"""Ends: how a trainer's process ended, and why, in words; read from the files that its keeper left."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from service.launching.port import Order
from service.launching.untrusted import NotPlain, open_plain

_MOST_BYTES = 1 << 16
_LAST_LINES, _LAST_CHARACTERS = 8, 1_000


@dataclass(frozen=True)
class Exit:
    """How a trainer's process ended: `exited` of its own, `cancelled`, `timeout`, `disk`, or `not_started`.

    `code` is its exit code, or the negative number of the signal that ended it.
    """

    ended: str
    code: int | None
    problem: str = ""


def place_of(order: Order) -> Path:
    """Where what is known about an order's process is kept: not where the trainer works."""
    return order.folder.with_name(f"{order.folder.name}.process")


def exit_of(order: Order) -> Exit | None:
    """How it ended; None where it has not, or was killed together with its keeper."""
    try:
        with open_plain(place_of(order), "exit.json") as file:
            return msgspec.json.decode(file.read(_MOST_BYTES), type=Exit)
    except (OSError, NotPlain, msgspec.MsgspecError):
        # Not there; or not of its keeper's writing, which takes its place at the end.
        return None


def why_ended(order: Order, ended: Exit) -> str:
    """Why a process did not end well, for the person who must act; empty where it did."""
    if ended.ended == "exited" and not ended.code:
        return ""
    if ended.ended == "cancelled":
        return "it was cancelled"
    if ended.ended == "not_started":
        return f"it could not be started: {ended.problem}"
    words = last_words(order)
    return f"{_what_ended(order, ended)}; " + (f"its last words: {words}" if words else "it said nothing")


def _what_ended(order: Order, ended: Exit) -> str:
    if ended.ended == "timeout":
        return f"it ran longer than its timeout of {order.trainer.timeout}"
    if ended.ended == "disk":
        return "its folder grew beyond TIDEGATE_TRAINER_DISK_BYTES"
    code = ended.code or 0
    if code == -signal.SIGXCPU:
        return "it used more processor time than TIDEGATE_TRAINER_CPU allows"
    return f"it was ended by {_name_of(-code)}" if code < 0 else f"it ended with code {code}"


def _name_of(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def why_lost(order: Order) -> str:
    """Why nothing of it is there any more, as far as that is known."""
    if not (place_of(order) / "order.json").exists():
        return "nothing of it is on this machine"
    said = f"; its last words: {words}" if (words := last_words(order)) else ""
    return f"its process is gone without an answer{said}"


def last_words(order: Order) -> str:
    """The last lines that it printed, on one line."""
    said = b""
    for name in ("log.before", "log"):
        with suppress(OSError, NotPlain), open_plain(place_of(order), name) as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4 * _LAST_CHARACTERS))
            said += log.read(4 * _LAST_CHARACTERS)
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    text = " | ".join(lines[-_LAST_LINES:])
    return "".join(sign if sign.isprintable() else " " for sign in text)[-_LAST_CHARACTERS:]
