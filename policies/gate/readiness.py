"""What else a challenger has to be: right in the cases that must pass, quick, small, and sensible on recent traffic."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from policies.decision import Reason
from policies.file.kinds import format_size, format_span
from policies.file.policy import Gate
from policies.gate.alignment import Alignment, answer_alignment
from policies.gate.distribution import Distribution, answer_distribution

_NAMED = 3
Answer = str | float


@dataclass(frozen=True)
class FailedCase:
    """A case that must pass and did not: its features by bare name, what was expected and what was said."""

    name: str
    segment: str
    features: Mapping[str, object]
    expected: Answer
    said: Answer


@dataclass(frozen=True)
class FailureCount:
    """Errors of one failure category that champion and challenger make on the same unseen rows."""

    name: str
    champion: int
    challenger: int


@dataclass(frozen=True)
class Readiness:
    """What was measured of a challenger beside its answers on the holdout; None and `unmeasured` where it was not.

    `cases` is how many must pass. `latency_p95` is of one prediction, `size_bytes` of its files. `unmeasured` says for
    latency_p95, max_size or anything else why it is not known. `failures` are told and refuse nothing.
    """

    cases: int = 0
    failed: tuple[FailedCase, ...] = ()
    latency_p95: timedelta | None = None
    size_bytes: int | None = None
    distribution: Distribution | None = None
    alignment: Alignment | None = None
    failures: tuple[FailureCount, ...] = ()
    unmeasured: Mapping[str, str] = field(default_factory=dict)


def answer_readiness(gate: Gate, found: Readiness) -> Iterator[Reason]:
    """A reason for each condition, those that the policy leaves open among them."""
    yield _answer_cases(found)
    yield _answer_latency(gate, found)
    yield _answer_size(gate, found)
    for what, why in found.unmeasured.items():
        if what not in {"latency_p95", "max_size"}:
            yield Reason("not_measured", True, None, what, None, None, why)
    if found.distribution:
        yield from answer_distribution(found.distribution)
    if found.alignment:
        yield answer_alignment(found.alignment)


def _answer_cases(found: Readiness) -> Reason:
    failed = len(found.failed)
    named = "; ".join(f"{case.name} said {case.said}, not {case.expected}" for case in found.failed[:_NAMED])
    rest = f" and {failed - _NAMED} more" if failed > _NAMED else ""
    text = f"{failed} of the cases that must pass came out wrong, of {found.cases}{f': {named}' if named else ''}{rest}"
    return Reason("edge_cases_failed", failed > 0, None, None, float(failed), 0.0, text)


def _answer_latency(gate: Gate, found: Readiness) -> Reason:
    limit, measured = gate.latency_p95, found.latency_p95
    if limit is None:
        return Reason("too_slow", False, None, None, None, None, "the policy sets no latency")
    if measured is None:
        return _unmeasured(found, "latency_p95", "the latency", limit.total_seconds())
    text = f"95 of 100 predictions take up to {measured.total_seconds():.4f} s, {format_span(limit)} is allowed"
    return Reason("too_slow", measured > limit, None, None, measured.total_seconds(), limit.total_seconds(), text)


def _answer_size(gate: Gate, found: Readiness) -> Reason:
    limit, measured = gate.max_size, found.size_bytes
    if limit is None:
        return Reason("too_large", False, None, None, None, None, "the policy sets no size")
    if measured is None:
        return _unmeasured(found, "max_size", "the size", float(limit))
    text = f"the model's files hold {format_size(measured)}, {format_size(limit)} is allowed"
    return Reason("too_large", measured > limit, None, None, float(measured), float(limit), text)


def _unmeasured(found: Readiness, key: str, what: str, limit: float) -> Reason:
    why = found.unmeasured.get(key, "nobody measured it")
    return Reason("not_measured", True, None, key, None, limit, f"{what} is not measured: {why}")
