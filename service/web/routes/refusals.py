"""What can go wrong between a request and the service.

Refusal (a ServiceError)
├── Unknown               nothing of this name is here
│   └── UnknownModel      no model of this name is here
├── NotYet                it is being made
├── NotPossible           it is there, but not in a state that allows this
├── BadRequest            a header or field of the request cannot be used
├── WrongType             the body's Content-Type or Content-Encoding is not read here
├── BodyTooLarge          the body has more bytes than allowed
│   └── UploadTooLarge    what a trainer sends has
├── BodyTooSlow           the body did not arrive in time
├── Occupied              it is done one at a time, and one is being done
└── Crowded               too many bytes of other bodies are being read
"""

from collections.abc import Sequence

from service.errors import ServiceError


class Refusal(ServiceError):
    """Root of what is refused at the HTTP edge."""


class Unknown(Refusal):
    """Nothing of this name is here."""


class UnknownModel(Unknown):
    """No model of this name is here; `models` are those that are."""

    def __init__(self, model: str, known: Sequence[str], policies: str) -> None:
        listed = f"there are: {', '.join(known)}" if known else "there are none yet"
        super().__init__(
            f"there is no model {model[:80]!r}; {listed}. To add one, put its policy file into {policies}, or build "
            f"its first baseline (tidegate baseline build FILE --model {model[:80]} --version V, or POST "
            f"/v1/models/{model[:80]}/baselines)"
        )
        self.model = model
        self.models = tuple(known)


class NotYet(Refusal):
    """It is being made; asking again later will find it."""


class NotPossible(Refusal):
    """It is there, but its state does not allow this."""


class BadRequest(Refusal):
    """A header or field of the request cannot be used."""


class WrongType(Refusal):
    """The body's Content-Type or Content-Encoding is not read here."""

    def __init__(self, header: str, seen: str, allowed: Sequence[str], hint: str = "") -> None:
        shown = f"{header} {seen[:80]!r}" if seen else f"a body without {header}"
        super().__init__(f"{shown} is not read here; allowed: {', '.join(allowed)}{hint and f'. {hint}'}")
        self.allowed = tuple(allowed)


class BodyTooLarge(Refusal):
    """The body has more bytes than allowed; it was not read to its end."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the body is larger than the {limit} bytes allowed (TIDEGATE_MAX_BODY_BYTES); nothing of it was taken: "
            "split it into several bodies"
        )
        self.limit = limit


class UploadTooLarge(BodyTooLarge):
    """What a trainer sends has more bytes than allowed; nothing of it was kept."""

    def __init__(self, limit: int) -> None:
        Refusal.__init__(
            self,
            f"this is larger than the {limit} bytes allowed (TIDEGATE_MAX_UPLOAD_BYTES); nothing of it was kept: send "
            "Parquet, which is the smallest, or have the operator raise the limit",
        )
        self.limit = limit


class BodyTooSlow(Refusal):
    """The body did not arrive in time."""

    def __init__(self, seconds: float, read: int) -> None:
        super().__init__(
            f"the body did not arrive within {seconds:g} s ({read} bytes did); nothing of it was taken: send it again, "
            "in smaller bodies where the line is slow"
        )


class Occupied(Refusal):
    """It is done one at a time, and one is being done."""

    retry_after_seconds = 10

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}, and one is done at a time: ask again after Retry-After")


class Crowded(Refusal):
    """Too many bytes of other bodies are being read at this moment."""

    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__("too many large bodies are being read at this moment: send this one again in a second")
