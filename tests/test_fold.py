import random
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake import BASELINE, NOON, Intake, batch, label_rows, sum_of

from monitors.counting.profiles import fold
from service.errors import StoreAway
from service.intake import columns
from service.intake.folding import aside
from service.intake.log.log import Log
from service.storage import keys
from service.storage.store import Store


def expected(table: pa.Table) -> np.ndarray:
    return sum_of(fold(BASELINE.layout, table, BASELINE.slice_seconds), BASELINE.layout.width)


class Beats:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_everything_accepted_is_counted_once(any_store, tmp_path):
    intake = Intake(any_store, tmp_path)
    table = batch(500)
    for start in range(0, 500, 100):
        intake.post(table.slice(start, 100))
    intake.worker.acquire()
    assert intake.worker.step() == 500
    assert intake.worker.step() == 0
    np.testing.assert_allclose(intake.counted(), expected(table))
    numbers = intake.numbers()
    assert (numbers.predictions["m"], numbers.backlog) == (500, 0)
    assert numbers.last_prediction["m"] == table.column("timestamp")[-1].as_py().timestamp()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 299), max_size=12), st.integers(1, 4), st.randoms(use_true_random=False), st.booleans())
def test_any_split_order_and_number_of_partitions_gives_the_same_cells(
    store, tmp_path, cuts, partitions, shuffler: random.Random, is_restarted
):
    store.do("FLUSHALL")
    intake = Intake(store, tmp_path, partitions=partitions)
    table = batch(300, step=300)
    bounds = sorted({0, 300, *cuts})
    parts = [table.slice(a, b - a) for a, b in pairwise(bounds)]
    shuffler.shuffle(parts)
    for number, part in enumerate(parts):
        intake.post(part, f"key{number}")
        if shuffler.random() < 0.5:
            intake.worker.acquire()
            intake.worker.step()
            if is_restarted:
                intake.worker = intake.new_worker()
    intake.worker.acquire()
    intake.worker.step()
    np.testing.assert_allclose(intake.counted(), expected(table), atol=1e-9)


def test_a_reader_that_looks_after_every_step_sees_what_a_new_reader_sees(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=3)
    for number in range(6):
        intake.post(batch(50, seed=number, step=400))
        intake.run()
        before = intake.cells.load(BASELINE)
        fresh = Intake(store, tmp_path, partitions=3).cells.load(BASELINE)
        assert before.keys() == fresh.keys()
        for start in fresh:
            np.testing.assert_array_equal(before[start], fresh[start])
    since = sorted(fresh)[2]
    assert sorted(intake.cells.load(BASELINE, since)) == sorted(fresh)[2:]


def test_a_second_worker_waits_for_the_lease_and_goes_on_where_the_first_stood(store, tmp_path):
    intake = Intake(store, tmp_path)
    beats = Beats()
    first, second = (intake.new_worker(alone=False, beats=beats) for _ in range(2))
    table = batch(400)
    intake.post(table.slice(0, 100), "a")
    assert first.acquire() == 2
    first.step()
    assert second.acquire() == 0
    intake.post(table.slice(100, 100), "b")
    assert second.step() == 0
    beats.now += 11
    assert second.acquire() == 2
    assert second.step() == 100
    intake.post(table.slice(200, 200), "c")
    assert first.step() == 0
    assert first.owned == []
    assert second.step() == 200
    np.testing.assert_allclose(intake.counted(), expected(table))


def test_partitions_are_spread_over_all_workers_that_show_life(store, tmp_path):
    beats = Beats()
    intake = Intake(store, tmp_path, partitions=4)
    first, second, third = (intake.new_worker(alone=False, beats=beats) for _ in range(3))
    assert first.acquire() == 4
    assert second.acquire() == 0
    beats.now += 4
    assert first.acquire() == 2
    assert second.acquire() == 2
    assert set(first.owned) | set(second.owned) == {0, 1, 2, 3}
    first.release()
    beats.now += 4
    assert second.acquire() == 4
    assert third.acquire() == 0


