"""Every promise of test_archive.py, of an archive on S3; and what is only true of a place that can be away."""

from datetime import timedelta

import pytest
from buckets import ObjectStorage
from houses import give_baseline, ingest, open_shop
from intake import Intake, batch
from streams import predictions
from test_archive import *  # noqa: F403  its tests run here again, with this file's `place`
from test_archive import BEGIN, END, SMALL, files, settle

from service.deciding.cycle import Cycle
from service.errors import ArchiveAway, Backlogged
from service.intake.archive import archive
from service.intake.archive.archive import Archive
from service.intake.log.ingest import Ingest
from service.intake.log.log import Log
from service.storage.files import Files


@pytest.fixture
def place(object_storage: ObjectStorage) -> Files:
    return Files(object_storage.place(), beats=Beats())


class Beats:
    """A clock on which every look is a minute later: whatever was away is asked again."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 60
        return self.now


def test_folding_goes_on_while_the_archive_is_away_and_nothing_is_lost(store, place, object_storage):
    intake = Intake(store, place, partitions=1, roll=SMALL)
    intake.log = Log(store, 1, most_rows=500)
    intake.ingest = Ingest(intake.log, lambda _: "1")
    object_storage.stop()
    try:
        for number in range(5):
            intake.post(batch(100, seed=number), f"key{number}")
            settle(intake)
        assert intake.counted()[0, 0] == 500
        assert "the archive at s3://" in str(away(intake))
        # What bounds the wait is the backlog: no row is dropped, senders are asked to come back.
        with pytest.raises(Backlogged):
            intake.post(batch(100, seed=6), "key6")
        assert intake.archive.predictions("m", BEGIN, END).num_rows == 500
    finally:
        object_storage.start()
    intake.now += timedelta(minutes=1)
    for _ in range(5):
        settle(intake)
    assert len(files(intake)) == 5
    intake.post(batch(100, seed=6), "key6")
    settle(intake)
    assert intake.archive.predictions("m", BEGIN, END).num_rows == 600
    assert intake.counted()[0, 0] == 600


def test_what_is_in_files_cannot_be_read_while_the_archive_is_away_and_the_error_says_so(store, place, object_storage):
    intake = Intake(store, place, partitions=1, roll=SMALL)
    intake.post(batch(200))
    settle(intake)
    fresh = Archive(intake.log, place)
    object_storage.stop()
    try:
        with pytest.raises(ArchiveAway, match="is it reachable"):
            fresh.predictions("m", BEGIN, END)
    finally:
        object_storage.start()
    assert fresh.predictions("m", BEGIN, END).num_rows == 200


def test_rows_that_are_in_no_file_yet_are_read_while_the_archive_is_away(store, object_storage):
    intake = Intake(store, Files(object_storage.place(), beats=lambda: 0.0), partitions=1, roll=SMALL)
    intake.post(batch(50))
    object_storage.stop()
    try:
        away(intake)
        assert intake.archive.predictions("m", BEGIN, END).num_rows == 50
    finally:
        object_storage.start()


def test_large_files_are_read_in_place_and_small_ones_from_copies(store, place, monkeypatch):
    intake = Intake(store, place, partitions=1, roll=SMALL)
    for number in range(3):
        intake.post(batch(100 + 50 * number, seed=number))
        settle(intake)
    monkeypatch.setattr(archive, "COPIED_ROWS", 150)
    read = Archive(intake.log, place)
    assert read.predictions("m", BEGIN, END).sort_by("prediction_id").num_rows == 450
    assert len(read._copies._held) == 2


def away(intake: Intake) -> ArchiveAway:
    with pytest.raises(ArchiveAway) as caught:
        intake.folder.put("probe", b"")
    return caught.value


@pytest.mark.usefixtures("store")
def test_evaluations_go_on_while_the_archive_is_away(server, object_storage, tmp_path, caplog):
    with open_shop(server, tmp_path, archive=object_storage.place(), archive_rows=500) as house:
        give_baseline(house)
        ingest(house, predictions(2_800, seed=1))
        object_storage.stop()
        try:
            # So many labels have come that the twins would be tried, for which rows are needed.
            assert Cycle(house).step("shop") is not None
        finally:
            object_storage.start()
        assert "shop: no twins now" in caplog.text
        assert house.ledger.evaluation("shop").twin_labels == 0
