"""Kubernetes: a trainer as a Job. What is known of it is in the cluster, and what it says comes by callbacks.

A Job has the name of its order, so whoever launches it again finds it there. It fetches its files from the service,
says how it goes, and sends its answer back, all with a token that opens nothing but its own order.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from service.house import House
from service.launching.invitation import address_of, service_address
from service.launching.job_log import LOG_LINES, keep_log, keep_wait, with_last_words
from service.launching.job_manifest import ASKED, Surroundings, hash_of, manifest_of, name_of, trainer_of
from service.launching.job_template import BadTemplate, read_template, training_one
from service.launching.job_words import newest_pod, progress_of
from service.launching.outside import fetch_answer, heard, share, token_of
from service.launching.port import LaunchFailed, Order, OrderDiffers, Progress
from service.training.training_errors import TrainingError

if TYPE_CHECKING:
    from service.launching.kubernetes_api import KubernetesApi

_LOG_SECONDS = 30.0


class Kubernetes:
    """Launches trainers of kind kubernetes. Close it where the service ends; the Jobs go on."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._logged: dict[str, float] = {}

    def launch(self, order: Order) -> None:
        """Create its Job; one that is there already is left alone.

        Raises:
            OrderDiffers: the Job of this name is of another order.
            LaunchFailed: the cluster, or the service's own address, cannot be used now.
            BadTemplate, NoImage, JobRefused: it cannot become a Job.
        """
        job = self._manifest(order)
        if self._api.create_job(job):
            return
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        there = self._api.job(namespace, name)
        if there is None or there["metadata"].get("deletionTimestamp"):
            raise LaunchFailed(f"the Job {name} in {namespace} is in the way, and is being deleted")
        if not _is_of(order, there):
            raise OrderDiffers(order.name, hash_of(order), _asked(there))

    def look(self, order: Order) -> Progress:
        """How it goes, by the Job and by what its trainer says; its answer is in the folder where it has succeeded.

        What a trainer has said to the end holds, whatever becomes of its pod: a sidecar may keep that for ever.
        """
        said = heard(self._house, order)
        if said.state in {"succeeded", "failed"}:
            with suppress(LaunchFailed):
                self._keep_last_log(order, said)
            return said
        api, namespace, name = self._api, self._namespace(order), name_of(order)
        job = api.job(namespace, name)
        if job is None:
            return Progress("lost", f"the Job {name} is not in {namespace}: it was deleted", said.checkpoints)
        if not _is_of(order, job):
            return Progress("failed", str(OrderDiffers(order.name, hash_of(order), _asked(job))), said.checkpoints)
        pods = api.pods(namespace, name)
        seen = progress_of(job, pods, () if pods else self._warnings(namespace, name))
        self._keep_log(order, job, pods, seen)
        if seen.state == "succeeded" and not fetch_answer(self._house, order):
            reason = "the Job ended well and sent nothing: neither predictions (PUT …/answer) nor a model (PUT …/model)"
            seen = Progress("failed", reason)
        reason = with_last_words(order.folder, seen.reason) if seen.state == "failed" else seen.reason
        return replace(said, state=seen.state, reason=reason)

    def cancel(self, order: Order) -> None:
        """Delete its Job, unless it has ended: then it stays to be looked at for as long as the policy says."""
        namespace, name = self._namespace(order), name_of(order)
        job = self._api.job(namespace, name)
        if job is not None and _is_of(order, job) and progress_of(job, ()).state not in {"succeeded", "failed"}:
            self._api.delete_job(namespace, name)
        self._logged.pop(order.name, None)

    def close(self) -> None:
        """Close the connections to the cluster; the next verb opens new ones."""
        api = self.__dict__.pop("_api", None)
        if api is not None:
            api.close()

    @cached_property
    def _api(self) -> "KubernetesApi":
        try:
            from service.launching.kubernetes_api import KubernetesApi  # noqa: PLC0415  heavy, see there
        except ImportError as error:
            raise LaunchFailed(f'trainers on Kubernetes need pip install "tidegate[kubernetes]" ({error})') from error
        return KubernetesApi()

    def _manifest(self, order: Order) -> dict[str, Any]:
        settings, name = self._house.settings, trainer_of(order).template
        around = Surroundings(self._api.namespace, settings.trainer_image, self._environment(order))
        if name is None:
            return manifest_of(order, around)
        file = settings.policies / name
        try:
            return manifest_of(order, around, read_template(file))
        except (TypeError, ValueError, AttributeError) as error:
            raise BadTemplate(file, f"a value of it has another form than in a Job: {error}") from error

    def _namespace(self, order: Order) -> str:
        return trainer_of(order).namespace or self._api.namespace

    def _environment(self, order: Order) -> dict[str, str]:
        """What the Job is told of its order. Its files are at an address of their own where the house's files are."""
        house = self._house
        told = {
            "URL": service_address(house.settings),
            "TOKEN": token_of(house.store, order.name),
            "RETRAINING": order.retraining,
            "MODEL": order.model,
            "VERSION": order.version,
        }
        # All of it that tidegate_trainer.py needs, which runs a command for any order of this service.
        asked = {"url": address_of(house.settings, order.retraining), "token": told["TOKEN"], "order": order.name}
        told["ORDER"] = json.dumps(asked | {"retraining": order.retraining})
        share(house, order)
        if not house.files.is_local:
            told["FILES"] = house.files.at(order.folder.relative_to(house.settings.data_dir).as_posix())
        return {f"TIDEGATE_{name}": value for name, value in told.items()}

    def _warnings(self, namespace: str, name: str) -> list[str]:
        """What the cluster says where a Job has no pods; nothing where the service may not read that."""
        with suppress(LaunchFailed):
            return self._api.warnings(namespace, name)
        return []

    def _keep_last_log(self, order: Order, seen: Progress) -> None:
        """Of one that has said how it ended: a failed one is deleted before it has ended."""
        namespace, name = self._namespace(order), name_of(order)
        job = self._api.job(namespace, name)
        if job is not None and _is_of(order, job):
            self._keep_log(order, job, self._api.pods(namespace, name), seen)

    def _keep_log(
        self, order: Order, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], seen: Progress
    ) -> None:
        """Keep what the Job printed last, now and then, and at its end: one that takes too long loses its pods."""
        ended, now = seen.state in {"succeeded", "failed"}, time.monotonic()
        if not ended and now < self._logged.get(order.name, -_LOG_SECONDS) + _LOG_SECONDS:
            return
        self._logged[order.name] = now
        if not ended:
            keep_wait(order.folder, seen.reason)
        text = self._log(order, training_one(job["spec"]["template"]["spec"]["containers"])["name"], newest_pod(pods))
        keep_log(order.folder, text.replace(token_of(self._house.store, order.name), "(the token)"))

    def _log(self, order: Order, container: str, pod: str) -> str:
        # A container that waits to start has none, nor one whose node is gone.
        with suppress(TrainingError):
            return self._api.log(self._namespace(order), pod, container, LOG_LINES) if pod else ""
        return ""


def _asked(job: Mapping[str, Any]) -> str:
    """The hash of what a Job was asked; of one that somebody else made there is none."""
    return str((job["metadata"].get("annotations") or {}).get(ASKED) or "nobody's")


def _is_of(order: Order, job: Mapping[str, Any]) -> bool:
    return _asked(job) == hash_of(order)