def test_rows_of_versions_without_a_baseline_are_counted_as_unmeasured(store, tmp_path):
    intake = Intake(store, tmp_path)
    intake.baselines = {}
    intake.post(batch(50))
    intake.run()
    assert intake.numbers().unmeasured["m"] == 50
    assert not intake.cells.load(BASELINE)
    intake.baselines = {"1": BASELINE}
    intake.post(batch(30, seed=1))
    intake.run()
    assert intake.counted()[0, 0] == 30
    assert intake.numbers().predictions["m"] == 80


POISON = {
    "noise": b"\x00\x01 no arrow at all",
    "a cut stream": columns.pack(batch(20))[:-100],
    "a table without columns of ours": columns.pack(pa.table({"a": [1] * 5})),
    "a timestamp that is text": columns.pack(
        batch(5).set_column(1, "timestamp", pa.array(["soon"] * 5)).append_column("x", pa.array([1] * 5))
    ),
}


@pytest.mark.parametrize("what", POISON)
def test_a_poisoned_batch_goes_aside_with_its_reason_and_the_partition_goes_on(store, tmp_path, what):
    intake = Intake(store, tmp_path, partitions=1)
    good = batch(100)
    intake.post(good.slice(0, 50))
    store.do("XADD", keys.log("p0"), "*", "k", "p", "m", "m", "n", 5, "t", 0, "r", "{}", "b", POISON[what])
    store.do("XADD", keys.log("p0"), "*", "some", "thing")
    intake.post(good.slice(50, 50))
    intake.run()
    np.testing.assert_allclose(intake.counted(), expected(good))
    found = aside.list_all(store, 1)
    assert len(found) == intake.numbers().aside == 2
    assert all(len(each.reason) > 10 for each in found)
    assert intake.numbers().backlog <= 0


def test_random_damage_to_a_batch_never_stops_the_worker(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    whole, chance = columns.pack(batch(30)), random.Random(5)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        store.do("XADD", keys.log("p0"), "*", "k", "p", "m", "m", "n", 30, "t", 0, "r", "{}", "b", bytes(damaged))
    intake.worker.acquire()
    assert intake.worker.step() == 300 * 30


def test_a_store_that_goes_away_in_the_middle_costs_nothing(store, tmp_path):
    intake = Intake(store, tmp_path)
    calls = 0

    def failing(_, version):
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StoreAway("gone")
        return intake.baselines.get(version)

    table = batch(200)
    intake.post(table.slice(0, 100), "a")
    intake.post(table.slice(100, 100), "b")
    intake.baseline_of = failing
    worker = intake.new_worker()
    worker.acquire()
    with pytest.raises(StoreAway):
        worker.step()
    worker.acquire()
    worker.step()
    np.testing.assert_allclose(intake.counted(), expected(table))


def test_vectors_beyond_the_memory_bound_are_loaded_again(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    intake.worker._partitions[0]._profiles._most_bytes = 1
    table = batch(300, step=300)
    for start in (0, 100, 50, 150, 200, 250):
        intake.post(table.slice(start, 50))
        intake.run()
    np.testing.assert_allclose(intake.counted(), expected(table))


def test_a_column_that_changes_its_type_between_batches_is_counted_as_each_batch_had_it(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    numbers = batch(50)
    index = numbers.column_names.index("feature_x2")
    texts = numbers.set_column(
        index, "feature_x2", pa.array([str(v) for v in numbers.column("feature_x2").to_pylist()])
    )
    for table in (numbers, texts, numbers):
        intake.post(table)
    intake.run()
    np.testing.assert_allclose(intake.counted(), 2 * expected(numbers) + expected(texts))


def test_the_backlog_and_its_age_are_seen(store, tmp_path):
    intake = Intake(store, tmp_path)
    intake.post(batch(50))
    intake.ingest.accept_labels("m", _labels(), None, "x", intake.now)
    intake.now = NOON.replace(minute=5)
    numbers = intake.numbers()
    assert numbers.backlog == 51
    assert numbers.lag_seconds["m"] == 300


def _labels():
    from service.intake.bodies.wire import Batch

    return Batch(label_rows(["a"], ["fit"]))


def test_reading_needs_no_worker(store):
    assert Log(store, 2).read(1, "0-0").entries == ()
    assert isinstance(store, Store)
