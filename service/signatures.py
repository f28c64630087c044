"""Signatures by Standard Webhooks 1.0.0 (https://www.standardwebhooks.com), of what is sent and of what comes back."""

import base64
import binascii
import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta

from service.errors import ServiceError

SECRET_PREFIX = "whsec_"  # noqa: S105  what every secret begins with
SECRET_FORM = "`whsec_` and 24 to 64 bytes in base64 are needed: echo whsec_$(openssl rand -base64 32)"  # noqa: S105  words
TOLERANCE = timedelta(minutes=5)
"""So far may the sender's clock be from ours, and so old may a message be."""
# A full stop parts the id from the time: with one of its own a signature could be read in two ways.
_IDENTITY = re.compile(r"[!-\-/-~]{1,255}")


class BadSignature(ServiceError):
    """A message is not signed as it should be."""


def is_secret(text: str) -> bool:
    """Whether a text is a secret: `whsec_` and 24 to 64 bytes in base64."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(SECRET_PREFIX) and 24 <= len(key) <= 64


def is_identity(text: str) -> bool:
    """Whether a text can be a `webhook-id`: 1 to 255 visible ASCII characters without a full stop."""
    return _IDENTITY.fullmatch(text) is not None


def sign(secret: str, identity: str, at: str, body: bytes) -> str:
    """`v1,` and the base64 of the HMAC-SHA256 over `id.timestamp.body`, by Standard Webhooks.

    >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """  # noqa: E501  the example of the specification's reference libraries
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{identity}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def check_signature(secret: str, identity: str, at: str, signatures: str, body: bytes, now: datetime) -> None:
    """That one of these signatures, parted by spaces, is ours, and `at` (unix seconds) is about now.

    Raises:
        BadSignature: it is not; the message says what is wrong with it.
    """
    if not is_identity(identity):
        raise BadSignature("a webhook-id of 1 to 255 visible ASCII characters without a full stop is needed")
    if not (at.isascii() and at.isdecimal() and len(at) <= 11):
        raise BadSignature("a webhook-timestamp in whole unix seconds is needed")
    expected = sign(secret, identity, at, body).encode()
    if not any(hmac.compare_digest(expected, each.encode()) for each in signatures.split()[:10]):
        raise BadSignature(
            "no signature of webhook-signature fits: is it made with the same secret, over `id.timestamp.body`?"
        )
    apart = abs(now - datetime.fromtimestamp(int(at), UTC))
    if apart > TOLERANCE:
        raise BadSignature(
            f"its webhook-timestamp is {apart.total_seconds():.0f} s from now, {TOLERANCE.total_seconds():.0f} s are "
            "allowed: sign it anew with the time of this try, and look at both clocks"
        )
