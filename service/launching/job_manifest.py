"""Job manifest: what a Kubernetes cluster is asked to run for an order, from an image or on a template.

What the policy says goes over what its template says; what neither says has a default that a cluster with restricted
pods takes. The same order gives the same bytes.
"""

import hashlib
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from policies.file.kubernetes import KubernetesTrainer
from service.launching.job_template import CONTAINER, training_one
from service.launching.port import Order
from service.training.training_errors import TrainingError

Manifest = dict[str, Any]
ASKED = "tidegate/asked"
"""Annotation with the hash of what was asked: so that "there already" can be told from "another of that name"."""
_LONGEST = 63
_NAME_FORM = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# Where tidegate_trainer.py works: the image's own folder may be one that its user cannot write.
_FOLDER = {"name": "TIDEGATE_FOLDER", "value": "/tmp/tidegate"}  # noqa: S108  in a container of its own
_OWN_ARGUMENTS = ("train-job",)
# Hours of training are not moved to tidy up nodes.
_STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
_POD_SECURITY = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
# A pod that a drained or lost node took with it says nothing about the training: it uses up no retry.
_DISRUPTED = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}


@dataclass(frozen=True)
class Surroundings:
    """What the service adds to an order: the namespace where the policy names none, the image of the builtin trainer,
    and the variables by which the trainer finds the service.
    """

    namespace: str
    image: str
    environment: Mapping[str, str]


class NoImage(TrainingError):
    """Nobody said which image trains."""

    def __init__(self) -> None:
        super().__init__(
            "no image to train with: set retrain.trainer.image, or image in the template's container, or "
            "TIDEGATE_TRAINER_IMAGE to the service's own image, whose builtin trainer then runs in the Job"
        )


def name_of(order: Order) -> str:
    """The name of an order's Job: a DNS label of at most 63 characters, the same whoever asks."""
    plain = f"{order.model}-{order.name}"
    if _NAME_FORM.fullmatch(plain):
        return plain
    tail = hashlib.sha256(f"{order.model}\0{order.name}".encode()).hexdigest()[:10]
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "tidegate"
    return f"{slug[: _LONGEST - len(tail) - 1].rstrip('-')}-{tail}"


def hash_of(order: Order) -> str:
    """The SHA-256 of what is asked: the order, its files by their digest, and its trainer as it was placed.

    Not of the manifest, nor of what the policy left at its defaults: an upgrade of the service in the middle of a
    training would change those, and nothing of it.
    """
    trainer = trainer_of(order)
    said = {each.name: value for each in fields(trainer) if (value := getattr(trainer, each.name)) != each.default}
    asked = [order.name, order.retraining, order.model, order.version, order.digest, said]
    return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()


def manifest_of(order: Order, around: Surroundings, template: Mapping[str, Any] | None = None) -> Manifest:
    """The Job of an order; `template` is a Job as `job_template` reads it.

    Raises:
        NoImage: neither the policy nor the template nor the service names one.
    """
    trainer = trainer_of(order)
    job: Manifest = deepcopy(dict(template or {}))
    job |= {"apiVersion": "batch/v1", "kind": "Job"}
    spec = _under(job, "spec")
    pod = _under(spec, "template")
    _name(order, trainer, around, job, pod)
    inner = _under(pod, "spec")
    _limit(trainer, spec, inner)
    _place(trainer, inner)
    _fill(trainer, around, training_one(inner.setdefault("containers", [{"name": CONTAINER}])))
    return job


def trainer_of(order: Order) -> KubernetesTrainer:
    """The order's trainer; launchers are chosen by its kind."""
    assert isinstance(order.trainer, KubernetesTrainer)  # noqa: S101  the launcher is chosen by the trainer's kind
    return order.trainer


