"""What Alertmanager's webhook says (payload version 4), as signals: the alerts that others have about a model."""

from datetime import UTC, datetime

import msgspec

from service.conventions.signals import Signal
from service.conventions.unusable import Unusable

_HOLD = ("tidegate", "hold")
_MOST_PAIRS, _MOST_CHARACTERS = 64, 1000


class _Alert(msgspec.Struct):
    status: str
    startsAt: datetime  # noqa: N815  Alertmanager's spelling
    fingerprint: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    endsAt: datetime | None = None  # noqa: N815  same


class _Payload(msgspec.Struct):
    version: str
    alerts: list[_Alert]


def read_signals(body: bytes, now: datetime) -> list[Signal]:
    """The signals of one notification. The label `model` names the model; without it a signal is about all models.

    A label or annotation `tidegate` of the value `hold` asks that nothing is retrained while the alert is firing.

    Raises:
        Unusable: the body is no notification of version 4.
    """
    try:
        payload = msgspec.json.decode(body, type=_Payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unusable("unreadable", f"the body is no notification of Alertmanager: {error}") from error
    if payload.version != "4":
        raise Unusable("unreadable", f"the notification has the version {payload.version[:20]!r}; 4 is read here")
    return [_signal(alert, now) for alert in payload.alerts]


def _signal(alert: _Alert, now: datetime) -> Signal:
    told = alert.annotations
    return Signal(
        fingerprint=alert.fingerprint[:_MOST_CHARACTERS],
        name=alert.labels.get("alertname", "an alert")[:_MOST_CHARACTERS],
        model=alert.labels.get("model", "")[:_MOST_CHARACTERS],
        text=(told.get("summary") or told.get("description") or told.get("message") or "")[:_MOST_CHARACTERS],
        labels=_short(alert.labels),
        annotations=_short(told),
        asks_to_hold=_HOLD in alert.labels.items() or _HOLD in told.items(),
        is_resolved=alert.status == "resolved",
        started_at=_aware(alert.startsAt),
        # While an alert is firing its end lies at year 1.
        ended_at=_aware(alert.endsAt) if alert.endsAt and alert.endsAt.year > 1 else None,
        told_at=now,
    )


def _short(pairs: dict[str, str]) -> dict[str, str]:
    return {name[:_MOST_CHARACTERS]: pairs[name][:_MOST_CHARACTERS] for name in list(pairs)[:_MOST_PAIRS]}


def _aware(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
