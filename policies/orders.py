"""What people ordered besides the policy file, heard as if it stood there."""

from dataclasses import replace

from policies.decision import History
from policies.file.policy import Policy


def with_orders(policy: Policy, history: History) -> Policy:
    """The policy as it is heard now: its own silences and those of the history.

    Freezes stay in the history, for `hold.frozen` says whose they are. The digest of a decision is that of the file.
    """
    return replace(policy, silences=policy.silences + history.silences) if history.silences else policy