def _name(order: Order, trainer: KubernetesTrainer, around: Surroundings, job: Manifest, pod: Manifest) -> None:
    meta = _under(job, "metadata")
    meta.pop("generateName", None)
    meta["name"] = name_of(order)
    meta["namespace"] = trainer.namespace or around.namespace
    labels = {
        # Not the chart's own name: its Service and its disruption budget would count the trainers among their pods.
        "app.kubernetes.io/name": "tidegate-trainer",
        "app.kubernetes.io/component": "trainer",
        "app.kubernetes.io/part-of": "tidegate",
        "app.kubernetes.io/managed-by": "tidegate",
        "tidegate/model": _label(order.model),
        "tidegate/retraining": _label(order.retraining),
    }
    annotations = {"tidegate/model": order.model, "tidegate/version": order.version, ASKED: hash_of(order)}
    _under(meta, "labels").update(labels)
    _under(meta, "annotations").update(annotations)
    inner = _under(pod, "metadata")
    _under(inner, "labels").update(labels)
    inner["annotations"] = _STAYS | _under(inner, "annotations")


def _limit(trainer: KubernetesTrainer, spec: Manifest, pod: Manifest) -> None:
    """How long, how often, and what stays of it."""
    seconds = max(1, round(trainer.timeout.total_seconds()))
    spec["activeDeadlineSeconds"] = min(seconds, spec.get("activeDeadlineSeconds") or seconds)
    spec.setdefault("backoffLimit", trainer.retries)
    spec.setdefault("ttlSecondsAfterFinished", round(trainer.keep.total_seconds()))
    if pod.setdefault("restartPolicy", "Never") == "Never":
        spec.setdefault("podFailurePolicy", deepcopy(_DISRUPTED))


def _place(trainer: KubernetesTrainer, pod: Manifest) -> None:
    """Where the pod runs, and as whom."""
    if trainer.service_account:
        pod["serviceAccountName"] = trainer.service_account
    pod.setdefault("automountServiceAccountToken", "serviceAccountName" in pod)
    # A Service named tidegate would set TIDEGATE_PORT=tcp://…
    pod.setdefault("enableServiceLinks", False)
    pod.setdefault("securityContext", deepcopy(_POD_SECURITY))
    if trainer.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in trainer.pull_secrets]
    if trainer.node_selector:
        pod["nodeSelector"] = dict(trainer.node_selector)
    if trainer.tolerations:
        pod["tolerations"] = [
            {key: value for key, value in msgspec.to_builtins(each).items() if value is not None}
            for each in trainer.tolerations
        ]


def _fill(trainer: KubernetesTrainer, around: Surroundings, container: Manifest) -> None:
    """What the container runs, with what, and what it is told."""
    image = trainer.image or container.get("image")
    if trainer.command:
        container["command"] = list(trainer.command)
        container.pop("args", None)
    elif not image:
        container.setdefault("args", list(_OWN_ARGUMENTS))
    container["image"] = image or around.image
    if not container["image"]:
        raise NoImage
    told = dict(trainer.env) | dict(around.environment)
    kept = [each for each in (container.get("env") or []) if each.get("name") not in told]
    if not any(each.get("name") == _FOLDER["name"] for each in kept):
        kept.append(dict(_FOLDER))
    container["env"] = kept + [{"name": name, "value": value} for name, value in told.items()]
    if trainer.secrets:
        sources = container.get("envFrom") or []
        container["envFrom"] = [*sources, *({"secretRef": {"name": name}} for name in trainer.secrets)]
    given = {"requests": trainer.resources.requests, "limits": trainer.resources.limits}
    for name, amounts in given.items():
        if amounts:
            _under(_under(container, "resources"), name).update(amounts)
    container.setdefault("securityContext", deepcopy(_CONTAINER_SECURITY))


def _under(outer: Manifest, key: str) -> Manifest:
    """The inner mapping under a key, made where there is none; a key left empty is none."""
    if outer.get(key) is None:
        outer[key] = {}
    inner: Manifest = outer[key]
    return inner


def _label(text: str) -> str:
    """A text as the value of a label, as like as it can be."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:_LONGEST].strip("-._")
