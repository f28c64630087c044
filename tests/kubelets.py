"""A Kubernetes API over HTTP, emulated in memory: real requests of a real client, and no kubelet behind it.

What a kubelet and the controller of Jobs would do, a test does: it makes pods, and says how Jobs and pods fare.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kmock

NAMESPACE = "ml"
_JOBS, _PODS, _EVENTS = "batch/v1/jobs", "v1/pods", "v1/events"
Plain = dict[str, Any]


class Cluster:
    """The emulated cluster, and the KUBECONFIG by which it is found."""

    def __init__(self, api: kmock.KubernetesEmulator, url: str, folder: Path) -> None:
        self._api = api
        self._made = 0
        self.config = folder / "kubeconfig"
        self.point_at(url)

    def point_at(self, url: str) -> None:
        """Write the KUBECONFIG."""
        context = {"cluster": "here", "user": "me", "namespace": NAMESPACE}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": context}],
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {}}],
        }
        self.config.write_text(json.dumps(config))

    @property
    def jobs(self) -> dict[str, Plain]:
        """The Jobs that are there, by name."""
        found = [each for (kind, _, _), each in self._api.objects.items() if kind.plural == "jobs" and not each.deleted]
        return {each["metadata"]["name"]: each.raw for each in found}

    @property
    def asked(self) -> list[tuple[str, str]]:
        """What was asked of the API: verb, and path with query."""
        return [(str(each.method.value), str(each.url.relative())) for each in self._api]

    def says_of_job(self, name: str, **status: Any) -> None:
        """What the controller of Jobs says."""
        self._api.objects[_JOBS, NAMESPACE, name].patch({"status": status})

    def condition(self, name: str, kind: str, reason: str = "", message: str = "", **status: Any) -> None:
        """The Job comes into a condition."""
        told = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.says_of_job(name, conditions=[told], **status)

    def pod(self, job: str, status: Plain, log: str | None = None) -> str:
        """A pod of a Job, as its template has it; gives its name."""
        self._made += 1
        template = self.jobs[job]["spec"]["template"]
        at = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=self._made)
        name = f"{job}-{self._made:05d}"
        labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": job}
        meta = {"name": name, "namespace": NAMESPACE, "labels": labels, "creationTimestamp": at.isoformat()}
        pod = {"metadata": meta, "spec": template["spec"], "status": status}
        self._api.objects[_PODS, NAMESPACE, name] = pod
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/log"
        if log is None:
            self.answer("get", path, 400, "the container is waiting to start")
        else:
            self._api["get", path] << log.encode()
        return name

    def lose_pods(self) -> None:
        """Every pod is gone, as after a deadline."""
        for kind, namespace, name in list(self._api.objects):
            if kind.plural == "pods":
                del self._api.objects[kind, namespace, name]

    def warn(self, job: str, message: str) -> None:
        """An event about a Job."""
        about = {"kind": "Job", "name": job}
        said = {"type": "Warning", "involvedObject": about, "message": message}
        self._api.objects[_EVENTS, NAMESPACE, f"{job}.event"] = {"metadata": {"name": f"{job}.event"}, **said}

    def answer(self, method: str, path: str, status: int, message: str) -> None:
        """Whatever is asked there is answered so from now on."""
        said = {"kind": "Status", "status": "Failure", "code": status, "message": message}
        self._api[method, path] << status << said


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """An empty cluster on loopback."""
    started, made = threading.Event(), {}

    async def run() -> None:
        async with kmock.KubernetesEmulator() as api, kmock.Server(api) as server:
            for kind in (_JOBS, _PODS, _EVENTS):
                api.resources[kind] = {}
            made.update(api=api, url=str(server.url), loop=asyncio.get_running_loop(), stop=asyncio.Event())
            started.set()
            await made["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="cluster")
    thread.start()
    started.wait()
    try:
        yield Cluster(made["api"], made["url"], folder)
    finally:
        made["loop"].call_soon_threadsafe(made["stop"].set)
        thread.join()
