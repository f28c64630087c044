import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from buckets import ObjectStorage
from fsspec.registry import _registry
from houses import NOON, POLICY, give_baseline
from test_registry import ROWS, saved

from service.errors import ArchiveAway, BadSetting
from service.evidence import reports as evidence
from service.evidence.reports import report_of
from service.house import House, open_house
from service.settings import Settings
from service.storage.copies import Copies
from service.storage.files import Files
from service.training.references import read_reference
from service.training.registry import Registry
from service.training.training_errors import UnknownVersion, VersionExists


@pytest.fixture(params=["folder", "s3", "memory"])
def place(request, tmp_path) -> Files:
    match request.param:
        case "folder":
            return Files(tmp_path)
        case "s3":
            return Files(request.getfixturevalue("object_storage").place())
        case _:
            return Files(f"memory://{tmp_path}")


def test_what_is_written_is_read_back_and_can_be_replaced_and_removed(place):
    assert not place.holds("a/b.bin")
    place.put("a/b.bin", b"one")
    place.write("a/b.bin", lambda file: file.write(b"two"))
    with place.open("a/b.bin") as file:
        assert file.read() == b"two"
    assert place.read_all(["a/b.bin"]) == {"a/b.bin": b"two"}
    assert (place.holds("a/b.bin"), place.holds("a")) == (True, False)
    assert (place.names("a"), place.names("nothing")) == (["b.bin"], [])
    place.remove("a/b.bin")
    place.remove("a/b.bin")
    assert not place.holds("a/b.bin")


def test_a_file_that_is_not_there_is_no_failure_of_the_place(place):
    with pytest.raises(FileNotFoundError), place.open("none"):
        pass
    with pytest.raises(FileNotFoundError):
        place.read_all(["none"])


def test_a_file_that_could_not_be_filled_is_not_there(place):
    def fill(file):
        file.write(b"half of it")
        raise ValueError("the other half is missing")

    with pytest.raises(ValueError, match="other half"):
        place.write("a/b.bin", fill)
    assert place.names("a") == []


def test_a_folder_is_copied_there_and_back_the_named_file_last(place, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("manifest.json", "a.bin", "z.bin"):
        (source / name).write_text(name)
    written = []
    put, place.put = place.put, lambda path, content: (written.append(path), put(path, content))
    place.upload(source, "models/m/1", last="manifest.json")
    assert written[-1] == "models/m/1/manifest.json"
    target = tmp_path / "target"
    target.mkdir()
    place.download("models/m/1", target)
    assert {file.name: file.read_text() for file in target.iterdir()} == {
        file.name: file.name for file in source.iterdir()
    }


def test_a_folder_that_cannot_be_written_is_an_archive_that_is_away(tmp_path):
    (tmp_path / "archive").write_text("a file where a folder should be")
    with pytest.raises(ArchiveAway, match="is there room"):
        Files(tmp_path / "archive").put("a", b"")


def test_while_a_place_is_away_it_is_asked_now_and_then_only(object_storage: ObjectStorage):
    now = [0.0]
    place = Files(object_storage.place(), beats=lambda: now[0])
    asked = []
    real, place._open = place._open, lambda path: (asked.append(path), real(path))[1]
    place.put("a", b"")
    object_storage.stop()
    try:
        for now[0] in (0.0, 1.0, 9.9, 10.1, 11.0):
            with pytest.raises(ArchiveAway), place.open("a"):
                pass
        assert len(asked) == 2
    finally:
        object_storage.start()
    now[0] = 30.0
    assert place.holds("a")


# ---- at the start


def house(tmp_path, server, **changes):
    chosen = Settings(store=server.url, data_dir=tmp_path / "data", policies=tmp_path, partitions=2)
    return open_house(replace(chosen, **changes), lambda: NOON)


@pytest.mark.usefixtures("store")
def test_a_bucket_that_is_not_there_ends_the_start_with_a_clear_word(tmp_path, server, object_storage):
    assert object_storage.port
    with (
        pytest.raises(BadSetting, match=r"TIDEGATE_ARCHIVE='s3://no-such-bucket/x'.*nothing can be written there"),
        house(tmp_path, server, archive="s3://no-such-bucket/x"),
    ):
        pass


@pytest.mark.usefixtures("store")
def test_an_object_storage_that_does_not_answer_ends_the_start_too(tmp_path, server, object_storage):
    object_storage.stop()
    try:
        with pytest.raises(BadSetting, match="Could not connect"), house(tmp_path, server, archive="s3://bucket/x"):
            pass
    finally:
        object_storage.start()


def test_an_address_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)
    with pytest.raises(BadSetting, match=r'pip install "tidegate\[s3\]"'):
        Files("s3://bucket/x")
    with pytest.raises(BadSetting, match="a folder or an address of fsspec is needed"):
        Files("carrierpigeon://roof/x")


