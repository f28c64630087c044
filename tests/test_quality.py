"""Faults of the data and findings: each told once, as what it is, for as long as it lasts."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import START, predictions

from monitors.baseline.baselines import build
from monitors.compare import Comparison, Question
from monitors.counting.profiles import fold
from monitors.reading.quality import faulty_slices
from monitors.readings import FAULT_KINDS, Readings
from policies.assessment import assess
from policies.file.parse import parse
from policies.states import name_states

QUESTION = Question({}, "psi", "accuracy")
POLICY = parse("{model: m, task: {kind: classification}, segments: [[prediction], [group]], evaluate: 1h}")
HISTORY = predictions(6000)
BASELINE = build(HISTORY, model="m", version="1", cuts=[["prediction"], ["group"]], task="classification")
COMPARISON = Comparison.to(BASELINE)
AFTER = START + 6000 * 60
MISSING, UNSEEN, OUT_OF_RANGE, TYPE = range(len(FAULT_KINDS))
BAR = 10.0


def read(table: pa.Table, comparison: Comparison = COMPARISON, left_out=()) -> Readings:
    baseline = comparison.baseline
    profiles = fold(baseline.layout, table, baseline.slice_seconds)
    at = datetime.fromtimestamp(max(profiles, default=AFTER) + baseline.slice_seconds, tz=UTC)
    return comparison.read(profiles, {}, QUESTION, at, left_out)


def each_hour(table: pa.Table, first: int):
    """The readings at the end of every hour from row `first` on, 60 rows an hour."""
    return [read(table.slice(0, end)) for end in range(first, table.num_rows + 1, 60)]


def put(table: pa.Table, name: str, values) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def with_new_values(table: pa.Table, share: float, name: str = "feature_channel", *, seed: int = 0) -> pa.Table:
    new = np.random.default_rng(seed).random(table.num_rows) < share
    return put(table, name, np.where(new, "fax", table.column(name).to_pylist()).tolist())


def place(readings: Readings, name: str) -> int:
    return readings.quality.columns.index(name)


def fault(readings: Readings, name: str, kind: int, segment: str = "all") -> float:
    return float(readings.quality.evidence_ln[readings.segments.index(segment), place(readings, name), kind])


def test_missing_values_are_a_fault_and_not_drift_of_the_rest():
    readings = read(predictions(600, seed=4, missing=0.4, start=AFTER))
    x1 = place(readings, "x1")
    assert readings.quality.share[0, x1, MISSING] == pytest.approx(0.4, abs=0.06)
    assert fault(readings, "x1", MISSING) > 20
    assert readings.drift.evidence_ln[0, x1] < 3


def test_a_sound_stream_has_no_evidence_of_a_fault():
    for readings in each_hour(predictions(3000, seed=1, start=AFTER), 300):
        assert readings.quality.evidence_ln.max() < 3


def test_a_fault_stays_open_as_long_as_it_lasts():
    table = predictions(3000, seed=2, missing=0.12, start=AFTER)
    evidence = [fault(readings, "x1", MISSING) for readings in each_hour(table, 600)]
    assert min(evidence) > BAR


def test_a_fault_that_has_ended_is_over_within_the_recent_rows():
    broken = predictions(1200, seed=3, missing=0.4, start=AFTER)
    mended = predictions(240, seed=4, start=AFTER + 1200 * 60)
    assert fault(read(broken), "x1", MISSING) > BAR
    after = read(pa.concat_tables([broken, mended]))
    assert fault(after, "x1", MISSING) <= 0
    assert after.quality.share[0, place(after, "x1"), MISSING] == 0


def test_a_rare_fault_is_seen_once_enough_rows_hold_it():
    table = with_new_values(predictions(4200, seed=5, start=AFTER), 0.015)
    early, late = read(table.slice(0, 240)), read(table)
    assert fault(early, "channel", UNSEEN) < BAR < fault(late, "channel", UNSEEN)
    assert late.quality.share[0, place(late, "channel"), UNSEEN] == pytest.approx(0.015, abs=0.007)


@pytest.mark.parametrize("share", [0.01, 0.03, 0.3])
def test_new_values_are_a_fault_and_not_drift(share):
    readings = read(with_new_values(predictions(1500, seed=6, start=AFTER), share))
    channel = place(readings, "channel")
    assert fault(readings, "channel", UNSEEN) > 1
    assert readings.drift.evidence_ln[0, channel] < 2
    assert readings.drift.size[0, channel] < 0.01


def test_new_values_that_stay_are_a_change_of_the_world_and_a_few_never_are():
    many, few = (read(with_new_values(predictions(4800, seed=7, start=AFTER), s)) for s in (0.3, 0.03))
    channel = place(many, "channel")
    assert fault(many, "channel", UNSEEN) < 3
    assert many.drift.evidence_ln[0, channel] > 50
    assert fault(few, "channel", UNSEEN) > BAR
    assert few.drift.evidence_ln[0, channel] < 2


def test_values_out_of_range_that_stay_are_a_change_and_missing_ones_stay_a_fault():
    moved = predictions(6000, seed=9, shift=30.0, start=AFTER, missing=0.3)
    first, last = read(moved.slice(0, 300)), read(moved)
    x1 = place(first, "x1")
    for readings, is_fault in ((first, True), (last, False)):
        excess = readings.quality.share - readings.quality.expected
        assert (excess[0, x1, OUT_OF_RANGE] > 0.05) == is_fault
        assert excess[0, x1, MISSING] > 0.2
    assert last.drift.evidence_ln[0, x1] > 50


def test_a_category_that_always_brings_new_values_is_not_broken():
    rng = np.random.default_rng(0)

    def orders(rows: int, start: int) -> pa.Table:
        values = np.where(rng.random(rows) < 0.2, rng.integers(0, 10**9, rows), rng.integers(0, 50, rows))
        return put(predictions(rows, seed=start, start=start), "feature_channel", [f"o{v}" for v in values])

    comparison = Comparison.to(build(orders(4000, START), model="m", version="1", cuts=[], task="classification"))
    readings = read(orders(1500, AFTER), comparison)
    channel = place(readings, "channel")
    assert readings.quality.share[0, channel, UNSEEN] > 0.15
    assert fault(readings, "channel", UNSEEN) < 3
    assert readings.drift.evidence_ln[0, channel] < 3


def test_a_fault_of_a_thin_segment_is_seen_there():
    table = predictions(3000, seed=11, start=AFTER, share_b=0.03)
    groups = np.asarray(table.column("tag_group").to_pylist())
    x1 = np.where(groups == "b", np.nan, table.column("feature_x1").to_numpy())
    readings = read(put(table, "feature_x1", pa.array(x1, from_pandas=True)))
    assert fault(readings, "x1", MISSING, "group=b") > BAR
    assert fault(readings, "x1", MISSING, "group=a") <= 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.1, 0.9))
def test_faulty_slices_are_those_with_half_of_the_share_since_the_fault_began(seed, share):
    rng = np.random.default_rng(seed)
    table = predictions(480, seed=seed, start=AFTER)
    x1 = np.where(rng.random(480) < share * (np.arange(480) > 200), np.nan, table.column("feature_x1").to_numpy())
    table = put(table, "feature_x1", pa.array(x1, from_pandas=True))
    profiles = fold(BASELINE.layout, table, 3600)
    quality = read(table).quality
    cells = np.zeros(quality.share.shape, dtype=bool)
    s, c, k = 0, quality.columns.index("x1"), MISSING
    cells[s, c, k] = True
    began = quality.window_start[s, c, k].astype("datetime64[s]").astype(int)
    hits = {start: BASELINE.layout.column_extra(p, c)[s, k] for start, p in profiles.items()}
    slow = {t for t, n in hits.items() if t >= began and 0 < n >= quality.share[s, c, k] / 2 * profiles[t][s, 0]}
    assert faulty_slices(BASELINE, profiles, quality, cells) == slow
    assert faulty_slices(BASELINE, profiles, quality, np.zeros_like(cells)) == set()


def test_a_version_that_has_just_begun_to_serve_has_not_stopped():
    at = datetime.fromtimestamp(AFTER, tz=UTC)
    assert np.isnan(COMPARISON.read({}, {}, QUESTION, at).quality.volume_ratio[0])
    first_hours = fold(BASELINE.layout, predictions(180, start=AFTER), 3600)
    assert np.isnan(COMPARISON.read(first_hours, {}, QUESTION, at + timedelta(hours=3)).quality.volume_ratio[0])


def test_traffic_that_stops_is_seen_by_the_clock():
    profiles = fold(BASELINE.layout, predictions(180, start=AFTER), 3600)
    two_days_later = datetime.fromtimestamp(AFTER, tz=UTC) + timedelta(days=2)
    assert COMPARISON.read(profiles, {}, QUESTION, two_days_later).quality.volume_ratio[0] == 0


def test_a_sound_stream_has_no_findings():
    assert {
        finding for readings in each_hour(predictions(3000, seed=12, start=AFTER), 60) for finding in readings.findings
    } == set()


def test_a_new_and_a_vanished_segment_are_findings_that_hold_still():
    table = put(predictions(3000, seed=6, start=AFTER), "tag_group", ["a"] * 1500 + (["a"] * 2 + ["c"]) * 500)
    told = [readings.findings for readings in each_hour(table, 2400)]
    assert len(set(told)) <= 2
    assert told[-1][0] == "segment group=b vanished: about 30 % of the baseline's rows, none of those counted"
    assert told[-1][1].startswith("new segments: about 20 % of the rows are in group=other, none in the baseline")


def test_a_vanished_segment_says_since_when_and_is_blind_once_no_window_holds_it():
    before, after = (predictions(n, seed=n, start=AFTER + s * 60) for n, s in ((600, 0), (11_400, 600)))
    after = put(after, "tag_group", ["a"] * after.num_rows)
    table = pa.concat_tables([before, after])
    since = datetime.fromtimestamp(AFTER + 600 * 60, UTC)
    said = f"segment group=b vanished: about 30 % of the baseline's rows, none since {since:%Y-%m-%d %H:%M} UTC"
    early, late = read(table.slice(0, 3000)), read(table)
    assert early.findings == late.findings == (said,)
    assert name_states(late, assess(POLICY, late, late.at))["group=b"] == "blind"


def test_a_parent_that_vanished_speaks_for_its_children():
    cuts = [["group"], ["group", "channel"]]
    comparison = Comparison.to(build(HISTORY, model="m", version="1", cuts=cuts, task="classification"))
    table = put(predictions(2000, seed=13, start=AFTER), "tag_group", ["a"] * 2000)
    findings = read(table, comparison).findings
    assert [f.partition(" vanished")[0] for f in findings] == ["segment group=b"]


def test_a_value_that_reads_like_the_tail_is_a_segment_like_all_others():
    groups = ["mother" if i % 3 else "b" for i in range(6000)]
    named = put(HISTORY, "tag_group", groups)
    comparison = Comparison.to(build(named, model="m", version="1", cuts=[["group"]], task="classification"))
    more = put(predictions(3000, seed=14, start=AFTER), "tag_group", ["mother"] * 2900 + ["b"] * 100)
    assert not any("new segments" in finding for finding in read(more, comparison).findings)


def test_new_values_are_a_finding_and_what_columns_the_rows_have_is_none():
    table = with_new_values(predictions(3000, seed=15, start=AFTER), 0.03)
    table = put(table.drop_columns(["feature_x1"]), "feature_x2", ["n/a"] * 3000)
    assert read(table).findings == ("column channel has new values, which the baseline never had",)


def test_new_segments_are_named_where_their_names_are_known():
    table = put(predictions(3000, seed=6, start=AFTER), "tag_group", (["a"] * 2 + ["b"] * 2 + ["c"]) * 600)
    profiles = fold(BASELINE.layout, table, 3600)
    at = datetime.fromtimestamp(max(profiles) + 3600, UTC)
    names = {"group=other": {"group=c": 599, **{f"group=d{i}": 1 for i in range(6)}}}
    found = COMPARISON.read(profiles, {}, QUESTION, at, newcomers=names).findings
    assert len(found) == 1
    assert found[0].endswith(
        "none in the baseline: group=c (599 rows), "
        "group=d0 (1 rows), group=d1 (1 rows), group=d2 (1 rows), group=d3 (1 rows), 2 more"
    )


def test_a_feed_that_always_misses_more_at_night_is_no_fault_each_night_and_one_when_it_breaks():
    def hours(count: int, start: int, *, seed: int, broken: bool = False) -> pa.Table:
        rng = np.random.default_rng(seed)
        table = predictions(count * 200, seed=seed, start=start, step=18)
        hour = (start + np.arange(count * 200) * 18) // 3600 % 24
        missing = rng.random(count * 200) < np.where(hour < 8, 0.3, 0.05) + (0.6 if broken else 0)
        x1 = np.where(missing, np.nan, table.column("feature_x1").to_numpy())
        return put(table.drop_columns(["feature_text"]), "feature_x1", pa.array(x1, from_pandas=True))

    history = hours(120, START, seed=20)
    comparison = Comparison.to(build(history, model="m", version="1", cuts=[], task="classification"))
    now = hours(72, START + 120 * 3600, seed=21)
    for end in range(1, 73):
        assert fault(read(now.slice(0, end * 200), comparison), "x1", MISSING) < BAR
    worse = pa.concat_tables([now, hours(6, START + 192 * 3600, seed=22, broken=True)])
    assert fault(read(worse, comparison), "x1", MISSING) > BAR
