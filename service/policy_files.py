"""The policy folder: a YAML file a model, its shadows, defaults for all; watched. A bad edit replaces nothing good."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from policies.errors import PolicyInvalid
from policies.file.inherit import Defaults
from policies.file.parse import parse
from policies.file.policy import Policy
from policies.file.without_effect import without_effect
from service.policy_reading import SUFFIXES, DefaultsState, Stamp, is_defaults, stamp_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PolicyState:
    """The last good policy of a file, and what is wrong with the newest text of it or of the defaults, if anything."""

    policy: Policy
    file: Path
    text: str
    problem: str = ""

    @property
    def is_current(self) -> bool:
        return not self.problem


@dataclass(frozen=True)
class _Newest:
    """What stands in a file, over these defaults: a policy, or what is wrong. Without a stamp it is read again."""

    stamp: Stamp | None
    defaults: Defaults | None
    text: str
    policy: Policy | None
    problem: str


class PolicyFolder:
    """The policies in force, and their shadows. `reload` reads what changed; nothing else reads files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._defaults = DefaultsState()
        self._newest: dict[Path, _Newest] = {}
        self._good: dict[Path, PolicyState] = {}
        self._states: dict[str, PolicyState] = {}
        self._shadows: dict[str, dict[str, PolicyState]] = {}
        self._orphans: dict[Path, str] = {}

    def reload(self) -> list[str]:
        """Read new and changed files; the names of the models whose policy in force changed.

        A file that cannot be taken leaves its last good policy in force, with the problem beside it. A file that goes
        away takes its policy with it. Defaults that cannot be taken leave all policies as they are.
        """
        files = sorted(p for p in self.folder.glob("*") if p.suffix in SUFFIXES) if self.folder.is_dir() else []
        tops = [file for file in files if is_defaults(file)]
        defaults = self._defaults.look(tops[0] if tops else None)
        newest = {file: self._read(file, defaults) for file in files if file not in tops}
        newest |= {file: _second(file, tops[0]) for file in tops[1:]}
        if (newest, defaults) == (self._newest, self._defaults):
            return []
        good, problems = _settle(newest, self._good, self._states)
        if defaults.problem:
            good = {file: replace(state, problem=state.problem or defaults.problem) for file, state in good.items()}
        self._tell(good, problems, defaults)
        self._defaults = defaults
        before, self._newest, self._good = self._states, newest, good
        self._states = {state.policy.model: state for state in good.values() if not state.policy.shadow}
        self._shadows = _by_model([state for state in good.values() if state.policy.shadow])
        self._orphans = {file: problem for file, problem in problems.items() if not self._is_in_force(file)}
        models = sorted({*before, *self._states})
        return [model for model in models if _policy(before, model) != _policy(self._states, model)]

    def policy(self, model: str) -> Policy | None:
        """The policy in force for a model."""
        return _policy(self._states, model)

    def states(self) -> dict[str, PolicyState]:
        """Model → what is in force."""
        return dict(self._states)

    def shadows(self, model: str) -> dict[str, PolicyState]:
        """The model's shadows, by their files' names without suffix; empty where no policy is in force for it."""
        return dict(self._shadows.get(model, {})) if model in self._states else {}

    def problems(self) -> dict[str, str]:
        """File → what is wrong with it, for files that hold no policy in force: shadows, and those never good.

        The defaults are among them while there is no model to tell it of.
        """
        top = {self._defaults.file: self._defaults.problem} if self._defaults.problem and not self._states else {}
        return {str(file): problem for file, problem in (top | self._orphans).items()}

    def defaults(self) -> Defaults | None:
        """What every file of the folder inherits; None where nothing."""
        return self._defaults.defaults

    def is_current(self, model: str) -> bool:
        """Whether the newest text of every file of the model is what holds."""
        states = [state for state in self._good.values() if state.policy.model == model]
        return all(state.is_current for state in states)

    def _read(self, file: Path, top: DefaultsState) -> _Newest:
        known, below = self._newest.get(file), top.defaults
        if top.problem and below is None:
            return _Newest(None, None, "", None, f"{file}: not taken, for what it inherits cannot be: {top.problem}")
        try:
            stamp = stamp_of(file)
            if known and known.stamp == stamp and known.defaults is below:
                return known
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            return _Newest(None, below, "", None, f"{file}: cannot be read: {error}")
        try:
            return _Newest(stamp, below, text, parse(text, str(file), below), "")
        except PolicyInvalid as error:
            return _Newest(stamp, below, text, None, str(error))

    def _is_in_force(self, file: Path) -> bool:
        state = self._good.get(file)
        return state is not None and not state.policy.shadow

    def _tell(self, good: Mapping[Path, PolicyState], problems: Mapping[Path, str], defaults: DefaultsState) -> None:
        """Log what is new: problems, policies, and files that are gone."""
        if defaults.problem and defaults.problem != self._defaults.problem:
            _log.error("bad edit of the defaults; every last good policy stays in force: %s", defaults.problem)
        for file, problem in problems.items():
            before, now = self._good.get(file), good.get(file)
            if problem in {self._orphans.get(file), before.problem if before else None}:
                continue
            if now is not None and now.problem:
                told = "bad edit of the policy of %s; the last good one stays in force: %s"
                _log.error(told, now.policy.model, problem)
            else:
                _log.error("no policy: %s", problem)
        for file, state in good.items():
            if file not in self._good or self._good[file].policy != state.policy:
                role = "shadow policy" if state.policy.shadow else "policy"
                _log.info("%s of %s loaded from %s", role, state.policy.model, file)
                for sentence in without_effect(state.policy):
                    _log.warning("%s of %s: %s", role, state.policy.model, sentence)
        for file in self._good.keys() - good.keys():
            _log.warning("policy of %s is gone with its file %s", self._good[file].policy.model, file)


