"""Broken input ends in a state or in an error that names the column, and takes nothing else down with it."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from houses import NOON, client_of, evaluate, give_baseline, ingest, open_shop
from streams import START, predictions

from monitors.baseline.baselines import Baseline, build
from monitors.compare import Comparison, Question
from monitors.counting.labelled import fold_labelled
from monitors.counting.profiles import fold
from monitors.errors import BadColumn, BaselineMismatch, EmptyBaseline
from monitors.readings import FAULT_KINDS, Readings
from policies.assessment import assess
from policies.file.parse import parse
from policies.states import STATES, name_states
from service.deciding.cycle import Cycle
from service.readings_view import schema_view
from service.storage.embedded import Embedded

QUESTION = Question({}, "psi", "accuracy")
POLICY = parse("{model: m, task: {kind: classification}, segments: [[prediction], [group]]}")
CUTS = [["prediction"], ["group"]]
ROWS, BASELINE_ROWS = 600, 3000
HISTORY = predictions(BASELINE_ROWS)
AFTER = START + BASELINE_ROWS * 60
CURRENT = predictions(ROWS, seed=1, start=AFTER)
BASELINE = build(HISTORY, model="m", version="1", cuts=CUTS, task="classification")
TEN_MEGABYTES = "x y " * 2_500_000
"""As long as a value can be that ingest lets through, and more."""


def put(table: pa.Table, name: str, values: object) -> pa.Table:
    made = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
    return table.set_column(table.column_names.index(name), name, made)


def read(table: pa.Table, baseline: Baseline = BASELINE) -> Readings:
    """What is read, and judged, of a batch."""
    profiles, labelled = (f(baseline.layout, table, 3600) for f in (fold, fold_labelled))
    at = datetime.fromtimestamp(AFTER + ROWS * 60, tz=UTC)
    readings = Comparison.to(baseline).read(profiles, labelled, QUESTION, at)
    states = name_states(readings, assess(POLICY, readings, at))
    assert set(states.values()) <= set(STATES)
    return readings


def faults(readings: Readings) -> set[tuple[str, str]]:
    found = np.argwhere(assess(POLICY, readings, readings.at).quality.cells[0]).tolist()
    return {(readings.quality.columns[c], FAULT_KINDS[k]) for c, k in found}


def assert_same(one: Readings, other: Readings, segments: list[int], columns: list[int]) -> None:
    """Bit for bit the same drift and quality, of these segments and columns."""
    for part, names in (
        ("drift", ("size", "uncorrected", "evidence_ln", "window_start")),
        ("quality", ("share", "expected", "evidence_ln", "window_start")),
    ):
        for name in names:
            a, b = (getattr(getattr(r, part), name)[np.ix_(segments, columns)] for r in (one, other))
            np.testing.assert_array_equal(a, b, err_msg=f"{part}.{name}")


NOTHING = pa.nulls(ROWS, pa.float64())
TEXTS = CURRENT.column("feature_text").to_pylist()
CASES: dict[str, tuple[str, object, set[tuple[str, str]] | None]] = {
    "a number all null": ("feature_x1", NOTHING, {("x1", "missing")}),
    "a number without a type": ("feature_x1", pa.nulls(ROWS), {("x1", "missing")}),
    "a number all NaN": ("feature_x1", np.full(ROWS, np.nan), {("x1", "missing")}),
    "a number all infinite": ("feature_x1", np.full(ROWS, np.inf), {("x1", "out_of_range")}),
    "a number beyond float32": ("feature_x1", np.full(ROWS, -1e308), {("x1", "out_of_range")}),
    "an integer beyond 2^53": ("feature_x1", pa.array([2**63 - 1] * ROWS), {("x1", "out_of_range")}),
    "words for numbers": ("feature_x1", ["many"] * ROWS, {("x1", "type")}),
    "lists for numbers": ("feature_x1", [[1.0, 2.0]] * ROWS, {("x1", "type")}),
    "times for numbers": ("feature_x1", CURRENT.column("timestamp"), {("x1", "type")}),
    "bytes for numbers": ("feature_x1", pa.array([b"\xff\x00"] * ROWS), {("x1", "type")}),
    "truth for numbers": ("feature_x1", [True] * ROWS, None),
    "a category all null": ("feature_channel", pa.nulls(ROWS, pa.string()), {("channel", "missing")}),
    "numbers for categories": ("feature_channel", np.arange(ROWS, dtype=float), {("channel", "unseen")}),
    "truth for categories": ("feature_channel", [False] * ROWS, {("channel", "unseen")}),
    "lists for categories": ("feature_channel", [["web"]] * ROWS, {("channel", "type")}),
    "a category of 10 MB": ("feature_channel", [TEN_MEGABYTES, *["web", "app"] * (ROWS // 2)][:ROWS], set()),
    "a category of many values": ("feature_channel", [f"v{i}" for i in range(ROWS)], {("channel", "unseen")}),
    "a text all null": (
        "feature_text",
        pa.nulls(ROWS, pa.string()),
        {("text.length", "missing"), ("text.unseen_words", "missing")},
    ),
    "a text of 10 MB": ("feature_text", [TEN_MEGABYTES, *TEXTS[1:]], set()),
    "numbers for texts": ("feature_text", np.arange(ROWS, dtype=float), None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_column_is_a_fault_of_its_own_and_changes_no_other(case):
    source, values, expected = CASES[case]
    sound, broken = read(CURRENT), read(put(CURRENT, source, values))
    # `joint` is read of all features together: what breaks one of them shows in it.
    others = [c for c, column in enumerate(BASELINE.layout.columns) if column.source not in (source, "feature_")]
    assert_same(sound, broken, list(range(len(BASELINE.layout.segments))), others)
    np.testing.assert_array_equal(sound.performance.value, broken.performance.value)
    if expected is not None:
        assert {fault for fault in faults(broken) if not fault[0].startswith("text.topic")} == expected


VALUES: dict[str, Callable[[int], object]] = {
    "null": lambda _: None,
    "infinite": lambda _: float("-inf"),
    "another value each": float,
}


@pytest.mark.parametrize("case", VALUES)
def test_a_segment_with_broken_values_changes_no_other_segment(case):
    group = CURRENT.column("tag_group").to_pylist()
    x1 = CURRENT.column("feature_x1").to_pylist()
    broken = [VALUES[case](i) if g == "b" else x for i, (g, x) in enumerate(zip(group, x1, strict=True))]
    names = BASELINE.layout.segments
    others = [names.index("group=a"), names.index("group=other")]
    columns = list(range(len(BASELINE.layout.columns)))
    assert_same(read(CURRENT), read(put(CURRENT, "feature_x1", pa.array(broken, pa.float64()))), others, columns)


BASELINE_CASES: dict[str, tuple[str, object]] = {
    "all null": ("feature_x1", pa.nulls(BASELINE_ROWS, pa.float64())),
    "without a type": ("feature_x1", pa.nulls(BASELINE_ROWS)),
    "all NaN": ("feature_x1", np.full(BASELINE_ROWS, np.nan)),
    "all infinite": ("feature_x1", np.full(BASELINE_ROWS, np.inf)),
    "constant": ("feature_x1", np.zeros(BASELINE_ROWS)),
    "two huge values": ("feature_x1", np.where(np.arange(BASELINE_ROWS) % 2, 1e308, -1e308)),
    "a confidence all null": ("confidence", pa.nulls(BASELINE_ROWS, pa.float64())),
    "one prediction only": ("prediction", ["fit"] * BASELINE_ROWS),
    "predictions all null": ("prediction", pa.nulls(BASELINE_ROWS, pa.string())),
    "segments all null": ("tag_group", pa.nulls(BASELINE_ROWS, pa.string())),
    "a category of 10 MB": ("feature_channel", [TEN_MEGABYTES] + ["web"] * (BASELINE_ROWS - 1)),
    "a segment of 10 MB": ("tag_group", [TEN_MEGABYTES] + ["a"] * (BASELINE_ROWS - 1)),
}


@pytest.mark.parametrize("case", BASELINE_CASES)
def test_a_baseline_with_a_broken_column_is_small_and_reads_the_others(case):
    baseline = build(put(HISTORY, *BASELINE_CASES[case]), model="m", version="1", cuts=CUTS, task="classification")
    packed = baseline.to_bytes()
    assert len(packed) < 1_000_000
    assert Baseline.from_bytes(packed).fingerprint == baseline.fingerprint
    moved = predictions(ROWS, seed=2, start=AFTER)
    moved = put(moved, "feature_x2", np.asarray(moved.column("feature_x2")) ** 3)
    readings = read(moved, baseline)
    assert readings.drift.evidence_ln[0, readings.drift.columns.index("x2")] > 15


def test_a_hundred_thousand_values_cost_no_more_than_the_largest_of_them():
    many = [f"v{i}" for i in range(100_000)]
    table = put(put(predictions(100_000, seed=2, step=1.8), "feature_channel", many), "tag_group", many)
    baseline = build(table, model="m", version="1", cuts=[["group"]], task="classification")
    assert len(baseline.layout.segments) < 60
    assert len(baseline.to_bytes()) < 1_000_000
    assert ("channel", "unseen") not in faults(
        read(put(CURRENT, "feature_channel", [f"w{i}" for i in range(ROWS)]), baseline)
    )


@pytest.mark.parametrize("rows", [1, 2, 29])
def test_a_baseline_and_a_window_of_a_few_rows_are_read(rows):
    baseline = build(HISTORY.slice(0, rows), model="m", version="1", cuts=CUTS, task="classification")
    for table in (CURRENT, CURRENT.slice(0, rows)):
        readings = read(table, baseline)
        assert np.isnan(readings.drift.size).all()
        states = name_states(readings, assess(POLICY, readings, readings.at))
        assert states["all"] in {"insufficient", "fault"}


def test_columns_that_are_gone_are_missing_and_new_ones_are_let_be():
    fewer = CURRENT.drop_columns(["feature_x1", "feature_channel", "tag_group"])
    assert faults(read(fewer)) == {("x1", "missing"), ("channel", "missing")}
    more = CURRENT.append_column("feature_new", pa.array(["a"] * ROWS)).append_column("tag_new", pa.nulls(ROWS))
    everything = list(range(len(BASELINE.layout.segments))), list(range(len(BASELINE.layout.columns)))
    assert_same(read(CURRENT), read(more), *everything)


def test_a_segment_value_that_is_null_is_counted_in_the_tail():
    readings = read(put(CURRENT, "tag_group", pa.nulls(ROWS, pa.string())))
    assert readings.rows[readings.segments.index("group=other")] == ROWS
    assert any("new segments" in finding for finding in readings.findings)


@pytest.mark.parametrize("year", ["0001-01-01", "1970-01-01", "9999-12-31T23:59"])
def test_times_far_away_are_slices_like_all_others(year):
    moment = np.datetime64(year, "us").astype("int64")
    table = put(CURRENT, "timestamp", pa.array(np.full(ROWS, moment), pa.timestamp("us", "UTC")))
    readings = read(table)
    assert readings.rows[0] == ROWS
    assert readings.last_row_at is not None
    assert readings.last_row_at <= readings.at


def test_labels_of_unknown_classes_are_wrong_predictions():
    unknown, none = (read(put(CURRENT, "label", values)) for values in (["never"] * ROWS, pa.nulls(ROWS, pa.string())))
    assert unknown.performance.labelled[0] == ROWS
    assert unknown.performance.evidence_ln[0] > 15
    assert not none.performance.labelled.any() or np.isfinite(none.performance.evidence_ln[0])


def test_no_rows_no_such_kind_and_counts_of_another_baseline_are_named():
    with pytest.raises(EmptyBaseline, match="no rows to build the baseline of m 1"):
        build(HISTORY.slice(0, 0), model="m", version="1", cuts=CUTS, task="classification")
    with pytest.raises(BadColumn, match="'x1': kind 'colour' cannot be counted; allowed: number") as told:
        build(HISTORY, model="m", version="1", cuts=CUTS, task="classification", columns={"x1": "colour"})
    assert told.value.column == "x1"
    other = build(HISTORY, model="m", version="2", cuts=[], task="classification")
    with pytest.raises(BaselineMismatch, match="fold the rows with its layout"):
        Comparison.to(BASELINE).read(fold(other.layout, CURRENT, 3600), {}, QUESTION, NOON)


def test_bytes_that_are_no_baseline_are_named_wherever_they_are_broken():
    packed, rng = BASELINE.to_bytes(), np.random.default_rng(0)
    broken = [b"", b"x", b"PK", b"\0\0\0\2{}", b"\0\0\0\2{}" + packed[40:], packed[: len(packed) // 2], packed[:-1]]
    for _ in range(200):
        flipped = bytearray(packed)
        flipped[int(rng.integers(len(packed)))] ^= int(rng.integers(1, 256))
        broken.append(bytes(flipped))
    told = set()
    for data in broken:
        try:
            Baseline.from_bytes(data)
        except BaselineMismatch as error:
            told.add(str(error))
    assert told
    assert all("build it again" in text for text in told)


# through the service


def states_of(house) -> dict[str, str]:
    return {each["segment"]: each["state"] for each in house.ledger.evaluation("shop").segments}


def test_a_segment_with_a_broken_feed_is_a_fault_and_its_neighbour_is_not(server: Embedded, tmp_path):
    table = predictions(2_800, seed=1)
    group, x1 = table.column("tag_group").to_pylist(), table.column("feature_x1").to_pylist()
    broken = [None if g == "b" else x for g, x in zip(group, x1, strict=True)]
    with open_shop(server, tmp_path) as house:
        evaluate(house, put(table, "feature_x1", pa.array(broken, pa.float64())))
        states = states_of(house)
        assert (states["group=b"], states["group=a"]) == ("fault", "ok")
        assert "group=b: x1 missing" in house.ledger.evaluation("shop").faults


def test_rows_of_another_schema_are_faults_by_name(server: Embedded, tmp_path):
    table = put(predictions(2_800, seed=1).drop_columns(["feature_x1"]), "feature_x2", ["n/a"] * 2_800)
    with open_shop(server, tmp_path) as house:
        evaluate(house, table)
        evaluation = house.ledger.evaluation("shop")
        assert {"all: x1 missing", "all: x2 type"} <= set(evaluation.faults)
        assert evaluation.action != "retrain"
        told = {(each["kind"], each["column"]) for each in schema_view(None, house.noted("shop"))}
        assert told == {("missing", "x1"), ("type", "x2")}


def test_labels_of_unknown_classes_do_not_stop_the_evaluation(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house:
        evaluate(house, put(predictions(2_800, seed=1), "label", ["never"] * 2_800))
        performance = house.ledger.evaluation("shop").segments[0]["performance"]
        assert performance["value"] == 0


def test_a_stored_baseline_that_cannot_be_read_blinds_its_version_and_no_other(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house:
        give_baseline(house)
        give_baseline(house, "2", predictions(3_000, seed=98, start=START - 180_000))
        fingerprint = house.ledger.baselines("shop")["2"]
        name = next(n for n in house.store.do("KEYS", f"*baseline*{fingerprint}"))
        house.store.do("SET", name, b"of another format")
        house.ledger.__init__(house.store)  # type: ignore[misc]
        other = put(predictions(600, seed=3), "model_version", ["2"] * 600)
        ingest(house, pa.concat_tables([other, predictions(2_800, seed=1)]))
        assert Cycle(house).step("shop") is not None
        assert states_of(house)["all"] in {"ok", "watch"}
        assert house.ledger.baseline("shop", "2") is None


def test_a_champion_whose_baseline_cannot_be_read_is_blind_and_says_what_to_do(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        baseline = give_baseline(house)
        name = next(n for n in house.store.do("KEYS", f"*baseline*{baseline.fingerprint}"))
        house.store.do("SET", name, b"of another format")
        house.ledger.__init__(house.store)  # type: ignore[misc]
        assert Cycle(house).step("shop") is None
        shown = client.get("/v1/models/shop").json()
        assert shown["state"] == "blind"
        assert shown["blind"] == (
            "No baseline for version 1: these bytes are not a stored baseline; build it again. "
            "Build one: tidegate baseline build FILE --model shop --version 1."
        )
        assert shown["blind"] in client.get("/").text
