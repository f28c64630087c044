"""Keys of a policy that this version reads and does not act on: said aloud, so that nobody relies on them."""

from datetime import timedelta

from policies.file.policy import Policy

_WHOLE = {"hour_of_day": timedelta(days=1), "hour_of_week": timedelta(days=7)}


def without_effect(policy: Policy) -> list[str]:
    """A sentence for each such key that the policy sets; empty where everything it says is done.

    >>> from policies.file.parse import parse
    >>> without_effect(parse("{model: m, task: {kind: classification}, gate: {canary: {share: 5%, for: 6h}}}"))
    ['gate.canary has no effect yet: a release takes all traffic at once']
    """
    said = {
        "window.season has no effect: all slices of this length begin at the same hour": (
            policy.window.slice >= _WHOLE.get(policy.window.season, timedelta.max)
        ),
        "gate.canary has no effect yet: a release takes all traffic at once": policy.gate.canary is not None,
        f"retrain.trainer {policy.retrain.trainer.kind} is not launched yet: a retraining will fail and say so": (
            policy.retrain.trainer.kind != "builtin"
        ),
    }
    return [sentence for sentence, applies in said.items() if applies]
