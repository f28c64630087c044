"""Job words: how a Kubernetes Job goes, by what the cluster says of it and its pods, for the person who must act."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from service.launching.outside import clean
from service.launching.port import Progress

Seen = Mapping[str, Any]
"""An object as the cluster gives it. What is missing in it, or is null, is nothing to it."""
# Reasons for which a container waits, with what helps.
_ADVICE = {
    "ErrImagePull": "look at the image's name and digest, and at pull_secrets",
    "ImagePullBackOff": "look at the image's name and digest, and at pull_secrets",
    "ErrImageNeverPull": "the image must be on the node already",
    "InvalidImageName": "look at the image's name",
    "CreateContainerConfigError": (
        "a Secret or ConfigMap is missing, or the image wants to run as root: give it a user by number, or a template "
        "with a securityContext of its own"
    ),
    "CreateContainerError": "look at the command and the volumes",
    "RunContainerError": "look at the command and the devices",
    "CrashLoopBackOff": "it ends again and again: its log says why",
}
_MAKING = ("ContainerCreating", "PodInitializing")
_SIGNALS_FROM = 128


def progress_of(job: Seen, pods: Sequence[Seen], warnings: Sequence[str] = ()) -> Progress:
    """How a Job goes. `succeeded` says that it ended well, which nobody else has checked.

    `pods` are the Job's own; `warnings` what the cluster said of the Job itself, the newest last.
    """
    for condition in _list(job, "status", "conditions"):
        if condition.get("status") == "True":
            match condition.get("type"):
                case "Complete" | "SuccessCriteriaMet":
                    return Progress("succeeded")
                case "Failed":
                    return Progress("failed", _why_failed(job, condition, pods))
                case "Suspended":
                    return Progress("waiting", "the Job is suspended: a queue holds it back, or somebody does")
    return _of_pods(pods, warnings)


def _of_pods(pods: Sequence[Seen], warnings: Sequence[str]) -> Progress:
    newest = _newest(pods)
    phase = _get(newest, "status", "phase")
    if newest is None or phase == "Failed":
        said = f": {clean(warnings[-1])}" if warnings else ""
        failed = f"; the last one failed: {why_pod_failed(newest)}" if newest else ""
        return Progress("waiting", f"the Job has no pod now{said}{failed}")
    waits = why_waiting(newest)
    if waits or phase not in {"Running", "Succeeded"}:
        return Progress("waiting", waits or "its pod is pending")
    return Progress("running")


def newest_pod(pods: Sequence[Seen]) -> str:
    """The name of the pod that was made last; empty where there is none."""
    return str(_get(_newest(pods), "metadata", "name") or "")


def why_waiting(pod: Seen) -> str:
    """Why a pod does not run; empty where it does."""
    for condition in _list(pod, "status", "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            said = _said(condition)
            return f"no node takes its pod: {said}" if said else "its pod waits for a node"
    for name, state in _states(pod, "waiting"):
        reason = clean(str(state.get("reason") or "waiting"))
        if reason in _MAKING:
            return f"its container {name} is being made"
        advice = f" ({_ADVICE[reason]})" if reason in _ADVICE else ""
        return f"its container {name} cannot start: {_said(state) or reason}{advice}"
    return ""


def why_pod_failed(pod: Seen) -> str:
    """Why a pod ended badly."""
    reason = _get(pod, "status", "reason")
    for condition in _list(pod, "status", "conditions"):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return f"its node gave it up: {_said(condition) or 'nobody said why'}"
    if reason:
        return f"its node ended it: {_said(_map(pod, 'status'))}"
    for name, state in _states(pod, "terminated"):
        if state.get("exitCode"):
            return _why_ended(pod, name, state)
    return why_waiting(pod) or "its pod is gone, and nobody said why"


def _why_failed(job: Seen, condition: Seen, pods: Sequence[Seen]) -> str:
    failed = _newest([pod for pod in pods if _is_failed(pod)])
    why = why_pod_failed(failed) if failed else ""
    match condition.get("reason"):
        case "DeadlineExceeded":
            seconds = _get(job, "spec", "activeDeadlineSeconds")
            waits = next((text for pod in pods if (text := why_waiting(pod))), "")
            more = f"; at the end {waits}" if waits else ""
            return f"it took longer than {seconds} s, its timeout{more}"
        case "BackoffLimitExceeded" if why:
            count = _get(job, "status", "failed") or 1
            return why if count == 1 else f"{count} pods failed, the last one so: {why}"
        case _:
            said = _said(condition) or "nobody said why"
            return f"the Job failed: {said}" + (f"; {why}" if why else "")


def _why_ended(pod: Seen, name: str, state: Seen) -> str:
    code, said = state["exitCode"], clean(str(state.get("message") or "")).strip()
    more = f": {said}" if said else ""
    if state.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, name)
        return (
            f"the container {name} needed more memory than {limit} and was killed (OOMKilled): raise "
            "resources.limits.memory, or train on fewer rows"
        )
    if isinstance(code, int) and code > _SIGNALS_FROM:
        with suppress(ValueError):
            return f"the container {name} was ended by {signal.Signals(code - _SIGNALS_FROM).name} (code {code}){more}"
    reason = clean(str(state.get("reason") or ""))
    named = f" ({reason})" if reason not in {"", "Error"} else ""
    return f"the container {name} ended with code {code}{named}{more}"


def _memory_limit(pod: Seen, name: str) -> str:
    spec = _map(pod, "spec")
    for container in (*_list(spec, "initContainers"), *_list(spec, "containers")):
        if container.get("name") == name and (limit := _get(container, "resources", "limits", "memory")):
            return f"its limit of {clean(str(limit))}"
    return "its node had"


def _states(pod: Seen, kind: str) -> Iterator[tuple[str, Seen]]:
    """The containers of a pod that are in such a state, or with `terminated` were in it last."""
    status = _map(pod, "status")
    for each in (*_list(status, "initContainerStatuses"), *_list(status, "containerStatuses")):
        for where in ("state", "lastState") if kind == "terminated" else ("state",):
            state = _get(each, where, kind)
            if isinstance(state, Mapping):
                yield clean(str(each.get("name") or "?")), state
                break


def _said(words: Seen) -> str:
    """The reason and message of something, as one line."""
    parts = [clean(str(words.get(key) or "")) for key in ("reason", "message")]
    return ": ".join(part for part in parts if part)


def _is_failed(pod: Seen) -> bool:
    return bool(_get(pod, "status", "phase") == "Failed")


def _newest(pods: Sequence[Seen]) -> Seen | None:
    return max(pods, key=lambda pod: str(_get(pod, "metadata", "creationTimestamp") or ""), default=None)


def _get(outer: object, *path: str) -> Any:  # noqa: ANN401  whatever JSON holds there
    for key in path:
        outer = outer.get(key) if isinstance(outer, Mapping) else None
    return outer


def _map(outer: object, *path: str) -> Seen:
    found = _get(outer, *path)
    return found if isinstance(found, Mapping) else {}


def _list(outer: object, *path: str) -> list[Seen]:
    found = _get(outer, *path)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, Sequence) else []
