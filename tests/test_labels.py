import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake import BASELINE, NOON, Intake, batch, sum_of
from streams import START, predictions

from monitors.baseline import baselines
from monitors.counting.labelled import fold_labelled
from service.errors import StoreAway
from service.intake import columns
from service.intake.archive.archiving import Roll
from service.intake.joining import turn

HOURS = "tg:{labels}:hours"
OTHER = baselines.build(
    predictions(500, seed=98, start=1_767_000_000), model="m", version="1", cuts=[["group"]], task="classification"
)


def expected(table: pa.Table, labels: dict[str, str]) -> np.ndarray:
    """Counts of the labelled profile, folded at once."""
    names = table.column("prediction_id").to_pylist()
    rows = [row for row, name in enumerate(names) if name in labels]
    labelled = table.take(rows).append_column("label", pa.array([labels[names[row]] for row in rows], pa.string()))
    return sum_of(fold_labelled(BASELINE.layout, labelled, BASELINE.slice_seconds), BASELINE.layout.labelled_width)


def names_of(table: pa.Table) -> list[str]:
    return table.column("prediction_id").to_pylist()


def ends(intake: Intake) -> dict[str, int]:
    return {end: count for (model, end), count in intake.numbers().labels.items() if model == "m"}


def test_a_label_meets_its_prediction_in_the_slice_of_the_prediction(any_store, tmp_path):
    intake = Intake(any_store, tmp_path)
    table = batch(100)
    intake.post(table)
    intake.run()
    intake.label(names_of(table), ["fit"] * 100)
    intake.run()
    np.testing.assert_allclose(intake.counted_labels(), expected(table, dict.fromkeys(names_of(table), "fit")))
    assert sorted(intake.cells.load_labelled(BASELINE)) == sorted(intake.cells.load(BASELINE))
    assert ends(intake) == {"matched": 100}


