"""Keys of a policy that this version reads and does not act on: said aloud, so that nobody relies on them."""

from policies.policy import Policy


def without_effect(policy: Policy) -> list[str]:
    """A sentence for each such key that the policy sets; empty where everything it says is done.

    >>> from policies.parse import parse
    >>> without_effect(parse("{model: m, task: {kind: classification}, window: {season: hour_of_day}}"))
    ['window.season has no effect yet: every hour is compared with the whole baseline']
    """
    said = {
        "window.season has no effect yet: every hour is compared with the whole baseline": policy.window.season
        != "none",
        "gate.canary has no effect yet: a release takes all traffic at once": policy.gate.canary is not None,
        "task.outcome has no effect yet: outcomes are stored beside labels and not read": policy.task.outcome
        is not None,
        f"retrain.trainer {policy.retrain.trainer.kind} is not launched yet: a retraining will fail and say so": (
            policy.retrain.trainer.kind != "builtin"
        ),
    }
    embeddings = [name for name, kind in policy.column_kinds().items() if kind == "embedding"]
    refused = [f"columns.{name}: embeddings are not counted yet; a baseline with it is refused" for name in embeddings]
    return [*(sentence for sentence, applies in said.items() if applies), *refused]
