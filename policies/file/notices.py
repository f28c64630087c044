"""What a model may send notices of; the policy names those it wants."""

from collections.abc import Mapping

NOTICE_KINDS: Mapping[str, str] = {
    "retraining_opened": "A retraining was decided on and opened.",
    "awaiting_approval": "A retraining is in order and waits for a person's yes; said again once a day.",
    "retraining_ended": "A retraining was released, refused, failed or cancelled.",
    "rolled_back": "The version before is the champion again, by the watch or by a person.",
    "regression": "A release is worse than what it replaced, and the policy leaves the rollback to a person.",
    "data_fault": "The input broke, or has been whole again for five slices.",
    "policy_refused": "The policy file was edited and cannot be used; the last good one stays in force.",
    "blind": "No rows come any more, or the champion has no baseline that can be read.",
}
"""Kind → when it is sent. Each is worth a person's minute; what drifts without a consequence is none of them."""

DEFAULT_NOTICES = tuple(kind for kind in NOTICE_KINDS if kind != "retraining_opened")
"""All but the opening of a retraining, since its end is told anyway."""
