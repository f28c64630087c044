"""How a report writes its numbers: shares in per cent, differences of shares in points, the rest to four digits."""

from datetime import datetime, timedelta

from policies.file.kinds import format_span
from service.ledger.records import Retraining

POINTS = frozenset({"accuracy", "macro_f1", "class_recall", "calibration", "r2"})
"""Metrics whose change is told in points; of the others it is a share of what was."""
_SHARES = POINTS - {"r2"}


def metric(name: str) -> str:
    """A metric's name for people.

    >>> [metric(name) for name in ("macro_f1", "log_loss", "mae", "class_recall")]
    ['macro F1', 'log loss', 'MAE', 'recall of a class']
    """
    own = {
        "macro_f1": "macro F1",
        "brier": "Brier score",
        "mae": "MAE",
        "rmse": "RMSE",
        "r2": "R²",
        "class_recall": "recall of a class",
    }
    return own.get(name, name.replace("_", " "))


def value(name: str, number: float | None) -> str:
    """What a metric is.

    >>> value("accuracy", 0.8125), value("log_loss", 0.43217), value("mae", None)
    ('81.2 %', '0.4322', '-')
    """
    return percent(number) if name in _SHARES else plain(number)


def change(name: str, number: float | None) -> str:
    """How much a metric gained, above 0 for better.

    >>> change("accuracy", 0.031), change("mae", -0.12), change("r2", 0.02)
    ('+3.1 points', '-12.0 %', '+2.0 points')
    """
    if number is None:
        return "-"
    shown = round(100 * number, 1) + 0.0  # no minus before a zero
    return f"{shown:+.1f} points" if name in POINTS else f"{shown:+.1f} %"


def percent(number: float | None) -> str:
    return "-" if number is None else f"{100 * number:.1f} %"


def plain(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:,.0f}" if abs(number) >= 10_000 else f"{number:.4g}"


def count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def moment(at: datetime | str | None) -> str:
    """To the minute, in UTC; a text is read as ISO 8601."""
    read = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{read:%Y-%m-%d %H:%M} UTC" if read else "-"


def answer(word: str) -> str:
    """A stable code for people: `not_enough_labels` is `not enough labels`."""
    return word.replace("_", " ")


def lasted(retraining: Retraining) -> str:
    """How long it took, empty while it runs."""
    if retraining.finished_at is None:
        return ""
    return format_span(timedelta(seconds=round((retraining.finished_at - retraining.opened_at).total_seconds())))
