"""MLflow's model registry says what the ledger says: a model version for each version that served, and two aliases.

Nothing is remembered of what was sent. MLflow is asked what it has, by the tag `tidegate.version`, and what is missing
is added; so a crash between any two questions, a registry that was away for days, and one that lost everything, end in
the same state. What a person moved by hand is moved back: the aliases say which version serves.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from service.registries.rest import MlflowAway, MlflowRefused, Rest
from service.registries.wanted import Version, Wanted
from service.training.model_files import MANIFEST_FILE, MODEL_FILE
from service.training.registry import Registry
from service.training.training_errors import UnknownVersion

_log = logging.getLogger(__name__)
EXPERIMENT = "tidegate"
_TAG = "tidegate.version"
_MOST = 10_000
Found = Mapping[str, Any]


@dataclass(frozen=True)
class Mlflow:
    """One MLflow; `registry` holds the models' files. `goes_on` says whether there is time for another question."""

    rest: Rest
    registry: Registry
    goes_on: Callable[[], bool] = lambda: True

    def reconcile(self, wanted: Wanted) -> dict[str, str]:
        """Make MLflow say what is wanted; gives our versions with MLflow's numbers of them.

        Raises:
            MlflowAway, MlflowRefused: it does not now; what was done stays, and the next call goes on.
            ArchiveAway: a model's files cannot be read now.
        """
        try:
            return self._reconcile(wanted)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MlflowAway(self.rest.address, f"it does not answer as MLflow does: {error!r}") from error

    def _reconcile(self, wanted: Wanted) -> dict[str, str]:
        model = self._registered(wanted.model)
        known = self._known(wanted.model)
        for version in wanted.versions:
            if not self.goes_on():
                return known
            if version.name not in known:
                known[version.name] = self._add(version)
                _log.info("%s %s is version %s in MLflow", wanted.model, version.name, known[version.name])
        self._point(wanted, known, {each["alias"]: str(each["version"]) for each in model.get("aliases", ())})
        return known

    def _registered(self, model: str) -> Found:
        """The registered model, created where there was none."""
        try:
            return dict(self.rest.get("registered-models/get", name=model)["registered_model"])
        except MlflowRefused as refusal:
            if refusal.code != "RESOURCE_DOES_NOT_EXIST":
                raise
        tags = _pairs({"tidegate.model": model})
        made = self.rest.post("registered-models/create", {"name": model, "tags": tags})
        return dict(made["registered_model"])

    def _known(self, model: str) -> dict[str, str]:
        """Our versions that MLflow has, with its numbers; of two with the same tag the older."""
        asked = {"filter": f"name='{model}'", "max_results": _MOST, "order_by": "version_number DESC"}
        found = self.rest.get("model-versions/search", **asked).get("model_versions", ())
        tagged = [(_tags(each).get(_TAG), str(each["version"])) for each in found]
        return {ours: number for ours, number in tagged if ours}

    def _add(self, version: Version) -> str:
        """Register a version with its files, or with the address of a model that stays outside; gives its number."""
        run = self._run(version)
        info, held = run["info"], self._upload(version, run["info"]["artifact_uri"])
        ours = f"{info['artifact_uri']}/model"
        said = {
            "name": version.release.model,
            "run_id": info["run_id"],
            "tags": _pairs(version.tags),
            "description": f"Tidegate released version {version.name}: {version.release.reason}"[:5_000],
        }
        try:
            added = self.rest.post("model-versions/create", {**said, "source": version.release.uri or ours})
        except MlflowRefused as refusal:
            if held or not version.release.uri:
                raise
            # It takes addresses of artifacts only; where the model really is stands in the tag.
            _log.info("MLflow takes no version at %s: %s", version.release.uri, refusal)
            added = self.rest.post("model-versions/create", {**said, "source": ours})
        ended = {"run_id": info["run_id"], "status": "FINISHED", "end_time": _millis(version.release.at)}
        self.rest.post("runs/update", ended)
        return str(added["model_version"]["version"])

    def _run(self, version: Version) -> Found:
        """The run that stands for the training of a version: the one that a crash left behind, or a new one."""
        experiment, model = self._experiment(), version.release.model
        ours = f"tags.`tidegate.model` = '{model}' and tags.`{_TAG}` = '{version.name}'"
        asked = {"experiment_ids": [experiment], "filter": ours, "max_results": 1}
        found: Sequence[Found] = self.rest.post("runs/search", asked).get("runs", ())
        if found:
            return found[0]
        at = _millis(version.release.at)
        said = {"experiment_id": experiment, "run_name": f"{model} {version.name}", "start_time": at}
        run = dict(self.rest.post("runs/create", {**said, "tags": _pairs(version.tags)})["run"])
        metrics = [{"key": key, "value": value, "timestamp": at} for key, value in version.metrics.items()]
        if metrics:
            self.rest.post("runs/log-batch", {"run_id": run["info"]["run_id"], "metrics": metrics})
        return run

    def _experiment(self) -> str:
        try:
            found = self.rest.get("experiments/get-by-name", experiment_name=EXPERIMENT)
            return str(found["experiment"]["experiment_id"])
        except MlflowRefused as refusal:
            if refusal.code != "RESOURCE_DOES_NOT_EXIST":
                raise
        return str(self.rest.post("experiments/create", {"name": EXPERIMENT})["experiment_id"])

    def _upload(self, version: Version, artifacts: str) -> bool:
        """Put the model's files and its record among the run's artifacts; False where the model is not held here.

        Where MLflow lets clients write to object storage themselves nothing is copied: the tags say what it is.
        """
        name = version.release.model
        try:
            self.registry.manifest(name, version.name)
        except UnknownVersion:
            files = {}
        else:
            folder = self.registry.folder(name, version.name)
            files = {f"model/{file}": (folder / file).read_bytes() for file in (MODEL_FILE, MANIFEST_FILE)}
        place = urlsplit(artifacts)
        if place.scheme != "mlflow-artifacts":
            _log.info(
                "MLflow keeps artifacts at %s itself: the files of %s %s stay here", artifacts, name, version.name
            )
            return bool(files)
        for path, content in {**files, "release.json": version.record}.items():
            self.rest.put_artifact(f"{place.path.lstrip('/')}/{path}", content)
        return bool(files)

    def _point(self, wanted: Wanted, known: Mapping[str, str], aliases: Mapping[str, str]) -> None:
        for alias, version in wanted.aliases.items():
            number = known.get(version)
            if number is not None and aliases.get(alias) != number:
                said = {"name": wanted.model, "alias": alias, "version": number}
                self.rest.post("registered-models/alias", said)
                _log.info("MLflow: %s of %s is version %s now", alias, wanted.model, number)
        if "previous" in aliases and "previous" not in wanted.aliases:
            self.rest.delete("registered-models/alias", {"name": wanted.model, "alias": "previous"})


def _tags(found: Found) -> dict[str, str]:
    return {each["key"]: each["value"] for each in found.get("tags", ())}


def _pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value[:5_000]} for key, value in tags.items()]


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
