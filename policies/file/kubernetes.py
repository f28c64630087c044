"""The trainer that is a Kubernetes Job: what the policy may say of it, in the words of Kubernetes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from policies.file.kinds import Leaf, one_of, span, text, whole
from policies.file.shapes import OrNothing, Part, Several, Table, about
from policies.file.tree import ScalarNode

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_QUANTITY_FORM = r"\d+(\.\d+)?(m|[kMGTPE]i?|Ki)?"
_QUANTITY = "a quantity like 2, 500m or 8Gi"
_NAME = text("a name of Kubernetes, like ml-training", r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_NAMESPACE = text("a namespace, like ml-training", r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL = text("a label's value", r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_IMAGE = text("an image, like registry.example/trainer@sha256:…", r"[^\s@]{1,400}(@[^\s@]{1,140})?")


def is_fixed(image: str) -> bool:
    """Whether an image is named by its digest, so that it is the same whoever pulls it."""
    return "@sha256:" in image


def unfixed(image: str) -> str:
    """What to say of one that is not."""
    return f"{image} has no digest, so what trains can change unseen: name it as image@sha256:…"


def _quantity() -> Leaf:
    pattern = text(_QUANTITY, _QUANTITY_FORM)

    def convert(node: ScalarNode) -> str:
        # A bare 2 is a number to YAML and a quantity to Kubernetes.
        plain = ScalarNode(node.line, node.column, node.text, "text") if node.sort == "number" else node
        return str(pattern.convert(plain))

    return Leaf(_QUANTITY, convert, str, {"anyOf": [pattern.schema(), {"type": "number", "minimum": 0}]})


@dataclass(frozen=True)
class JobResources:
    """What the container asks for, and what it may not go beyond."""

    requests: tuple[tuple[str, str], ...] = field(
        default=(), metadata=about(Table(_quantity()), "What a node must have free, like {cpu: 2, memory: 8Gi}.")
    )
    limits: tuple[tuple[str, str], ...] = field(
        default=(), metadata=about(Table(_quantity()), 'The most it gets, like {memory: 8Gi, "nvidia.com/gpu": 1}.')
    )


@dataclass(frozen=True)
class Toleration:
    """A taint of nodes that the pod may run on all the same."""

    key: str | None = field(default=None, metadata=about(OrNothing(text()), "The taint's key; none: every taint."))
    operator: str = field(
        default="Equal", metadata=about(one_of("Equal", "Exists"), "Whether its value is compared, or its key only.")
    )
    value: str | None = field(default=None, metadata=about(OrNothing(_LABEL), "The taint's value, for Equal."))
    effect: str | None = field(
        default=None,
        metadata=about(
            OrNothing(one_of("NoSchedule", "PreferNoSchedule", "NoExecute")), "The taint's effect; none: each."
        ),
    )

    def problems(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.operator == "Exists" and self.value:
            yield ("value",), "`operator: Exists` compares no value; leave one of the two out"
        if self.key is None and self.operator != "Exists":
            yield (), "without a key every taint is meant, which is `operator: Exists`"


@dataclass(frozen=True)
class KubernetesTrainer:
    """A Kubernetes Job: from an image, from the Job in a template file, or the builtin trainer in a Job of its own."""

    kind: ClassVar[str] = "kubernetes"
    image: str | None = field(
        default=None,
        metadata=about(
            OrNothing(_IMAGE),
            "The container image that trains, by digest. Without one: the template's, else TIDEGATE_TRAINER_IMAGE with "
            "the builtin trainer.",
        ),
    )
    command: tuple[str, ...] = field(
        default=(), metadata=about(Several(text()), "Command and arguments in the container; empty: the image's own.")
    )
    template: str | None = field(
        default=None,
        metadata=about(
            OrNothing(text()),
            "A Job manifest, like jobs/train.yaml below the policies; what the policy says goes over what it says.",
        ),
    )
    namespace: str | None = field(
        default=None,
        metadata=about(OrNothing(_NAMESPACE), "Where the Job runs; the service's own namespace where not given."),
    )
    service_account: str | None = field(
        default=None, metadata=about(OrNothing(_NAME), "The pod's service account; without one it gets no token.")
    )
    env: tuple[tuple[str, str], ...] = field(
        default=(), metadata=about(Table(text()), "Environment variables, beside the TIDEGATE_* that the Job gets.")
    )
    secrets: tuple[str, ...] = field(
        default=(), metadata=about(Several(_NAME), "Secrets whose keys become environment variables.")
    )
    pull_secrets: tuple[str, ...] = field(
        default=(), metadata=about(Several(_NAME), "Secrets with the credentials of the image's registry.")
    )
    resources: JobResources = field(
        default=JobResources(), metadata=about(Part(JobResources), "Processor, memory and devices of the container.")
    )
    node_selector: tuple[tuple[str, str], ...] = field(
        default=(), metadata=about(Table(_LABEL), "Labels that a node must have.")
    )
    tolerations: tuple[Toleration, ...] = field(
        default=(), metadata=about(Several(Part(Toleration)), "Taints of nodes that do not matter.")
    )
    retries: int = field(
        default=1,
        metadata=about(whole(0, 10), "Pods started anew after a failure. One that a node lost or gave up counts not."),
    )
    keep: timedelta = field(
        default=timedelta(days=1),
        metadata=about(span(timedelta(seconds=1)), "How long a finished Job stays to be looked at, with its log."),
    )
    timeout: timedelta = field(
        default=timedelta(hours=6),
        metadata=about(span(timedelta(seconds=1)), "How long a retraining may take before it counts as failed."),
    )

    def problems(self) -> Iterable[tuple[tuple[str, ...], str]]:
        for name, _ in self.env:
            if not _VARIABLE.fullmatch(name):
                yield ("env", name), f"{name!r} is no name of an environment variable, like LEARNING_RATE"
            elif name.startswith("TIDEGATE_"):
                yield ("env", name), f"{name} belongs to the service, which sets what the Job needs of TIDEGATE_*"
