import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import skops.io

from service.errors import BadName
from service.training.model_files import read_model, write_model
from service.training.models import Model
from service.training.registry import Registry
from service.training.trainers import train
from service.training.training_errors import (
    BadModelFile,
    TamperedModel,
    UnexpectedType,
    UnknownVersion,
    VersionExists,
)

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
ROWS = pa.table(
    {
        "feature_text": ["where is my parcel today", "please send me a refund now", "the left shoe is too small"] * 20,
        "feature_value": [float(i) for i in range(60)],
        "feature_shop": ["web", "app"] * 30,
        "label": ["shipping", "returns", "fit"] * 20,
    }
)


class Foreign:
    """Stands for a class that somebody slipped into a model file."""


def a_model(step: int = 0) -> Model:
    rows = ROWS.slice(step)
    return train(rows, rows.slice(0, 0), task="classification", columns={"text": "text"})


def saved(registry: Registry, version: str = "1", *, step: int = 0, created: datetime = NOW) -> Model:
    model = a_model(step)
    registry.save(model, name="assistant", version=version, created=created, rows_digest="ab" * 32)
    return model


def reseal(folder: Path, data: bytes) -> None:
    """Replaces the model file and corrects the manifest's digest, as an attacker with write access would."""
    (folder / "model.skops").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_loaded_model_predicts_what_the_saved_one_did(tmp_path: Path) -> None:
    model = saved(Registry(tmp_path))
    loaded = Registry(tmp_path).load("assistant", "1")
    assert loaded.predict(ROWS).equals(model.predict(ROWS))
    assert loaded.columns == {"text": "text", "value": "number", "shop": "category"}


def test_the_manifest_says_what_the_model_is(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    model = saved(registry)
    manifest = registry.manifest("assistant", "1")
    assert (manifest.model, manifest.version, manifest.task) == ("assistant", "1", "classification")
    assert manifest.classes == ("fit", "returns", "shipping")
    assert manifest.features == model.columns
    assert manifest.fingerprint == model.fingerprint()
    assert manifest.rows_digest == "ab" * 32
    assert datetime.fromisoformat(manifest.created) == NOW
    data = (tmp_path / "models" / "assistant" / "1" / "model.skops").read_bytes()
    assert manifest.sha256 == hashlib.sha256(data).hexdigest()


def test_a_model_is_loaded_once(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    saved(registry)
    assert registry.load("assistant", "1") is registry.load("assistant", "1")


def test_versions_are_listed_from_the_oldest_on(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert registry.list_versions("assistant") == []
    for i, version in enumerate(["10", "9", "after-change"]):
        saved(registry, version, created=NOW + timedelta(hours=i))
    assert registry.list_versions("assistant") == ["10", "9", "after-change"]


def test_storing_the_same_model_again_changes_nothing_and_another_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    saved(registry)
    first = registry.manifest("assistant", "1")
    saved(registry, created=NOW + timedelta(days=1))
    assert registry.manifest("assistant", "1") == first
    with pytest.raises(VersionExists, match="'assistant' already has a version '1'"):
        saved(registry, step=3)
    assert registry.manifest("assistant", "1") == first


def test_nothing_is_left_beside_the_versions(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    saved(registry)
    with pytest.raises(VersionExists):
        saved(registry, step=3)
    assert [f.name for f in (tmp_path / "models" / "assistant").iterdir()] == ["1"]


def test_an_interrupted_save_is_no_version(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    saved(registry)
    draft = tmp_path / "models" / "assistant" / ".draft-x"
    draft.mkdir()
    (draft / "manifest.json").write_text("{}")
    assert registry.list_versions("assistant") == ["1"]


@pytest.mark.parametrize("version", ["", "..", "../1", "a/b", ".hidden", "x" * 129, "a\x00b", "-rf"])
def test_a_version_that_leads_out_of_the_folder_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(BadName):
        Registry(tmp_path).load("assistant", version)


def test_an_unknown_version_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownVersion, match="no version '7'"):
        Registry(tmp_path).load("assistant", "7")
    with pytest.raises(UnknownVersion):
        Registry(tmp_path).manifest("assistant", "7")


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    saved(Registry(tmp_path))
    file = tmp_path / "models" / "assistant" / "1" / "model.skops"
    whole = file.read_bytes()
    for at in (0, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(TamperedModel, match="sha256"):
            Registry(tmp_path).load("assistant", "1")


@pytest.mark.parametrize("content", [Foreign(), {"format": 1, "task": Foreign()}])
def test_a_foreign_type_is_refused_even_with_a_correct_digest(tmp_path: Path, content: object) -> None:
    saved(Registry(tmp_path))
    reseal(tmp_path / "models" / "assistant" / "1", skops.io.dumps(content))
    with pytest.raises(UnexpectedType, match="Foreign"):
        Registry(tmp_path).load("assistant", "1")


@pytest.mark.parametrize("parts", [[1, 2], {"format": 99, "link": "softmax", "task": "classification"}, {}])
def test_something_else_than_a_model_is_refused(tmp_path: Path, parts: object) -> None:
    saved(Registry(tmp_path))
    reseal(tmp_path / "models" / "assistant" / "1", skops.io.dumps(parts))
    with pytest.raises(BadModelFile):
        Registry(tmp_path).load("assistant", "1")


def test_another_model_under_this_manifest_is_refused(tmp_path: Path) -> None:
    saved(Registry(tmp_path))
    reseal(tmp_path / "models" / "assistant" / "1", skops.io.dumps(a_model(3).parts()))
    with pytest.raises(TamperedModel):
        Registry(tmp_path).load("assistant", "1")


def test_broken_bytes_and_a_broken_manifest_are_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    saved(registry)
    folder = tmp_path / "models" / "assistant" / "1"
    reseal(folder, b"not a zip file")
    with pytest.raises(BadModelFile):
        registry.load("assistant", "1")
    (folder / "manifest.json").write_text('{"model": 1}')
    with pytest.raises(BadModelFile, match="not a model manifest"):
        registry.manifest("assistant", "1")


def test_a_model_that_a_job_left_is_adopted_whole(tmp_path: Path) -> None:
    model = a_model()
    left = tmp_path / "job" / "model"
    write_model(left, model, name="assistant", version="job", created=NOW, rows_digest="cd" * 32)
    registry = Registry(tmp_path / "data")
    manifest = registry.adopt(left, name="assistant", version="2")
    assert (manifest.version, manifest.rows_digest, manifest.created) == ("2", "cd" * 32, NOW.isoformat())
    assert registry.load("assistant", "2").fingerprint() == model.fingerprint()
    assert read_model(left).fingerprint() == model.fingerprint()
