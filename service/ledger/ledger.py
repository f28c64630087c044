"""The ledger: champions, baselines, decisions, retrainings and releases. What was decided stays for ever."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import msgspec

from monitors.baseline.baselines import Baseline
from monitors.errors import BaselineMismatch, BaselineTooNew
from policies.file.parse import digest, dump
from policies.file.policy import Policy
from service.errors import ServiceError
from service.ledger.chain import Chain, Entry, Head
from service.ledger.records import (
    Act,
    Aftermath,
    Confirmed,
    DecisionRecord,
    Evaluation,
    Regression,
    Release,
    Request,
    Retraining,
    Watch,
)
from service.storage import keys
from service.storage.store import Store, Word

Record = TypeVar("Record")
_MODELS = keys.key("models", "all")


class ChampionMoved(ServiceError):
    """Another version became the champion in the meantime; nothing was changed."""

    def __init__(self, model: str, expected: str) -> None:
        super().__init__(f"the champion of {model} is no longer {expected or 'none'}: look again before you move it")


class NoBaseline(ServiceError):
    """A version without a baseline cannot become the champion."""

    def __init__(self, model: str, version: str) -> None:
        super().__init__(
            f"{model} {version} has no baseline: build it first "
            f"(tidegate baseline build, or POST /v1/models/{model}/baselines)"
        )


class RetrainingMoved(ServiceError):
    """Somebody else brought the retraining further in the meantime; nothing was changed."""

    def __init__(self, retraining: Retraining) -> None:
        super().__init__(
            f"the retraining {retraining.id} of {retraining.model} goes on in another process, which took over: "
            "this one leaves it alone"
        )


class Ledger:
    """All documents of all models, in the store. Any process may read; the leader writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._baselines: dict[tuple[str, str], tuple[bytes, Baseline | BaselineMismatch]] = {}

    # models and champions

    def models(self) -> list[str]:
        """Names of all models that ever had a policy or a baseline, sorted."""
        return sorted(m.decode() for m in self._store.do("SMEMBERS", _MODELS))

    def add_model(self, model: str) -> None:
        self._store.do("SADD", _MODELS, keys.check_name("model", model))

    def champion(self, model: str) -> str:
        """The version in service; empty before the first release."""
        found = self._store.do("GET", _key(model, "champion"))
        return found.decode() if found else ""

    def move_champion(self, release: Release, watch: Watch | None = None) -> None:
        """Move the pointer from `release.previous` to `release.version`, by compare-and-set; again is no change.

        What is watched changes with it: from now on `watch`, or nothing. A retraining is released once: who comes late
        with it changes nothing, also where the pointer was moved back meanwhile.

        Raises:
            ChampionMoved: another version is the champion.
            NoBaseline: the new version has none.
        """
        names = [
            _key(release.model, name)
            for name in ("champion", "fingerprints", "releases", "watch", "released", "counts")
        ]
        watched = msgspec.json.encode(watch) if watch else b""
        counted = "rollbacks" if release.kind == "rollback" else ""
        words: list[Word] = [release.previous, release.version, msgspec.json.encode(release)]
        answer = self._store.run("promote", names, [*words, watched, release.retraining, counted])
        if answer == 0:
            raise ChampionMoved(release.model, release.previous)
        if answer < 0:
            raise NoBaseline(release.model, release.version)
        # What a person answered was about the version before.
        self._store.do("HDEL", _key(release.model, "requests"), "approve", "reject")

    def releases(self, model: str) -> list[Release]:
        """Oldest first."""
        return _decode_all(self._store.do("LRANGE", _key(model, "releases"), 0, -1), Release)

    def record_regression(self, regression: Regression) -> bool:
        """Keep for ever, and count, that a release was found worse; False where that is known of it."""
        since = regression.released_at.isoformat() if regression.released_at else ""
        names = [_key(regression.model, name) for name in ("regressions", "counts")]
        words: list[Word] = [f"{regression.version} {since}", msgspec.json.encode(regression)]
        return bool(self._store.run("regress", names, words))

    def regressions(self, model: str) -> list[Regression]:
        """Every release that was found worse than what it replaced, the oldest first."""
        found = _decode_all(self._store.do("HVALS", _key(model, "regressions")), Regression)
        return sorted(found, key=lambda each: each.at)

    def save_aftermath(self, aftermath: Aftermath) -> None:
        """What became of what a version was released for; the newest answer counts."""
        name = _key(aftermath.model, "aftermaths")
        self._store.do("HSET", name, aftermath.version, msgspec.json.encode(aftermath))

    def aftermaths(self, model: str) -> dict[str, Aftermath]:
        """Version -> what became of what it was released for."""
        found = _decode_all(self._store.do("HVALS", _key(model, "aftermaths")), Aftermath)
        return {each.version: each for each in found}

    # baselines

    def put_baseline(self, baseline: Baseline) -> None:
        """Store a baseline as its version's. Profiles are counted by fingerprint, so a new one begins anew."""
        self.add_model(baseline.model)
        name = _key(baseline.model, "baseline", keys.check_name("version", baseline.version), baseline.fingerprint)
        self._store.do("SET", name, baseline.to_bytes())
        self._store.do("HSET", _key(baseline.model, "fingerprints"), baseline.version, baseline.fingerprint)

    def baseline(self, model: str, version: str) -> Baseline | None:
        """The baseline of a version, from memory where the store still names the same one.

        None where there is none, or none that can be read: `blindness` says which, and work on other models goes on.
        """
        found = self._read_baseline(model, version)
        return found if isinstance(found, Baseline) else None

    def baseline_to_count(self, model: str, version: str) -> Baseline | None:
        """The same for one who counts rows, which a newer worker could count.

        Raises:
            BaselineTooNew: a newer build has written it.
        """
        found = self._read_baseline(model, version)
        if isinstance(found, BaselineTooNew):
            raise BaselineTooNew(f"{model} {version}: {found}")
        return found if isinstance(found, Baseline) else None

    def blindness(self, model: str) -> str | None:
        """Why nothing can be read of a model's champion, and what to do; None where it has a baseline."""
        version = self.champion(model)
        build = f"tidegate baseline build FILE --model {model} --version {version or 'VERSION'}"
        if not version:
            return f"It has no baseline: {build} makes that version its champion."
        found = self._read_baseline(model, version)
        if isinstance(found, Baseline):
            return None
        return f"No baseline for version {version}: {found or 'there is none'}. Build one: {build}."

    def _read_baseline(self, model: str, version: str) -> Baseline | BaselineMismatch | None:
        """The baseline, what is wrong with it, or None."""
        fingerprint = self._store.do("HGET", _key(model, "fingerprints"), version)
        if fingerprint is None:
            return None
        known = self._baselines.get((model, version))
        if known is None or known[0] != fingerprint:
            packed = self._store.do("GET", _key(model, "baseline", version, fingerprint.decode()))
            known = self._baselines[model, version] = fingerprint, _unpack(packed)
        return known[1]

    def baselines(self, model: str) -> dict[str, str]:
        """Version → fingerprint of its baseline."""
        found = self._store.do("HGETALL", _key(model, "fingerprints"))
        return {v.decode(): f.decode() for v, f in zip(found[::2], found[1::2], strict=True)}

    # evaluations and decisions

    def evaluation(self, model: str) -> Evaluation:
        """What the last evaluation left; an empty one before the first."""
        found = self._store.do("GET", _key(model, "evaluation"))
        return msgspec.json.decode(found, type=Evaluation) if found else Evaluation(model)

    def record(self, evaluation: Evaluation, decision: DecisionRecord | None, counted: Iterable[str]) -> None:
        """One evaluation, at once: its state, the decision where it is worth keeping, and counters raised by one."""
        chain, state = self.chain(evaluation.model), msgspec.json.encode(evaluation)
        if decision is None:
            chain.write(state, counted)
        else:
            chain.append("decision", decision.id, decision, evaluation=state, counted=list(counted))

    def watch(self, model: str) -> Watch | None:
        """The release that is being watched, if one is."""
        found = self._store.do("GET", _key(model, "watch"))
        return msgspec.json.decode(found, type=Watch) if found else None

    def save_watch(self, model: str, watch: Watch | None) -> None:
        """What is watched from now on; None ends it."""
        if watch is None:
            self._store.do("DEL", _key(model, "watch"))
        else:
            self._store.do("SET", _key(model, "watch"), msgspec.json.encode(watch))

    def decision(self, model: str, decision_id: str) -> DecisionRecord | None:
        (place,) = self.chain(model).places([decision_id])
        if place is not None:
            return next(iter(self._records(model, [place], DecisionRecord)), None)
        found = self._store.do("HGET", _key(model, "decisions"), decision_id)
        return msgspec.json.decode(found, type=DecisionRecord) if found else None

    def decisions(self, model: str, newest: int = 100) -> list[DecisionRecord]:
        """The newest kept decisions, newest first."""
        order = self.chain(model).newest("decision", newest)
        numbers = [int(word) for word in order if word.isdecimal()]
        older = [word for word in order if not word.isdecimal()]
        found = self._store.do("HMGET", _key(model, "decisions"), *older) if older else []
        kept = [*_decode_all(found, DecisionRecord), *self._records(model, numbers, DecisionRecord)]
        return kept[::-1]

    def find_decision(self, decision_id: str) -> DecisionRecord | None:
        """A decision of any model."""
        return next((d for m in self.models() if (d := self.decision(m, decision_id))), None)

    # acts of people, and the chain that all of it is an entry of

    def record_act(self, act: Act) -> Head:
        """Keep for ever what a person did, once: the same act again is no second entry. Gives the chain's new head."""
        said = msgspec.json.encode(act)
        return self.chain(act.model).append("act", f"a-{hashlib.sha256(said).hexdigest()[:16]}", act)

    def acts(self, model: str, newest: int = 100) -> list[Act]:
        """The newest acts, newest first."""
        numbers = [int(word) for word in self.chain(model).newest("act", newest)]
        return self._records(model, numbers, Act)[::-1]

    def chain(self, model: str) -> Chain:
        """Every decision and act of a model, and what labels made of them later, in the order of writing."""
        return Chain(self._store, model)

    def unchained(self, model: str) -> int:
        """How many decisions are older than the chain."""
        return int(self._store.do("HLEN", _key(model, "decisions")))

    # triggers, and what labels made of them

    def open_trigger(self, decision: DecisionRecord) -> None:
        """Note that labels may tell whether a decision asked with reason. Before the decision is kept, or with it."""
        self._store.do("SADD", _key(decision.model, "triggers"), decision.id)

    def open_triggers(self, model: str) -> list[str]:
        """The decisions that wait for their labels, oldest first."""
        return sorted(found.decode() for found in self._store.do("SMEMBERS", _key(model, "triggers")))

    def drop_trigger(self, model: str, decision_id: str) -> None:
        self._store.do("SREM", _key(model, "triggers"), decision_id)

    def record_confirmed(self, confirmed: Confirmed) -> None:
        """Keep for ever, once for each decision, what labels made of its trigger, and count it."""
        name, counted = f"c-{confirmed.decision}", [f"triggers:{confirmed.end}"]
        self.chain(confirmed.model).append("confirmation", name, confirmed, counted=counted)
        self.drop_trigger(confirmed.model, confirmed.decision)

    def confirmed(self, model: str, decision_ids: Sequence[str]) -> dict[str, Confirmed]:
        """What labels made of the triggers of these decisions, where that is settled."""
        chain = self.chain(model)
        numbers = [place for place in chain.places([f"c-{each}" for each in decision_ids]) if place is not None]
        return {each.decision: each for each in self._records(model, numbers, Confirmed)}

    # policies by what they said

    def keep_policy(self, policy: Policy) -> None:
        """Keep what the policy says for ever, under the digest that its decisions name it by."""
        kept = _key(policy.model, "policies")
        self._store.do("HSETNX", kept, digest(policy), msgspec.json.encode(dump(replace(policy, shadow=False))))

    def policy_text(self, model: str, policy_digest: str) -> bytes | None:
        """What a policy of the model said, as JSON of which `policy_digest` is the SHA-256."""
        text: bytes | None = self._store.do("HGET", _key(model, "policies"), policy_digest)
        return text

    def _records(self, model: str, numbers: Sequence[int], kind: type[Record]) -> list[Record]:
        entries = _decode_all(self.chain(model).read(numbers), Entry)
        return _decode_all((entry.record for entry in entries), kind)

    # retrainings

    def open_retraining(self, retraining: Retraining) -> bool:
        """Record a retraining before anything is launched; a wish or a yes for it is done with that.

        False where it exists: a name is used once.
        """
        names = [_key(retraining.model, name) for name in ("retrainings", "retraining-order", "requests")]
        words: list[Word] = [retraining.id, msgspec.json.encode(retraining), "retrain", "approve"]
        return bool(self._store.run("open", names, words))

    def save_retraining(self, retraining: Retraining, counted: Iterable[str] = ()) -> Retraining:
        """The next state of a retraining as it was read, and counters raised by one; gives it as it stands now.

        A finished one stays as it is.

        Raises:
            RetrainingMoved: somebody else brought it further since; nothing was changed.
        """
        before = self.retraining(retraining.model, retraining.id)
        if before is not None and before.is_finished and before.revision == retraining.revision:
            return before
        after = replace(retraining, revision=retraining.revision + 1)
        if after.is_finished:
            counted = (*counted, f"retrainings:{after.state}")
        names = [_key(after.model, name) for name in ("retrainings", "counts")]
        words: list[Word] = [after.id, retraining.revision, msgspec.json.encode(after), *counted]
        if not self._store.run("go_on", names, words):
            raise RetrainingMoved(retraining)
        return after

    def retraining(self, model: str, retraining_id: str) -> Retraining | None:
        found = self._store.do("HGET", _key(model, "retrainings"), retraining_id)
        return msgspec.json.decode(found, type=Retraining) if found else None

    def retrainings(self, model: str, newest: int = 100) -> list[Retraining]:
        """Newest first."""
        order = self._store.do("LRANGE", _key(model, "retraining-order"), -newest, -1)
        if not order:
            return []
        return _decode_all(reversed(self._store.do("HMGET", _key(model, "retrainings"), *order)), Retraining)

    def trying(self, model: str) -> Retraining | None:
        """The retraining whose challenger is on trial, if one is; it is always the newest."""
        newest = self.retrainings(model, 1)
        return newest[0] if newest and newest[0].state == "trying" else None

    # wishes of people, faults, counters

    def put_request(self, model: str, request: Request) -> None:
        self._store.do("HSET", _key(model, "requests"), request.verb, msgspec.json.encode(request))

    def request(self, model: str, verb: str) -> Request | None:
        found = self._store.do("HGET", _key(model, "requests"), verb)
        return msgspec.json.decode(found, type=Request) if found else None

    def drop_request(self, model: str, verb: str) -> None:
        self._store.do("HDEL", _key(model, "requests"), verb)

    def mark_faulty(self, model: str, slices: Iterable[int]) -> None:
        """Remember slices with a broken feed: their labels count against no model, and nothing learns from them."""
        marked = [word for s in slices for word in (s, s)]
        if marked:
            self._store.do("ZADD", _key(model, "faulty"), *marked)

    def faulty_slices(self, model: str) -> set[int]:
        """Starts of the slices with a broken feed, in unix seconds."""
        return {int(s) for s in self._store.do("ZRANGE", _key(model, "faulty"), 0, -1)}

    def count(self, model: str, field: str, by: int = 1) -> None:
        self._store.do("HINCRBY", _key(model, "counts"), field, by)

    def counts(self, model: str) -> dict[str, int]:
        """Counters of a model, `decisions:hold` and the like."""
        found = self._store.do("HGETALL", _key(model, "counts"))
        return {k.decode(): int(v) for k, v in zip(found[::2], found[1::2], strict=True)}


def _key(model: str, *parts: str) -> str:
    return keys.key(f"m:{model}", *parts)


def _unpack(packed: bytes | None) -> Baseline | BaselineMismatch:
    try:
        return Baseline.from_bytes(packed or b"")
    except BaselineMismatch as error:
        return error.with_traceback(None)


def _decode_all(found: Iterable[bytes | msgspec.Raw], kind: type[Record]) -> list[Record]:
    return [msgspec.json.decode(each, type=kind) for each in found]