@pytest.mark.parametrize(
    ("text", "place"),
    [("s3://bucket/x/", "s3://bucket/x"), ("/srv/archive", Path("/srv/archive")), ("", Path("data/archive"))],
)
def test_the_archive_is_a_folder_or_an_address(text, place):
    chosen = Settings.read({"TIDEGATE_ARCHIVE": text})
    assert replace(chosen, data_dir=Path("data")).archive_place == place


def test_rows_are_kept_as_long_as_labels_may_need_them():
    with pytest.raises(BadSetting, match="twice TIDEGATE_LABEL_HORIZON is needed, 60 days"):
        Settings.read({"TIDEGATE_KEEP_ROWS": "59d"})
    with pytest.raises(BadSetting, match="address like s3"):
        Settings.read({"TIDEGATE_ARCHIVE": "s3://"})


# ---- copies


def test_copies_are_bounded_and_outlive_the_question_they_were_fetched_for(place):
    for number in range(4):
        place.put(f"{number}", bytes(100))
    copies = Copies(place, most_bytes=250)
    held = copies.fetch(["0", "1", "2", "3"])
    assert [path.stat().st_size for path in held] == [100] * 4
    copies.shrink()
    assert [path.exists() for path in held] == [False, False, True, True]
    assert copies.fetch(["3", "2"]) == [held[3], held[2]]
    copies.close()
    assert not held[3].exists()


# ---- several machines, one object storage


@contextmanager
def machine(folder: Path, server, place: str) -> Iterator[House]:
    """A process of the service on a machine of its own: it shares the store and the object storage, and no disk."""
    policies = folder / "policies.d"
    policies.mkdir(parents=True)
    (policies / "shop.yaml").write_text(POLICY)
    with house(folder, server, archive=place, policies=policies) as found:
        yield found


def test_a_process_on_another_machine_has_the_rows_the_models_and_the_reports(store, server, object_storage, tmp_path):
    assert store
    place = object_storage.place()
    with machine(tmp_path / "one", server, place) as one, machine(tmp_path / "two", server, place) as two:
        give_baseline(one)
        (version,) = one.ledger.baselines("shop")
        assert read_reference(two.files, "shop", version).equals(read_reference(one.files, "shop", version))
        assert read_reference(two.files, "shop", "9") is None
        made = report_of(one, "d-1").parent
        made.mkdir(parents=True)
        for name in ("report.html", "together.json", "current.parquet"):
            (made / name).write_text(name)
        evidence._publish(one, made)
        report = report_of(two, "d-1")
        assert report.read_bytes() == report_of(one, "d-1").read_bytes()
        # What is shown travels; the rows that it was made of do not.
        assert {file.name for file in report.parent.iterdir()} == {"report.html", "together.json"}
        assert str(tmp_path / "two") in str(report)
        assert not report_of(two, "d-2").is_file()
        ours, theirs = (Registry(each.settings.data_dir, each.files) for each in (one, two))
        model = saved(ours)
        assert theirs.load("assistant", "1").predict(ROWS).equals(model.predict(ROWS))
        assert theirs.list_versions("assistant") == ["1"]
        with pytest.raises(VersionExists):
            saved(theirs, step=7)
        saved(theirs, "2", step=7)
        assert ours.list_versions("assistant") == ["1", "2"]
        with pytest.raises(UnknownVersion):
            ours.load("assistant", "3")


def test_reports_of_this_machine_are_seen_while_the_object_storage_is_away(
    store, server, object_storage, tmp_path, caplog
):
    assert store
    with machine(tmp_path / "one", server, object_storage.place()) as one:
        object_storage.stop()
        try:
            assert not report_of(one, "d-1").is_file()
            assert "no report of d-1 from another machine" in caplog.text
            report = report_of(one, "d-1")
            report.parent.mkdir(parents=True)
            report.write_text("made here")
            assert report_of(one, "d-1").read_text() == "made here"
        finally:
            object_storage.start()