def _settle(
    newest: Mapping[Path, _Newest], before: Mapping[Path, PolicyState], states: Mapping[str, PolicyState]
) -> tuple[dict[Path, PolicyState], dict[Path, str]]:
    """What holds of each file, and what is wrong with the newest text of some.

    A text that cannot be taken leaves the file's last good policy. One file a model, the one in force first; of shadows
    one a name. A file that comes second keeps what it held before, if that is not taken either.
    """
    problems = {file: each.problem for file, each in newest.items() if each.problem}
    wished = [PolicyState(each.policy, file, each.text) for file, each in newest.items() if each.policy]
    wished += [replace(before[file], problem=problem) for file, problem in problems.items() if file in before]
    in_force = {state.file for state in states.values()}
    wished.sort(key=lambda state: (state.file not in in_force, state.file))
    taken: dict[tuple[str, str], PolicyState] = {}
    for state in [state for state in wished if taken.setdefault(_place(state), state) is not state]:
        file, model, other = state.file, state.policy.model, taken[_place(state)].file
        problems[file] = f"{file}: model {model} already has its policy in {other}; one file a model"
        if file in before:
            old = replace(before[file], problem=problems[file])
            taken.setdefault(_place(old), old)
    good = {state.file: state for state in taken.values()}
    return good, problems | _unled(good)


def _unled(good: Mapping[Path, PolicyState]) -> dict[Path, str]:
    """Shadows of models without a policy in force."""
    led = {state.policy.model for state in good.values() if not state.policy.shadow}
    return {
        file: f"{file}: a shadow needs a policy in force beside it, and model {state.policy.model} has none: "
        "add its file, or take `shadow` out of this one"
        for file, state in good.items()
        if state.policy.model not in led and not state.problem
    }


def _second(file: Path, first: Path) -> _Newest:
    return _Newest(None, None, "", None, f"{file}: the defaults are in {first} already: keep one of them")


def _place(state: PolicyState) -> tuple[str, str]:
    return state.policy.model, state.file.stem if state.policy.shadow else ""


def _by_model(states: list[PolicyState]) -> dict[str, dict[str, PolicyState]]:
    found: dict[str, dict[str, PolicyState]] = {}
    for state in sorted(states, key=lambda state: state.file):
        found.setdefault(state.policy.model, {})[state.file.stem] = state
    return found


def _policy(states: Mapping[str, PolicyState], model: str) -> Policy | None:
    state = states.get(model)
    return state.policy if state else None
