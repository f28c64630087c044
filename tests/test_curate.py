from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.training.curate import MOST_HOLDOUT, Curated, curate, digest_ids
from service.training.training_errors import NotEnoughRows

START = datetime(2026, 11, 22, tzinfo=UTC)
HOUR = 3600


def labelled(n: int, *, minutes: float = 10, seed: int = 0) -> pa.Table:
    """A row each ten minutes, labelled a day later."""
    rng = np.random.default_rng(seed)
    times = [START + timedelta(minutes=minutes * i) for i in range(n)]
    stamp = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "prediction_id": [f"p{i:05}" for i in range(n)],
            "timestamp": pa.array(times, stamp),
            "prediction": rng.choice(["fit", "returns"], n),
            "model_version": ["1"] * n,
            "feature_text": [f"text {i}" for i in range(n)],
            "feature_channel": rng.choice(["web", "app"], n),
            "tag_market": rng.choice(["DE", "FR"], n),
            "label": rng.choice(["fit", "returns", "shipping"], n),
            "labelled_at": pa.array([t + timedelta(days=1) for t in times], stamp),
        }
    )


def curated(
    rows: pa.Table, change_at: int | None = None, *, faults: frozenset[int] = frozenset(), **how: object
) -> Curated:
    change = None if change_at is None else START + timedelta(minutes=10 * change_at)
    return curate(rows, change_started=change, fault_slices=faults, slice_seconds=HOUR, **how)


def ids(table: pa.Table) -> list[str]:
    return list(table["prediction_id"].to_pylist())


def replaced(rows: pa.Table, column: str, values: list[object]) -> pa.Table:
    return rows.set_column(rows.column_names.index(column), column, pa.array(values, rows[column].type))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(300, 900), change=st.integers(0, 400), seed=st.integers(0, 99), window=st.integers(50, 1000))
def test_training_validation_and_holdout_follow_each_other_and_share_no_row(
    n: int, change: int, seed: int, window: int
) -> None:
    shuffled = labelled(n).take(pa.array(np.random.default_rng(seed).permutation(n)))
    try:
        found = curated(shuffled, min(change, n), window_rows=window)
    except NotEnoughRows:
        return
    assert max(found.validation["timestamp"].to_pylist()) < min(found.holdout["timestamp"].to_pylist())
    assert max(ids(found.holdout)) == f"p{n - 1:05}"
    assert min(ids(found.holdout)) >= f"p{change:05}"
    for candidate in found.candidates.values():
        assert ids(candidate) == sorted(ids(candidate))
        assert max(ids(candidate)) < min(ids(found.validation))
    for name, whole in found.whole.items():
        assert max(ids(whole)) == f"p{n - 1:05}"
        assert whole.num_rows >= found.candidates[name].num_rows


def test_the_candidates_are_the_rows_after_the_change_the_last_window_and_the_history() -> None:
    found = curated(labelled(6000), 5000, window_rows=1200)
    assert {name: table.num_rows for name, table in found.candidates.items()} == {
        "after_change": 490,
        "last_window": 1200,
        "history": 4800,
    }
    assert ids(found.candidates["after_change"])[0] == "p05000"
    assert (found.validation.num_rows, found.holdout.num_rows) == (210, 300)
    assert found.manifest["excluded"]["older_than_every_candidate"] == 6000 - 510 - 4800


def test_with_nothing_held_back_a_candidate_reaches_to_the_newest_row_and_a_window_keeps_its_length() -> None:
    found = curated(labelled(6000), 5000, window_rows=1200)
    assert {name: table.num_rows for name, table in found.whole.items()} == {
        "after_change": 1000,
        "last_window": 1200,
        "history": 4800,
    }
    assert ids(found.whole["after_change"])[0] == "p05000"


def test_a_candidate_with_the_same_rows_as_another_is_not_trained_twice() -> None:
    assert list(curated(labelled(1000)).candidates) == ["after_change"]


def test_without_a_change_all_rows_may_be_held_out_up_to_a_bound() -> None:
    assert curated(labelled(5000)).holdout.num_rows == MOST_HOLDOUT


def test_of_several_labels_the_last_to_arrive_counts() -> None:
    rows = labelled(600)
    corrected = replaced(rows.slice(0, 50), "label", ["corrected"] * 50)
    later = replaced(corrected, "labelled_at", [START + timedelta(days=9)] * 50)
    stale = replaced(replaced(rows.slice(50, 50), "label", ["stale"] * 50), "labelled_at", [START] * 50)
    found = curated(pa.concat_tables([later, stale, rows]))
    labels = dict(
        zip(ids(found.candidates["after_change"]), found.candidates["after_change"]["label"].to_pylist(), strict=True)
    )
    assert [labels[f"p{i:05}"] for i in range(50)] == ["corrected"] * 50
    assert "stale" not in labels.values()
    assert found.manifest["excluded"]["relabelled"] == 100


