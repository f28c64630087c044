"""Why a model would or would not be retrained now, on what is in the store at this moment; nothing is recorded."""

from dataclasses import replace
from datetime import datetime

from policies.explanation import Explanation, explain
from policies.file.parse import digest
from policies.file.policy import Policy
from service.deciding.sight import Sights
from service.errors import ServiceError
from service.house import House
from service.shadows.ledger import Shadow, ShadowLedger
from service.shadows.shadows import carried, check_task, heard, history_of_shadow


class NothingToExplain(ServiceError):
    """No policy of this model and name is in force."""


class Explaining:
    """Explains any model; remembers the comparisons of the baselines it has seen. May be used by several threads."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._sights = Sights(house)

    def explain(self, model: str, segment: str | None = None, shadow: str | None = None) -> Explanation:
        """What the next evaluation would decide, of one segment or of those nearest to a retraining.

        The last twin test counts; none is made. With `shadow` the same of that shadow policy. A model without a
        baseline is blind: then only `missing` and `summary` say anything.

        Raises:
            NothingToExplain: the model has no policy, or no shadow of this name.
            ShadowUnfit: the shadow is for another task.
            SegmentUnknown: there is no such segment.
        """
        policy, now = self._policy(model), self._house.clock()
        asked = self._shadow(model, shadow) if shadow is not None else policy
        sight = self._sights.look(policy, now)
        if sight is None:
            return _blind(asked, self._house, now)
        if shadow is None:
            return explain(policy, self._sights.read(policy, sight), self._sights.history(sight), now, segment)
        check_task(asked, policy)
        known = ShadowLedger(self._house.store).shadows(model).get(shadow) or Shadow(shadow)
        history = history_of_shadow(self._sights, sight, carried(known, sight.counted.baseline.version, now))
        found = explain(heard(asked), self._sights.read(asked, sight), history, now, segment)
        return replace(found, policy=digest(asked))

    def _policy(self, model: str) -> Policy:
        policy = self._house.policies.policy(model)
        if policy is None:
            folder = self._house.policies.folder
            raise NothingToExplain(f"model {model} has no policy, so nothing is decided: put its file into {folder}")
        return policy

    def _shadow(self, model: str, name: str) -> Policy:
        shadows = self._house.policies.shadows(model)
        if name not in shadows:
            listed = f"there are: {', '.join(sorted(shadows))}" if shadows else "there is none"
            raise NothingToExplain(
                f"model {model} has no shadow policy {name[:100]!r}; {listed}. A shadow is a policy file of the model "
                f"with `shadow: true` in {self._house.policies.folder}, named as its file without the ending"
            )
        return shadows[name].policy


def _blind(policy: Policy, house: House, now: datetime) -> Explanation:
    why = house.ledger.blindness(policy.model) or "Its baseline cannot be read."
    return Explanation(
        model=policy.model,
        version=house.ledger.champion(policy.model),
        at=now,
        policy=digest(policy),
        baseline="",
        action="hold",
        segment=None,
        prospects=(),
        manual="",
        holds=(),
        nearest=None,
        missing=(why,),
        summary=f"blind, so nothing is decided: {why}",
    )
