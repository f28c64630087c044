"""Job template: a Job manifest beside the policy file, read and looked at before a cluster sees it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent

from service.training.training_errors import TrainingError

CONTAINER = "trainer"
"""The container that trains, in a pod that has several; without one of that name it is the first."""
_MOST_CHARACTERS = 256 * 1024


class BadTemplate(TrainingError):
    """The template of a policy's Job cannot be used."""

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file


def read_template(file: Path) -> dict[str, Any]:
    """The Job of a template file, as plain values.

    Raises:
        BadTemplate: it cannot be read, or is not one Job (batch/v1) with containers.
    """
    try:
        text = file.read_text(encoding="utf-8")
        if len(text) > _MOST_CHARACTERS:
            raise BadTemplate(file, f"it has {len(text):,} characters, a template may have {_MOST_CHARACTERS:,}")
        # An alias bomb of ten levels loads in moments, and explodes when it is written.
        if any(isinstance(event, AliasEvent) for event in YAML(typ="safe", pure=True).parse(text)):
            raise BadTemplate(file, "aliases (*name) are not taken: write out what they stand for")
        job = YAML(typ="safe", pure=True).load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadTemplate(file, f"it cannot be read: {error}") from error
    except YAMLError as error:
        raise BadTemplate(file, f"this is not one document of YAML: {' '.join(str(error).split())}") from error
    _check(file, job)
    return dict(job)


def training_one(containers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The container that trains."""
    return next((each for each in containers if each.get("name") == CONTAINER), containers[0])


def images_of(job: Mapping[str, Any], *, trains: str | None) -> list[str]:
    """The images of a template's pod, where the one that trains is `trains` if the policy says so."""
    pod = job["spec"]["template"]["spec"]
    others = [each for each in pod["containers"] if trains is None or each is not training_one(pod["containers"])]
    named = [each.get("image") for each in (*(pod.get("initContainers") or []), *others)]
    return [str(image) for image in named if image]


def _check(file: Path, job: object) -> None:
    kind = (job.get("apiVersion"), job.get("kind")) if isinstance(job, dict) else None
    if not isinstance(job, dict) or kind != ("batch/v1", "Job"):
        raise BadTemplate(file, f"a Job is needed, `apiVersion: batch/v1` and `kind: Job`; this is {kind or 'no map'}")
    if (job.get("metadata") or {}).get("namespace"):
        raise BadTemplate(
            file, "metadata.namespace cannot stand here: the policy says it, as retrain.trainer.namespace"
        )
    try:
        json.dumps(job, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadTemplate(file, f"a value that JSON does not know, which may need quotes: {error}") from error
    inner: object = job
    for key in ("spec", "template", "spec"):
        inner = inner.get(key) if isinstance(inner, dict) else None
    containers = inner.get("containers") if isinstance(inner, dict) else None
    if not isinstance(containers, list) or not all(isinstance(each, dict) and each.get("name") for each in containers):
        containers = []
    if not containers:
        raise BadTemplate(file, "spec.template.spec.containers with at least one container that has a name is needed")
