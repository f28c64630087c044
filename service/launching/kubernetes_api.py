"""The Kubernetes API, as far as a Job and its pods need it: plain values in and out, and its failures named.

Imported where it is first needed: lightkube takes .13 s and 7 MB, which only services with such trainers spend.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import httpx2
from lightkube import Client
from lightkube.core.exceptions import ConfigError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import CascadeType

from service.launching.outside import clean
from service.launching.port import LaunchFailed
from service.training.training_errors import TrainingError

Plain = dict[str, Any]
# The leader's other work on the model waits meanwhile.
_CONNECT_SECONDS, _READ_SECONDS = 3.0, 10.0
_REFUSED_FOR_GOOD = frozenset({400, 413, 422})
_NO_RIGHT = frozenset({401, 403})
_NOT_FOUND, _CONFLICT = 404, 409
# Generic resources: typed ones would drop, without a word, what a newer cluster knows and lightkube does not.
_JOB: Any = create_namespaced_resource("batch", "v1", "Job", "jobs")
_POD: Any = create_namespaced_resource("", "v1", "Pod", "pods")
_EVENT: Any = create_namespaced_resource("", "v1", "Event", "events")


class JobRefused(TrainingError):
    """The cluster will not take such a Job, however often it is asked."""


class KubernetesApi:
    """A cluster: the one that this process runs in, or that of KUBECONFIG. Threads may use it.

    Every verb raises LaunchFailed where the cluster does not answer, or does not allow it.
    """

    @property
    def namespace(self) -> str:
        """The namespace of this process, or of the context of KUBECONFIG."""
        return str(self._client.namespace)

    def create_job(self, job: Plain) -> bool:
        """Create a Job; False where one of its name is there already.

        Raises:
            JobRefused: it is no Job that the cluster takes.
        """
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        with _asking(f"create the Job {name} in {namespace}"):
            try:
                self._client.create(_JOB(job), namespace=namespace)
            except httpx2.HTTPStatusError as error:
                if error.response.status_code != _CONFLICT:
                    raise
                return False
        return True

    def job(self, namespace: str, name: str) -> Plain | None:
        """A Job; None where there is none of this name."""
        with _asking(f"get the Job {name} in {namespace}"):
            try:
                return dict(self._client.get(_JOB, name, namespace=namespace))
            except httpx2.HTTPStatusError as error:
                if error.response.status_code == _NOT_FOUND:
                    return None
                raise

    def pods(self, namespace: str, job: str) -> list[Plain]:
        """The pods of a Job."""
        with _asking(f"list the pods of the Job {job} in {namespace}"):
            found = self._client.list(_POD, namespace=namespace, labels={"batch.kubernetes.io/job-name": job})
            return [dict(each) for each in found]

    def warnings(self, namespace: str, job: str) -> list[str]:
        """What the cluster warned of about a Job itself, like a quota that is used up; the oldest first."""
        fields: Any = {"involvedObject.kind": "Job", "involvedObject.name": job, "type": "Warning"}
        with _asking(f"list the events of the Job {job} in {namespace}"):
            found = [dict(each) for each in self._client.list(_EVENT, namespace=namespace, fields=fields)]
        found.sort(key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime") or ""))
        return [str(each.get("message") or each.get("reason") or "") for each in found]

    def log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """The last lines that a container printed."""
        with _asking(f"read the log of {pod} in {namespace}"):
            return "".join(self._client.log(pod, namespace=namespace, container=container, tail_lines=lines))

    def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job, and its pods after it; one that is not there is no matter."""
        with _asking(f"delete the Job {name} in {namespace}"):
            try:
                self._client.delete(_JOB, name, namespace=namespace, cascade=CascadeType.BACKGROUND)
            except httpx2.HTTPStatusError as error:
                if error.response.status_code != _NOT_FOUND:
                    raise

    def close(self) -> None:
        """Close the connections."""
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> Client:
        try:
            return Client(timeout=httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS))
        except (ConfigError, OSError, ValueError) as error:
            raise LaunchFailed(
                f"no Kubernetes is known here: neither a service account's token nor a KUBECONFIG is of use ({error})"
            ) from error


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Names what goes wrong while the cluster is asked to do `what`."""
    try:
        yield
    # Not lightkube's own ApiError: it is one only where the Content-Type is spelled as it expects.
    except httpx2.HTTPStatusError as error:
        code, said = error.response.status_code, _said(error.response)
        if code in _REFUSED_FOR_GOOD:
            raise JobRefused(f"Kubernetes refused to {what}: {said}") from error
        advice = "; docs/how-to/train-on-kubernetes.md says what the service account needs" if code in _NO_RIGHT else ""
        raise LaunchFailed(f"Kubernetes did not {what} ({code}): {said}{advice}") from error
    except (httpx2.HTTPError, ConfigError) as error:
        reason = clean(str(error)) or type(error).__name__
        raise LaunchFailed(f"Kubernetes did not {what}, it does not answer: {reason}") from error


def _said(response: httpx2.Response) -> str:
    """The message of a Status, or the beginning of whatever came in its place."""
    try:
        return clean(str(response.json()["message"]))
    except (ValueError, TypeError, LookupError):
        return clean(response.text) or response.reason_phrase
