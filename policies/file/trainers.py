"""The trainers a policy may name: who makes the new model."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from policies.file.kinds import one_of, span, text
from policies.file.kubernetes import KubernetesTrainer
from policies.file.shapes import OrNothing, Several, about

__all__ = ["TRAINERS", "BuiltinTrainer", "CommandTrainer", "KubernetesTrainer", "Trainer", "WebhookTrainer"]

_TIMEOUT = span(timedelta(seconds=1))
_WORDS = Several(text(), at_least=1)
_DEADLINE = "How long a retraining may take before it counts as failed."
_VARIABLE = text("the name of an environment variable, like TRAINER_SECRET", r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True)
class BuiltinTrainer:
    """The scikit-learn trainer that comes with the service, as a child process."""

    kind: ClassVar[str] = "builtin"
    timeout: timedelta = field(default=timedelta(hours=1), metadata=about(_TIMEOUT, _DEADLINE))


@dataclass(frozen=True)
class CommandTrainer:
    """A command on the machine of the service; it finds its task in the environment."""

    kind: ClassVar[str] = "command"
    command: tuple[str, ...] = field(metadata=about(_WORDS, "The program and its arguments; no shell reads them."))
    timeout: timedelta = field(default=timedelta(hours=6), metadata=about(_TIMEOUT, _DEADLINE))


@dataclass(frozen=True)
class WebhookTrainer:
    """A signed POST that starts the user's own pipeline, which reports back by callbacks."""

    kind: ClassVar[str] = "webhook"
    url: str = field(
        metadata=about(text("an http or https address", r"https?://[^\s]{1,480}"), "Where the request is posted.")
    )
    secret_env: str = field(
        metadata=about(_VARIABLE, "The environment variable that holds the secret for signatures, both ways.")
    )
    format: str = field(
        default="cloudevents",
        metadata=about(
            one_of("cloudevents", "github", "airflow"), "The form of the request, as its receiver takes it."
        ),
    )
    authorization_env: str | None = field(
        default=None,
        metadata=about(
            OrNothing(_VARIABLE), "The environment variable that holds an Authorization header, like `Bearer …`."
        ),
    )
    timeout: timedelta = field(default=timedelta(hours=24), metadata=about(_TIMEOUT, _DEADLINE))


Trainer = BuiltinTrainer | CommandTrainer | KubernetesTrainer | WebhookTrainer
TRAINERS: dict[str, type[Trainer]] = {
    part.kind: part for part in (BuiltinTrainer, CommandTrainer, KubernetesTrainer, WebhookTrainer)
}