def test_rows_of_faulty_slices_and_rows_without_a_label_are_left_out_and_counted() -> None:
    rows = labelled(900)
    rows = replaced(
        rows, "label", [None if i < 30 else "" if i < 40 else v for i, v in enumerate(rows["label"].to_pylist())]
    )
    fault = int(START.timestamp()) + 20 * HOUR
    found = curated(rows, faults=frozenset({fault, fault + 10 * 24 * HOUR}))
    used = {i for t in [*found.candidates.values(), found.validation, found.holdout] for i in ids(t)}
    assert used == {f"p{i:05}" for i in range(40, 900)} - {f"p{i:05}" for i in range(120, 126)}
    assert found.manifest["excluded"] == {
        "without_label": 40,
        "relabelled": 0,
        "in_faulty_slice": 6,
        "older_than_every_candidate": 0,
    }
    assert found.manifest["rows"] == 900


def test_the_manifest_accounts_for_every_row_and_segment() -> None:
    rows = labelled(2000)
    found = curated(rows, 1200, window_rows=900, cuts=[["intent"], ["channel"], ["intent", "market"]], target="intent")
    parts = found.manifest["parts"]
    assert set(parts) == {*found.candidates, "validation", "holdout"}
    for name, part in parts.items():
        table = {**found.candidates, "validation": found.validation, "holdout": found.holdout}[name]
        assert part["rows"] == table.num_rows
        assert part["digest"] == digest_ids(table)
        assert part["segments"]["intent=fit"] + part["segments"]["intent=returns"] == table.num_rows
        assert part["segments"]["channel=web"] == table["feature_channel"].to_pylist().count("web")
        assert sum(n for s, n in part["segments"].items() if "market" in s) == table.num_rows
    assert parts["holdout"]["until"] == (START + timedelta(minutes=19990)).isoformat()


def test_conflicting_labels_and_copies_of_holdout_rows_are_counted_not_removed() -> None:
    rows = labelled(1000)
    texts = [f"text {i}" for i in range(1000)]
    texts[1] = texts[0]
    texts[999] = texts[5]
    rows = replaced(rows, "feature_text", texts)
    rows = replaced(rows, "feature_channel", ["web"] * 1000)
    rows = replaced(rows, "label", ["fit", "returns", *["fit"] * 998])
    found = curated(rows)
    assert found.manifest["conflicting"] == 2
    assert found.manifest["holdout_copies"] == 1
    assert found.candidates["after_change"].num_rows + found.validation.num_rows + found.holdout.num_rows == 1000


def test_lists_of_numbers_are_compared_number_by_number() -> None:
    rows = labelled(600)
    vectors = [[float(n), 0.5] for n in range(598)] + [None, None]
    rows = rows.append_column("feature_vector", pa.array(vectors, pa.list_(pa.float32())))
    rows = replaced(rows, "feature_text", ["same"] * 600)
    rows = replaced(rows, "feature_channel", ["web"] * 600)
    rows = replaced(rows, "label", ["fit"] * 599 + ["returns"])
    assert curated(rows).manifest["conflicting"] == 2


def test_a_digest_does_not_depend_on_the_order() -> None:
    rows = labelled(10)
    assert digest_ids(rows) == digest_ids(rows.take(pa.array(list(range(10))[::-1])))
    assert digest_ids(rows) != digest_ids(rows.slice(1))


def test_numbers_as_labels_may_be_missing_too() -> None:
    rows = labelled(300)
    values = [float("nan") if i < 20 else None if i < 30 else float(i) for i in range(300)]
    rows = rows.set_column(rows.column_names.index("label"), "label", pa.array(values, pa.float64()))
    assert curated(rows).manifest["excluded"]["without_label"] == 30


@pytest.mark.parametrize(("rows", "change"), [(0, None), (80, None), (1000, 950), (1000, 1000), (150, None)])
def test_too_few_rows_are_refused_with_the_numbers(rows: int, change: int | None) -> None:
    with pytest.raises(NotEnoughRows, match=r"rows, at least \d+ are needed") as refused:
        curated(labelled(rows), change)
    assert refused.value.seen < refused.value.needed


def test_what_was_left_out_is_said_when_too_little_remains() -> None:
    rows = replaced(labelled(300), "label", [None] * 300)
    with pytest.raises(NotEnoughRows, match="300 without_label"):
        curated(rows)
