"""The policy folder: one YAML file a model, watched. A bad edit never replaces a good policy."""

import logging
from dataclasses import dataclass
from pathlib import Path

from policies.errors import PolicyInvalid
from policies.parse import parse
from policies.policy import Policy
from policies.without_effect import without_effect

_log = logging.getLogger(__name__)
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class PolicyState:
    """The policy in force for a model, its file, and what is wrong with the file's newest text, if anything."""

    policy: Policy
    file: Path
    text: str
    problem: str = ""

    @property
    def is_current(self) -> bool:
        return not self.problem


class PolicyFolder:
    """The policies in force. `reload` reads what changed; nothing else reads files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[Path, tuple[int, int]] = {}
        self._states: dict[str, PolicyState] = {}
        self._orphans: dict[Path, str] = {}

    def reload(self) -> list[str]:
        """Read new and changed files; the names of the models whose policy changed.

        A file that cannot be parsed leaves the last good policy of its model in force, with the problem beside it. A
        file that goes away takes its policy with it.
        """
        changed = []
        files = sorted(p for p in self.folder.glob("*") if p.suffix in SUFFIXES) if self.folder.is_dir() else []
        for file in set(self._seen) - set(files):
            changed += self._forget(file)
        for file in files:
            try:
                stat = file.stat()
                stamp = (stat.st_mtime_ns, stat.st_size)
                if self._seen.get(file) == stamp:
                    continue
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                self._refuse(file, f"{file}: cannot be read: {error}")
                continue
            self._seen[file] = stamp
            changed += self._take(file, text)
        return changed

    def policy(self, model: str) -> Policy | None:
        """The policy in force for a model."""
        state = self._states.get(model)
        return state.policy if state else None

    def states(self) -> dict[str, PolicyState]:
        """Model → what is in force."""
        return dict(self._states)

    def problems(self) -> dict[str, str]:
        """File → what is wrong with it, for files that never held a good policy."""
        return {str(file): problem for file, problem in self._orphans.items()}

    def _take(self, file: Path, text: str) -> list[str]:
        try:
            policy = parse(text, str(file))
        except PolicyInvalid as error:
            self._refuse(file, str(error))
            return []
        other = self._states.get(policy.model)
        if other is not None and other.file != file and other.file in self._seen:
            self._refuse(file, f"{file}: model {policy.model} already has its policy in {other.file}; one file a model")
            return []
        self._orphans.pop(file, None)
        renamed = [model for model, state in self._states.items() if state.file == file and model != policy.model]
        for model in renamed:
            del self._states[model]
        self._states[policy.model] = PolicyState(policy, file, text)
        _log.info("policy of %s loaded from %s", policy.model, file)
        for sentence in without_effect(policy):
            _log.warning("policy of %s: %s", policy.model, sentence)
        return [policy.model, *renamed]

    def _refuse(self, file: Path, problem: str) -> None:
        for model, state in self._states.items():
            if state.file == file:
                self._states[model] = PolicyState(state.policy, file, state.text, problem)
                _log.error("bad edit of the policy of %s; the last good one stays in force: %s", model, problem)
                return
        self._orphans[file] = problem
        _log.error("no policy: %s", problem)

    def _forget(self, file: Path) -> list[str]:
        del self._seen[file]
        self._orphans.pop(file, None)
        gone = [model for model, state in self._states.items() if state.file == file]
        for model in gone:
            del self._states[model]
            _log.warning("policy of %s is gone with its file %s", model, file)
        return gone
