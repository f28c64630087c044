"""Keys of a policy that this version reads and does not act on: said aloud, so that nobody relies on them."""

from datetime import timedelta

from policies.file.policy import Policy

_WHOLE = {"hour_of_day": timedelta(days=1), "hour_of_week": timedelta(days=7)}


def without_effect(policy: Policy) -> list[str]:
    """A sentence for each such key that the policy sets; empty where everything it says is done.

    >>> from policies.file.parse import parse
    >>> without_effect(parse("{model: m, task: {kind: classification}, window: {slice: 7d, season: hour_of_week}}"))
    ['window.season has no effect: all slices of this length begin at the same hour']
    """
    said = {
        "window.season has no effect: all slices of this length begin at the same hour": (
            policy.window.slice >= _WHOLE.get(policy.window.season, timedelta.max)
        ),
    }
    return [sentence for sentence, applies in said.items() if applies]
