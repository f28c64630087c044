"""What waits in a folder or in memory: nothing of it is lost, nothing is sent by two, whatever a file looks like."""

import os
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tidegate_client.batches import Batch
from tidegate_client.errors import ShelfFull
from tidegate_client.segments import ENDING
from tidegate_client.shelves import Pocket, Shelf, Shelves
from tidegate_client.spool import Spool


def batch(number: int, rows: int = 2) -> Batch:
    return Batch.of(
        "predictions", [f'{{"prediction_id":"{number}.{row}"}}'.encode() for row in range(rows)], f"k{number}"
    )


def keys(shelf: Shelf) -> list[str]:
    return [held.batch.key for held in shelf.waiting()]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{ENDING}"))


SHELVES: dict[str, Callable[[Path], Shelf]] = {
    "spool": lambda folder: Spool(folder, 1 << 20),
    "spool of small files": lambda folder: Spool(folder, 400),
    "synced spool": lambda folder: Spool(folder, 1 << 20, fsync=True),
    "memory": lambda _: Pocket(1 << 20),
    "both": lambda folder: Shelves([Spool(folder, 150), Pocket(1 << 20)]),
}


@pytest.fixture(params=SHELVES)
def make(request, tmp_path) -> Callable[[], Shelf]:
    def make() -> Shelf:
        shutil.rmtree(tmp_path / "spool", ignore_errors=True)
        return SHELVES[request.param](tmp_path / "spool")

    return make


# ---- laws of every shelf


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["add", "add", "end", "pass", "mark"]), max_size=40), data=st.data())
def test_each_batch_waits_until_it_is_ended_and_no_longer(make, steps, data):
    shelf, waiting, number = make(), {}, 0
    marks = []
    for step in steps:
        if step == "add":
            try:
                shelf.add(batch(number))
                waiting[f"k{number}"] = batch(number)
            except ShelfFull:
                assert waiting
            number += 1
        elif step == "end" and waiting:
            key = data.draw(st.sampled_from(sorted(waiting)))
            next(held for held in shelf.waiting() if held.batch.key == key).end()
            del waiting[key]
        elif step == "pass":
            assert {held.batch.key: held.batch for held in shelf.waiting()} == waiting
        elif step == "mark":
            marks.append((shelf.mark(), set(waiting)))
        for is_through, marked in marks:
            assert is_through() == marked.isdisjoint(waiting)
    assert {held.batch.key: held.batch for held in shelf.waiting()} == waiting


def test_what_is_added_during_a_round_is_not_lost(make):
    shelf = make()
    shelf.add(batch(0))
    for number, held in enumerate(shelf.waiting(), start=1):
        held.end()
        if number < 30:
            shelf.add(batch(number))
    while seen := list(shelf.waiting()):
        for held in seen:
            held.end()
    assert keys(shelf) == []


def test_ending_twice_ends_one(make):
    shelf = make()
    for number in range(2):
        shelf.add(batch(number))
    held = next(iter(shelf.waiting()))
    held.end()
    held.end()
    assert keys(shelf) == ["k1"]


# ---- folders


def test_another_takes_over_what_an_ended_one_left_and_only_then(tmp_path):
    first, second = Spool(tmp_path, 1 << 20), Spool(tmp_path, 1 << 20)
    for number in range(3):
        first.add(batch(number))
    next(iter(first.waiting())).end()
    assert second.adopt() == (0, 0)
    assert keys(second) == []
    first.close()
    assert second.adopt() == (4, 0)
    assert keys(second) == ["k1", "k2"]
    third = Spool(tmp_path, 1 << 20)
    assert third.adopt() == (0, 0)
    for held in second.waiting():
        held.end()
    assert keys(second) == []
    second.close()
    third.close()
    assert files(tmp_path) == []


def test_a_spool_through_which_everything_went_stays_small(tmp_path):
    spool = Spool(tmp_path, 1 << 20)
    for number in range(500):
        spool.add(batch(number))
        for held in spool.waiting():
            held.end()
    assert sum(path.stat().st_size for path in files(tmp_path)) < 200
    spool.close()
    assert files(tmp_path) == []