def test_a_label_that_comes_first_waits_and_meets_later(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(10)
    intake.label(names_of(table), ["fit"] * 10)
    intake.run()
    assert (ends(intake), intake.numbers().waiting) == ({}, 10)
    intake.joiner = intake.new_joiner()
    intake.post(table)
    intake.run()
    assert (ends(intake), intake.numbers().waiting) == ({"matched": 10}, 0)
    np.testing.assert_allclose(intake.counted_labels(), expected(table, dict.fromkeys(names_of(table), "fit")))


def test_a_label_whose_prediction_never_comes_ends_unmatched_after_the_horizon(store, tmp_path):
    intake = Intake(store, tmp_path)
    intake.label(["nobody"], ["fit"])
    intake.run()
    intake.now += timedelta(days=29)
    intake.run()
    assert ends(intake) == {}
    intake.now += timedelta(days=2)
    intake.run()
    assert (ends(intake), intake.numbers().waiting) == ({"unmatched": 1}, 0)
    intake.run()
    assert ends(intake) == {"unmatched": 1}


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("is_archived", [False, True])
def test_a_label_again_is_a_duplicate_and_another_corrects(store, tmp_path, is_restarted, is_archived):
    intake = Intake(store, tmp_path, roll=Roll(rows=1) if is_archived else Roll())

    def settle() -> None:
        for _ in range(3 if is_archived else 1):
            intake.run()
        if is_restarted:
            intake.joiner = intake.new_joiner()

    table = batch(30)
    names = names_of(table)
    intake.post(table)
    settle()
    for values in (["fit"] * 30, ["fit"] * 30, ["returns"] * 30, ["fit"] * 10 + ["returns"] * 20):
        intake.label(names, values)
        settle()
    intake.label(names, ["older"] * 30, at=NOON - timedelta(days=3))
    settle()
    assert ends(intake) == {"matched": 30, "duplicate": 30 + 20 + 30, "corrected": 30 + 10}
    last = dict(zip(names, ["fit"] * 10 + ["returns"] * 20, strict=True))
    np.testing.assert_allclose(intake.counted_labels(), expected(table, last), atol=1e-9)
    if is_archived:
        assert list(tmp_path.glob("labels/**/*.parquet"))


def test_labels_of_a_waiting_prediction_keep_the_last_one(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(1)
    (name,) = names_of(table)
    for value in ("fit", "fit", "returns"):
        intake.label([name], [value])
        intake.now += timedelta(minutes=1)
        intake.run()
    intake.post(table)
    intake.run()
    assert ends(intake) == {"matched": 1, "duplicate": 1, "corrected": 1}
    np.testing.assert_allclose(intake.counted_labels(), expected(table, {name: "returns"}))


def test_several_labels_of_one_prediction_in_one_body_are_taken_in_order(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(1)
    (name,) = names_of(table)
    intake.post(table)
    intake.label([name] * 3, ["fit", "returns", "fit"])
    intake.run()
    assert ends(intake) == {"matched": 1, "corrected": 2}
    np.testing.assert_allclose(intake.counted_labels(), expected(table, {name: "fit"}), atol=1e-9)


def test_a_correction_of_a_label_from_before_the_baseline_takes_nothing_back(store, tmp_path):
    intake = Intake(store, tmp_path, roll=Roll(rows=1))
    table = batch(20)
    names = names_of(table)
    intake.baselines = {}
    intake.post(table)
    intake.label(names, ["fit"] * 20)
    for _ in range(3):
        intake.run()
    intake.baselines = {"1": BASELINE}
    for joiner in (intake.joiner, intake.new_joiner()):
        intake.joiner = joiner
        intake.label(names[:10], ["returns"] * 10)
        intake.run()
        assert (intake.counted_labels() >= 0).all()
        names = names[10:]
    assert intake.counted_labels()[0, 0] == 20
    assert ends(intake) == {"matched": 20, "corrected": 20}


def test_a_correction_after_a_new_baseline_is_counted_under_the_new_one_only(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(20)
    intake.post(table)
    intake.label(names_of(table), ["fit"] * 20)
    intake.run()
    before = intake.counted_labels()
    assert OTHER.fingerprint != BASELINE.fingerprint
    intake.baselines = {"1": OTHER}
    intake.joiner = intake.new_joiner()
    intake.label(names_of(table), ["returns"] * 20)
    intake.run()
    np.testing.assert_array_equal(intake.counted_labels(), before)
    after = intake.cells.load_labelled(OTHER)
    assert sum(vectors[0, 0] for vectors in after.values()) == 20
    assert all((vectors >= 0).all() for vectors in after.values())


def test_labels_of_unknown_versions_are_matched_and_counted_nowhere(store, tmp_path):
    intake = Intake(store, tmp_path)
    intake.baselines = {}
    table = batch(5)
    intake.post(table)
    intake.label(names_of(table), ["fit"] * 5)
    intake.run()
    assert ends(intake) == {"matched": 5}
    assert not intake.cells.load_labelled(BASELINE)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.integers(1, 3), st.booleans())
def test_any_order_of_predictions_labels_steps_and_restarts_gives_the_same_counts(
    store, tmp_path_factory, chance: random.Random, partitions, is_sent_again
):
    store.do("FLUSHALL")
    intake = Intake(
        store, tmp_path_factory.mktemp("archive"), partitions=partitions, roll=Roll(rows=chance.choice([5, 500]))
    )
    # Rows of the past may repeat some that have left memory; only then can copies be told.
    table = batch(60, step=600, start=START if is_sent_again else int(NOON.timestamp()) + 60)
    names = names_of(table)
    jobs: list[tuple[str, object]] = [("post", n) for n in range(0, 60, 10)]
    jobs += [("post", chance.randrange(0, 60, 10)) for _ in range(4 * is_sent_again)]
    for _ in range(12):
        chosen = chance.sample(names, 8)
        jobs.append(("label", (chosen, [chance.choice(["fit", "returns"]) for _ in chosen])))
    chance.shuffle(jobs)
    last: dict[str, str] = {}
    sent = 0
    options = {"look_up_every": timedelta(seconds=chance.choice([0, 5, 3_600])), "held_rows": chance.choice([20, 500])}
    intake.joiner = intake.new_joiner(**options)
    for what, job in jobs:
        intake.now += timedelta(seconds=1)
        if what == "post":
            intake.post(table.slice(job, 10))
        else:
            intake.label(*job)
            last.update(zip(*job, strict=True))
            sent += 8
        if chance.random() < 0.3:
            intake.run()
        if chance.random() < 0.3:
            intake.joiner = intake.new_joiner(recent_rows=chance.choice([0, 15, 1000]), **options)
    intake.run()
    intake.now += timedelta(hours=2)
    intake.run()
    np.testing.assert_allclose(intake.counted_labels(), expected(table, last), atol=1e-9)
    found = ends(intake)
    assert sum(found.values()) == sent
    assert found["matched"] == len(last)
    labelled = intake.archive.labelled("m", NOON - timedelta(days=9), NOON + timedelta(days=9))
    assert dict(zip(names_of(labelled), labelled.column("label").to_pylist(), strict=True)) == last


def looks(intake: Intake) -> list[int]:
    """How many predictions each look into the archive asks for, from now on."""
    found: list[int] = []
    find = intake.archive.find_predictions

    def counted(model, ids, since, positions):
        found.append(len(ids))
        return find(model, ids, since, positions)

    intake.archive.find_predictions = counted
    return found


def archived(store, tmp_path, rows: int) -> tuple[Intake, pa.Table]:
    """An intake whose predictions are all in files, and a join that knows none of them."""
    intake = Intake(store, tmp_path, roll=Roll(rows=1))
    table = batch(rows)
    intake.post(table)
    for _ in range(3):
        intake.run()
    assert list(tmp_path.glob("predictions/**/*.parquet"))
    return intake, table


def test_labels_of_archived_predictions_are_looked_up_together_by_the_minute(store, tmp_path):
    intake, table = archived(store, tmp_path, 60)
    intake.joiner = intake.new_joiner(look_up_every=timedelta(minutes=1))
    found = looks(intake)
    for name in names_of(table):
        intake.label([name], ["fit"])
        intake.run()
        intake.now += timedelta(seconds=1)
    intake.run()
    assert found == [1, 60 - 1]
    assert ends(intake) == {"matched": 60}
    np.testing.assert_allclose(intake.counted_labels(), expected(table, dict.fromkeys(names_of(table), "fit")))


def test_what_is_held_for_a_look_is_neither_lost_nor_joined_twice_when_its_holder_dies(store, tmp_path):
    intake, table = archived(store, tmp_path, 30)
    names = names_of(table)
    joined = 0
    for seed in (1, 2, 3):
        intake.joiner = intake.new_joiner(look_up_every=timedelta(hours=1))
        intake.label(names[:1], ["fit"])
        intake.joiner.step(intake.now)
        joined = sum(ends(intake).values())
        fresh = batch(10, seed=seed, start=int(NOON.timestamp()) + 60)
        intake.label(names[1:], ["fit"] * 29)
        intake.post(fresh)
        intake.label(names_of(fresh), ["fit"] * 10)
        assert intake.joiner.step(intake.now) == 29 + 10 + 10
        assert sum(ends(intake).values()) == joined
    intake.now += timedelta(hours=2)
    intake.run()
    assert joined == 3 + 2 * 39
    assert ends(intake) == {"matched": 30 + 30, "duplicate": 2 * 30}


def test_much_that_is_held_is_looked_up_before_its_time(store, tmp_path):
    intake, table = archived(store, tmp_path, 30)
    intake.joiner = intake.new_joiner(look_up_every=timedelta(hours=1), held_rows=15)
    found = looks(intake)
    for name in names_of(table):
        intake.label([name], ["fit"])
        intake.joiner.step(intake.now)
    assert found == [1, 15]
    assert ends(intake) == {"matched": 16}


def test_labels_that_need_no_look_are_not_held_up(store, tmp_path):
    intake = Intake(store, tmp_path)
    intake.post(batch(5, seed=1))
    intake.run()
    intake.joiner = intake.new_joiner(look_up_every=timedelta(hours=1))
    found = looks(intake)
    fresh = batch(20, start=int(NOON.timestamp()) + 60)
    intake.post(fresh)
    intake.label(names_of(fresh), ["fit"] * 20)
    intake.run()
    assert (found, ends(intake)) == ([], {"matched": 20})


@pytest.mark.parametrize("is_set_back", [False, True])
def test_a_clock_that_is_set_back_holds_no_label_up(store, tmp_path, is_set_back):
    intake, table = archived(store, tmp_path, 2)
    intake.joiner = intake.new_joiner(look_up_every=timedelta(hours=1))
    for name in names_of(table):
        intake.label([name], ["fit"])
        intake.joiner.step(intake.now)
        intake.now -= timedelta(days=1) if is_set_back else timedelta(0)
    assert ends(intake) == {"matched": 2 if is_set_back else 1}


def test_a_prediction_sent_again_takes_no_second_label(store, tmp_path):
    intake, table = archived(store, tmp_path, 10)
    for _ in range(2):
        intake.label(names_of(table), ["fit"] * 10)
        intake.run()
        intake.joiner = intake.new_joiner()
        intake.post(table)
        intake.run()
    intake.label(names_of(table), ["returns"] * 10)
    intake.run()
    assert ends(intake) == {"matched": 10, "duplicate": 10, "corrected": 10}
    last = dict.fromkeys(names_of(table), "returns")
    np.testing.assert_allclose(intake.counted_labels(), expected(table, last), atol=1e-9)


def test_of_a_prediction_twice_in_one_body_the_first_is_met(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(8, step=86_400)
    twice = table.slice(0, 4)
    same = twice.set_column(0, "prediction_id", table.slice(4, 4).column("prediction_id"))
    both = pa.concat_tables([table.slice(4, 4), same])
    intake.label(names_of(both)[:2], ["fit"] * 2)
    intake.run()
    intake.post(both)
    intake.label(names_of(both)[2:4], ["fit"] * 2)
    intake.run()
    np.testing.assert_allclose(
        intake.counted_labels(), expected(table.slice(4, 4), dict.fromkeys(names_of(table)[4:], "fit"))
    )
    assert ends(intake) == {"matched": 4}


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_label_may_bear_any_timestamp_also_from_long_before_its_prediction(store, tmp_path, is_restarted):
    intake, table = archived(store, tmp_path, 5)
    for year, value in ((1971, "fit"), (1970, "older"), (2000, "returns")):
        intake.label(names_of(table), [value] * 5, at=datetime(year, 5, 1, tzinfo=UTC))
        for _ in range(3):
            intake.run()
        if is_restarted:
            intake.joiner = intake.new_joiner()
    assert ends(intake) == {"matched": 5, "duplicate": 5, "corrected": 5}
    last = dict.fromkeys(names_of(table), "returns")
    np.testing.assert_allclose(intake.counted_labels(), expected(table, last), atol=1e-9)


def test_a_prediction_as_old_as_the_horizon_still_meets_its_label(store, tmp_path):
    intake, table = archived(store, tmp_path, 2)
    first, second = table.column("timestamp").to_pylist()
    intake.joiner = intake.new_joiner()
    intake.now = second + timedelta(days=30)
    assert first < second
    intake.label(names_of(table), ["fit"] * 2)
    intake.run()
    assert (ends(intake), intake.numbers().waiting) == ({"matched": 1}, 1)


def test_a_label_waits_for_the_whole_horizon_and_no_longer(store, tmp_path):
    intake = Intake(store, tmp_path)
    intake.label(["nobody"], ["fit"])
    intake.run()
    intake.now += timedelta(days=30)
    intake.run()
    assert (ends(intake), intake.numbers().waiting) == ({}, 1)
    intake.now += timedelta(microseconds=1)
    intake.run()
    assert (ends(intake), intake.numbers().waiting) == ({"unmatched": 1}, 0)


def test_the_same_label_after_a_baseline_counts_and_can_be_taken_back_after_a_restart(store, tmp_path):
    intake, table = archived(store, tmp_path, 20)
    intake.baselines = {}
    intake.joiner = intake.new_joiner()
    intake.label(names_of(table), ["fit"] * 20)
    intake.run()
    intake.baselines = {"1": BASELINE}
    for value in ("fit", "returns"):
        intake.joiner = intake.new_joiner()
        intake.label(names_of(table), [value] * 20)
        intake.run()
        last = dict.fromkeys(names_of(table), value)
        np.testing.assert_allclose(intake.counted_labels(), expected(table, last), atol=1e-9)
    assert ends(intake) == {"matched": 20, "duplicate": 20, "corrected": 20}


def test_the_join_passes_an_entry_that_says_nothing(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    place = store.do("XADD", "tg:{p0}:log", "*", "x", "y")
    intake.joiner.step(intake.now)
    intake.joiner.release()
    assert store.do("HGET", "tg:{p0}:state", "joined") == place


@pytest.mark.parametrize("body", [b"", b"no arrow", None])
def test_a_label_of_a_batch_that_cannot_be_read_waits(store, tmp_path, body):
    intake = Intake(store, tmp_path, partitions=1)
    table = batch(10)
    # The last: ids can be read, the rest cannot.
    broken = columns.pack(table.drop_columns(["prediction"])) if body is None else body
    store.do("XADD", "tg:{p0}:log", "*", "k", "p", "m", "m", "n", 10, "t", int(NOON.timestamp() * 1e6), "b", broken)
    intake.label(names_of(table), ["fit"] * 10)
    intake.joiner.step(intake.now)
    assert (ends(intake), intake.numbers().waiting) == ({}, 10)
    intake.label(names_of(table), ["fit"] * 10)
    store.do("XADD", "tg:{p0}:log", "*", "k", "p", "m", "m", "n", 10, "t", int(NOON.timestamp() * 1e6), "b", broken)
    intake.joiner.step(intake.now)
    assert (ends(intake), intake.numbers().waiting) == ({"duplicate": 10}, 10)


def test_the_share_of_labels_without_a_prediction_is_of_the_last_day_and_corrects_itself(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(40)
    intake.post(table.slice(0, 10))
    intake.label(names_of(table), ["fit"] * 40)
    intake.run()
    assert intake.numbers().fares["m"].unmatched == pytest.approx(30 / 40)
    times = [at.timestamp() for at in table.column("timestamp").to_pylist()[:10]]
    delay = intake.now.timestamp() - sum(times) / 10
    assert intake.numbers().fares["m"].delay_seconds == pytest.approx(delay, abs=1)
    intake.now += timedelta(hours=5)
    intake.joiner = intake.new_joiner()
    intake.post(table.slice(10, 20))
    intake.run()
    assert intake.numbers().fares["m"].unmatched == pytest.approx(10 / 40)
    intake.now += timedelta(hours=20)
    assert intake.numbers().fares == {}
    intake.label(names_of(table)[:9], ["fit"] * 9)
    intake.run()
    assert intake.numbers().fares["m"].unmatched is None
    assert all(b":came" in name or b":met" in name or b":delay" in name for name in store.do("HKEYS", HOURS))
    assert len(store.do("HKEYS", HOURS)) == 3


def test_a_stale_joiner_counts_nothing(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(20)
    intake.post(table)
    intake.run()
    stale, intake.joiner = intake.joiner, intake.new_joiner()
    intake.joiner.step(intake.now)
    intake.label(names_of(table), ["fit"] * 20)
    assert stale.step(intake.now) == 0
    assert intake.joiner.step(intake.now) == 20
    assert ends(intake) == {"matched": 20}


def test_a_second_joiner_rests_until_the_first_is_gone(store, tmp_path):
    intake = Intake(store, tmp_path)
    first, second = (intake.new_joiner(alone=False) for _ in range(2))
    intake.post(batch(20))
    assert first.step(intake.now) == 20
    assert second.step(intake.now) == 0
    first.release()
    intake.post(batch(10, seed=1))
    assert second.step(intake.now) == 10


def test_a_store_that_goes_away_in_the_middle_counts_no_label_twice(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(20)
    intake.post(table)
    intake.label(names_of(table), ["fit"] * 20)
    commit, calls = intake.joiner._ownership.commit, []

    def commit_and_lose_the_answer(writes, **state):
        commit(writes, **state)
        calls.append(1)
        if len(calls) == 1:
            raise StoreAway("the answer was lost")

    intake.joiner._ownership.commit = commit_and_lose_the_answer
    with pytest.raises(StoreAway):
        intake.joiner.step(intake.now)
    intake.joiner._ownership.is_held = False
    intake.joiner.step(intake.now)
    np.testing.assert_allclose(intake.counted_labels(), expected(table, dict.fromkeys(names_of(table), "fit")))
    assert ends(intake) == {"matched": 20}


def test_regression_labels_are_numbers_all_the_way(store, tmp_path):
    rows = 200
    table = batch(rows)
    index = table.column_names.index("prediction")
    numbers = pa.array([float(n) for n in range(rows)])
    table = table.set_column(index, "prediction", numbers)
    base = baselines.build(table.append_column("label", numbers), model="m", version="1", cuts=[], task="regression")
    intake = Intake(store, tmp_path, roll=Roll(rows=1))
    intake.baselines = {"1": base}
    intake.post(table)
    for step, shift in enumerate((2.0, 3.0)):
        labels = pa.table(
            {
                "prediction_id": table.column("prediction_id"),
                "label": pa.array([n + shift for n in range(rows)]),
                "timestamp": pa.array([intake.now + timedelta(minutes=step)] * rows, pa.timestamp("us", "UTC")),
                "outcome": pa.nulls(rows, pa.string()),
            }
        )
        from service.intake.bodies.wire import Batch

        intake.ingest.accept_labels("m", Batch(labels), None, "x", intake.now)
        for _ in range(3):
            intake.run()
        intake.joiner = intake.new_joiner()
    found = sum(intake.cells.load_labelled(base).values())[0]
    assert found[0] == rows
    assert found[1] == pytest.approx(3.0 * rows)
    assert ends(intake) == {"matched": rows, "corrected": rows}
    labelled = intake.archive.labelled("m", NOON - timedelta(days=9), NOON + timedelta(days=9))
    assert labelled.schema.field("label").type == pa.float64()


def test_a_flood_of_strange_labels_does_not_stop_the_join(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(10)
    intake.post(table)
    strange = ["", "fit", "ünï", "x" * 1000, "all", "other", "intent=a,b", "null", "0", "\U0001f600"]
    intake.label(names_of(table), strange)
    intake.run()
    assert ends(intake) == {"matched": 10}
    assert intake.counted_labels()[0, 0] == 10


def test_one_label_that_nothing_can_count_does_not_stop_the_others(store, tmp_path, monkeypatch):
    intake = Intake(store, tmp_path)
    table = batch(40)
    names = names_of(table)

    def stumble(layout, rows, seconds):
        # No row that ingest takes does this: it stands for a mistake of ours.
        if names[7] in rows.column("prediction_id").to_pylist():
            raise ZeroDivisionError
        return fold_labelled(layout, rows, seconds)

    monkeypatch.setattr(turn, "fold_labelled", stumble)
    intake.post(table)
    intake.label(names, ["fit"] * 40)
    intake.run()
    rest = dict.fromkeys((name for name in names if name != names[7]), "fit")
    np.testing.assert_allclose(intake.counted_labels(), expected(table, rest))
    assert ends(intake) == {"matched": 40}
    assert intake.numbers().rejected["m", "uncountable"] == 1