def test_the_limit_holds_for_all_processes_of_a_folder_together(tmp_path):
    spools = [Spool(tmp_path, 10_000) for _ in range(3)]
    with pytest.raises(ShelfFull, match="may hold 10,000"):  # noqa: PT012  which one it is is not the point
        for number in range(1_000):
            spools[number % 3].add(batch(number, rows=20))
    assert 8_000 < sum(path.stat().st_size for path in files(tmp_path)) < 11_000


@settings(deadline=None, max_examples=60)
@given(cut=st.integers(0, 400), flip=st.integers(0, 400) | st.none(), tail=st.binary(max_size=30))
def test_of_a_torn_file_all_whole_batches_before_the_tear_are_sent(tmp_path_factory, cut, flip, tail):
    folder = tmp_path_factory.mktemp("torn")
    writer = Spool(folder, 1 << 20)
    ends = []
    for number in range(5):
        writer.add(batch(number))
        ends.append(files(folder)[0].stat().st_size)
    content = files(folder)[0].read_bytes()
    writer.close()
    torn = bytearray(content[: min(8 + cut, len(content))] + tail)
    if flip is not None and 8 + flip < len(torn):
        torn[8 + flip] ^= 1
    files(folder)[0].write_bytes(torn)
    reader = Spool(folder, 1 << 20)
    rows, damaged = reader.adopt()
    whole = 0
    while whole < 5 and torn[: ends[whole]] == content[: ends[whole]]:
        whole += 1
    assert keys(reader) == [f"k{number}" for number in range(whole)]
    assert rows == 2 * whole
    assert damaged == len(torn) - (ends[whole - 1] if whole else 8)
    for held in reader.waiting():
        held.end()
    assert keys(reader) == []
    reader.close()
    assert files(folder) == []


def test_what_this_version_cannot_read_is_left_alone(tmp_path):
    other = tmp_path / f"1-1-aaaaaa{ENDING}"
    other.write_bytes(b"TGSPOOL9" + b"what a later version writes")
    spool = Spool(tmp_path, 1 << 20)
    assert spool.adopt() == (0, 0)
    assert keys(spool) == []
    assert other.read_bytes().endswith(b"writes")


def test_a_file_that_was_begun_and_never_named_is_cleared_away(tmp_path):
    (tmp_path / "1-1-aaaaaa.new").write_bytes(b"")
    Spool(tmp_path, 1 << 20).adopt()
    assert list(tmp_path.glob("*.new")) == []


def test_many_that_begin_adopt_and_end_at_once_do_not_get_in_each_others_way(tmp_path):
    def live(name: int) -> int:
        adopted = 0
        for number in range(25):
            spool = Spool(tmp_path, 1 << 20)
            spool.add(batch(name * 100 + number))
            adopted += spool.adopt()[0]
            if number % 2:
                for held in spool.waiting():
                    held.end()
            spool.close()
        return adopted

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(live, range(6))) > 0
    assert list(tmp_path.glob("*.new")) == []


def test_nobody_else_may_read_it(tmp_path):
    folder = tmp_path / "spool" / "shop"
    Spool(folder, 1 << 20).add(batch(0))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(files(folder)[0].stat().st_mode) == 0o600


def test_a_folder_that_was_cleared_away_is_made_again(tmp_path):
    spool = Spool(tmp_path / "spool", 400)
    spool.add(batch(0))
    shutil.rmtree(tmp_path / "spool")
    for number in range(1, 4):
        spool.add(batch(number))
    assert keys(spool) == ["k0", "k1", "k2", "k3"]


def test_where_the_folder_cannot_be_written_memory_takes_over(tmp_path):
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "spool", 200)
    shelf = Shelves([spool, Pocket(1 << 20)])
    for number in range(10):
        shelf.add(batch(number))
    assert sorted(keys(shelf)) == sorted(f"k{number}" for number in range(10))
    assert 0 < len(keys(spool)) < 10
    with pytest.raises(OSError, match="file"):
        Spool(tmp_path / "file" / "spool", 200)


def test_a_child_lets_go_without_unlocking_what_is_the_parents(tmp_path):
    spool = Spool(tmp_path, 1 << 20)
    spool.add(batch(0))
    pid = os.fork()
    if pid == 0:
        spool.forget()
        mine = Spool(tmp_path, 1 << 20)
        os._exit(0 if mine.adopt() == (0, 0) and keys(spool) == [] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert Spool(tmp_path, 1 << 20).adopt() == (0, 0)
    assert keys(spool) == ["k0"]
