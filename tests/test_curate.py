import html
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from houses import client_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from scipy import sparse
from test_replay import POLICY
from test_replay import rows as flipping
from test_retrain import open_shop

from policies.file.curation import Balance, Curate, Producers
from service.retraining.opening import open_retraining
from service.training.curate import MOST_HOLDOUT, Curated, curate, digest_ids
from service.training.curating.account import EXAMPLES
from service.training.curating.words import words_of
from service.training.linear_fit import fit_classes
from service.training.trainers import refit
from service.training.training_errors import NotEnoughRows, TrainingData

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


UNSOUGHT = Curate(suspicious="ignore")
"""The labels here follow nothing, so suspicious ones are sought only where that is the point."""


def curated(
    rows: pa.Table,
    change_at: int | None = None,
    *,
    faults: frozenset[int] = frozenset(),
    rules: Curate = UNSOUGHT,
    **how: object,
) -> Curated:
    change = None if change_at is None else START + timedelta(minutes=10 * change_at)
    return curate(rows, change_started=change, fault_slices=faults, slice_seconds=HOUR, rules=rules, **how)


def taught(found: Curated) -> pa.Table:
    return found.candidates["after_change"]


def shares(table: pa.Table, column: str) -> dict[str, float]:
    counted = table[column].value_counts().to_pylist()
    return {each["values"]: each["counts"] / table.num_rows for each in counted}


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


# ---- the law: every row is accounted for once, whatever the rules


durations = st.sampled_from([None, timedelta(minutes=10), timedelta(hours=30), timedelta(days=300)])
every_rule = st.builds(
    Curate,
    oldest=durations,
    half_life=durations,
    duplicates=durations,
    conflicts=st.sampled_from(["keep", "newest", "leave_out"]),
    suspicious=st.sampled_from(["ignore", "list", "leave_out"]),
    balance=st.none()
    | st.builds(
        Balance,
        st.sampled_from([("market",), ("label",)]),
        st.none() | st.integers(1, 150),
        st.none() | st.integers(150, 400),
    ),
    producers=st.none() | st.builds(Producers, st.sampled_from(["market", "channel"]), st.floats(0.05, 0.95)),
)


def few_kinds(n: int, seed: int) -> pa.Table:
    """Rows of which many are equal, some without a label, some labelled twice."""
    rng, rows = np.random.default_rng(seed), labelled(n, seed=seed)
    rows = replaced(rows, "feature_text", [f"text {i}" for i in rng.integers(0, 40, n)])
    rows = replaced(
        rows, "label", [None if i % 17 == 0 else label for i, label in enumerate(rows["label"].to_pylist())]
    )
    again = rows.take(pa.array(rng.integers(0, n, n // 20)))
    return pa.concat_tables([rows, again]).take(pa.array(rng.permutation(n + n // 20)))


@settings(max_examples=40, deadline=None)
@given(rules=every_rule, n=st.integers(200, 900), change=st.integers(0, 400), seed=st.integers(0, 99))
def test_every_labelled_row_is_in_a_part_or_left_out_for_one_reason(
    rules: Curate, n: int, change: int, seed: int
) -> None:
    rows = few_kinds(n, seed)
    try:
        found = curated(rows, min(change, n), rules=rules, window_rows=150, faults=frozenset({int(START.timestamp())}))
    except NotEnoughRows:
        return
    told = found.manifest
    assert told["training"] == len({i for table in found.candidates.values() for i in ids(table)})
    parts = told["training"] + found.validation.num_rows + found.holdout.num_rows
    assert parts + sum(told["excluded"].values()) == rows.num_rows
    for reason, count in told["excluded"].items():
        assert not count or told["left_out"][reason]["rows"] == count
        assert len(told["left_out"].get(reason, {"ids": []})["ids"]) == min(count, EXAMPLES)
    for name, table in found.candidates.items():
        part = told["parts"][name]
        assert ids(table) == sorted(ids(table))
        assert len(set(ids(table))) == table.num_rows == part["rows"]
        assert (
            "considered" not in part
            or part["considered"] - sum(part["left_out"].values()) + part["filled"] == part["rows"]
        )
        assert not set(ids(table)) & {*ids(found.validation), *ids(found.holdout), *ids(found.aside[name])}
        assert rules.half_life is None or 0 < min(table["weight"].to_pylist()) <= max(table["weight"].to_pylist()) == 1


@settings(max_examples=15, deadline=None)
@given(rules=every_rule, seed=st.integers(0, 99))
def test_no_rule_touches_the_rows_that_choose_and_judge(rules: Curate, seed: int) -> None:
    rows = few_kinds(600, seed)
    plain = curated(rows, 100)
    try:
        found = curated(rows, 100, rules=rules)
    except NotEnoughRows:
        return
    assert found.validation.equals(plain.validation)
    assert found.holdout.equals(plain.holdout)


def test_as_the_defaults_are_every_row_teaches() -> None:
    rows = few_kinds(900, 1)
    plain, found = curated(rows, 200), curated(rows, 200, rules=Curate())
    assert {n: t.equals(plain.candidates[n]) for n, t in found.candidates.items()} == dict.fromkeys(
        plain.candidates, True
    )
    assert {n: t.equals(plain.whole[n]) for n, t in found.whole.items()} == dict.fromkeys(plain.whole, True)
    assert found.manifest["suspicious"]["looked_at"] > 500


# ---- each rule


def test_rows_that_are_too_old_teach_nothing() -> None:
    found = curated(labelled(1000), rules=Curate(oldest=timedelta(hours=30), suspicious="ignore"))
    assert taught(found).num_rows == 181
    assert found.manifest["excluded"]["stale"] == 490 - 181
    assert found.whole["after_change"].num_rows == 181


def test_a_row_of_twice_the_half_life_counts_a_quarter() -> None:
    found = curated(labelled(1000), rules=Curate(half_life=timedelta(hours=10), suspicious="ignore"))
    weights = taught(found)["weight"].to_pylist()
    assert weights[-1] == 1
    assert weights[-61] == pytest.approx(0.5)
    assert weights[-121] == pytest.approx(0.25)
    assert found.manifest["parts"]["after_change"]["weights"]["effective_rows"] < 300
    assert "weight" not in found.validation.column_names


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_rows_that_count_more_teach_more(task: str) -> None:
    """Each text comes with two labels; the heavier one is learnt, whichever it is."""
    n = 400
    labels = ["fit", "returns"] * (n // 2) if task == "classification" else [0.0, 10.0] * (n // 2)
    rows = pa.table({"feature_x": [1.0, 1.0, -1.0, -1.0] * (n // 4), "label": labels})
    for heavy, light in ((1.0, 0.01), (0.01, None)):  # a weight that is missing is 1
        weighed = rows.append_column("weight", pa.array([heavy, light] * (n // 2)))
        said = refit(weighed, task=task, step=3).predict(rows)["prediction"].to_pylist()
        first = heavy == 1
        expected = (
            ("fit" if first else "returns")
            if task == "classification"
            else pytest.approx(0.1 if first else 9.9, abs=0.2)
        )
        assert all(each == expected for each in said)


def test_weights_reach_the_fit_of_many_labels_too() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(800) % 80
    matrix = sparse.csr_matrix(np.eye(2000, dtype=np.float32)[codes])
    turned = np.where(np.arange(800) < 400, codes, (codes + 1) % 80)
    weights = np.where(np.arange(800) < 400, 1.9, 0.1)
    shuffled = rng.permutation(800)
    for chosen, expected in ((weights, codes), (weights[::-1], (codes + 1) % 80)):
        steps = fit_classes(matrix[shuffled], turned[shuffled], 80, seed=0, weights=chosen[shuffled])
        last = list(steps)[-1].linear
        assert last.link == "one_vs_rest"
        assert (last.probabilities(matrix).argmax(axis=1) == expected).mean() > 0.95


def test_of_equal_rows_one_teaches_in_each_window() -> None:
    rows = replaced(labelled(1000), "feature_text", ["same"] * 1000)
    rows = replaced(replaced(rows, "feature_channel", ["web"] * 1000), "label", ["fit", "returns"] * 500)
    found = curated(rows, rules=Curate(duplicates=timedelta(hours=1), suspicious="ignore"))
    assert ids(taught(found))[:4] == ["p00004", "p00005", "p00010", "p00011"]
    assert found.manifest["parts"]["after_change"]["left_out"] == {"duplicate": 490 - taught(found).num_rows}
    assert ids(found.aside["after_change"])[:2] == ["p00000", "p00001"]


def test_of_conflicting_rows_those_with_the_newest_label_teach_or_none() -> None:
    rows = replaced(labelled(1000), "feature_channel", ["web"] * 1000)
    rows = replaced(rows, "feature_text", ["one text"] * 3 + [f"text {i}" for i in range(997)])
    rows = replaced(rows, "label", ["fit", "returns", "returns"] + ["fit"] * 997)
    newest = curated(rows, rules=Curate(conflicts="newest", suspicious="ignore"))
    assert ids(taught(newest))[:3] == ["p00001", "p00002", "p00003"]
    none = curated(rows, rules=Curate(conflicts="leave_out", suspicious="ignore"))
    assert ids(taught(none))[0] == "p00003"
    assert none.manifest["excluded"]["conflicting"] == 3
    assert none.manifest["conflicts"]["ids"] == ["p00000", "p00001", "p00002"]


def test_a_producer_has_at_most_its_share_of_what_is_taught() -> None:
    rng = np.random.default_rng(0)
    sources = np.where(rng.random(3000) < 0.4, "poisoned", rng.choice(["a", "b", "c", "d", "e", "f"], 3000))
    rows = labelled(3000).append_column("tag_source", pa.array(sources))
    found = curated(rows, rules=Curate(producers=Producers("source", 0.2), suspicious="ignore"))
    before = shares(rows, "tag_source")["poisoned"]
    after = shares(taught(found), "tag_source")
    assert before > 0.38
    assert 0.195 < after["poisoned"] <= 0.2
    assert shares(found.holdout, "tag_source")["poisoned"] > 0.35  # who judges is not chosen
    assert found.manifest["parts"]["holdout"]["producers"]["poisoned"] > 300
    assert found.manifest["excluded"]["over_producer_share"] > 350


def test_a_share_that_cannot_be_kept_ends_the_retraining() -> None:
    with pytest.raises(NotEnoughRows, match="490 over_producer_share"):
        curated(labelled(1000), rules=Curate(producers=Producers("market", 0.3), suspicious="ignore"))


def test_a_column_that_no_row_has_is_named() -> None:
    with pytest.raises(TrainingData, match=r"producers\.column names 'source'"):
        curated(labelled(1000), rules=Curate(producers=Producers("source", 0.3)))


def test_the_long_tail_is_kept_and_filled_up_from_before_the_window() -> None:
    markets = ["tail" if i % 100 == 0 else "DE" for i in range(6000)]
    rows = replaced(labelled(6000), "tag_market", markets)
    rules = Curate(balance=Balance(("market",), least=40, most=500), suspicious="ignore")
    found = curated(rows, 5000, window_rows=1200, rules=rules, cuts=[["market"]])
    window, told = found.candidates["last_window"], found.manifest["parts"]["last_window"]
    assert told["segments_considered"] == {"market=DE": 1188, "market=tail": 12}
    assert told["segments"] == {"market=DE": 500, "market=tail": 40}
    assert (told["filled"], told["left_out"]) == (28, {"over_segment_size": 688})
    tail = [
        int(i[1:]) for i, market in zip(ids(window), window["tag_market"].to_pylist(), strict=True) if market == "tail"
    ]
    assert tail == list(range(5400 - 3900, 5401, 100))[-40:]
    plain = curated(rows, 5000, window_rows=1200, cuts=[["market"]])
    assert found.manifest["parts"]["holdout"]["segments"] == plain.manifest["parts"]["holdout"]["segments"]


# ---- suspicious labels


def learnable(n: int, flipped: float, seed: int = 0) -> tuple[pa.Table, set[str]]:
    """Rows whose label follows x, and the ids of those whose label was turned round."""
    rng, rows = np.random.default_rng(seed), labelled(n, seed=seed)
    x = rng.normal(size=n)
    wrong = rng.random(n) < flipped
    label = np.where((x > 0) ^ wrong, "fit", "returns")
    rows = rows.drop_columns(["feature_text"]).append_column("feature_x", pa.array(x))
    return replaced(rows, "label", label.tolist()), {f"p{i:05}" for i in np.flatnonzero(wrong)}


def test_flipped_labels_are_found_and_left_out_only_where_the_policy_says() -> None:
    rows, wrong = learnable(3000, 0.05)
    listed = curated(rows, rules=Curate())
    found = {each["id"] for each in listed.listing["suspicious"]["labels"]}
    assert len(found & wrong) > 0.9 * len(found)
    assert len(found & wrong) > 0.5 * len(wrong)
    assert listed.manifest["excluded"].keys() == {
        *["without_label", "relabelled", "in_faulty_slice"],
        "older_than_every_candidate",
    }
    assert len(listed.manifest["suspicious"]["labels"]) == EXAMPLES
    assert {each["rather"] for each in listed.manifest["suspicious"]["labels"]} <= {"fit", "returns"}
    without = curated(rows, rules=Curate(suspicious="leave_out"))
    assert not found & set(ids(taught(without)))
    assert set(ids(without.holdout)) & found  # told of, and kept
    assert without.manifest["parts"]["holdout"]["suspicious"] == len(set(ids(without.holdout)) & found)


def test_rows_from_before_a_change_do_not_make_those_after_it_suspicious() -> None:
    rows, _ = learnable(3000, 0)
    turned = [
        "returns" if v == "fit" and i >= 1500 else "fit" if i >= 1500 else v
        for i, v in enumerate(rows["label"].to_pylist())
    ]
    found = curated(replaced(rows, "label", turned), 1500, rules=Curate())
    assert found.manifest["suspicious"]["rows"] == 0
    assert found.manifest["suspicious"]["looked_at"] > 2900


def test_a_label_of_few_rows_is_never_suspicious() -> None:
    rows, _ = learnable(2000, 0)
    labels = ["rare" if i % 400 == 0 else v for i, v in enumerate(rows["label"].to_pylist())]
    found = curated(replaced(rows, "label", labels), rules=Curate(suspicious="leave_out"))
    assert "rare" in taught(found)["label"].to_pylist()
    assert "suspicious" not in found.manifest["excluded"]


def test_numbers_far_from_what_is_expected_are_suspicious() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=1500)
    y = 3 * x + rng.normal(scale=0.1, size=1500)
    y[::100] += 50
    rows = labelled(1500).drop_columns(["feature_text", "label"])
    rows = rows.append_column("feature_x", pa.array(x)).append_column("label", pa.array(y))
    found = curated(rows, rules=Curate(suspicious="leave_out"), task="regression")
    assert found.manifest["suspicious"]["rows"] == 15
    assert found.manifest["excluded"]["suspicious"] == 8
    assert min(each["likelihood"] for each in found.manifest["suspicious"]["labels"]) > 8


def test_where_nothing_can_be_looked_at_the_reason_is_told() -> None:
    assert "fewer than 200" in curated(labelled(280), rules=Curate()).manifest["suspicious"]["why_not"]
    assert "the policy" in curated(labelled(280)).manifest["suspicious"]["why_not"]
    bare = labelled(1000).drop_columns(["feature_text", "feature_channel"])
    assert "no usable feature" in curated(bare, rules=Curate()).manifest["suspicious"]["why_not"]


# ---- in a retraining


def test_a_retraining_says_what_was_left_out_and_its_baseline_is_of_all_traffic(tmp_path: Path) -> None:
    rules = "retrain: {curate: {half_life: 2d, balance: {by: [group], most: 200}}}\n"
    with open_shop(tmp_path, flipping(3000, flips_at=1500)) as shop, client_of(shop.house) as client:
        (tmp_path / "policies.d" / "policy.yaml").write_text(POLICY + rules)
        shop.house.policies.reload()
        shop.serve(1000, 3000)
        open_retraining(shop.house, shop.decision(change_at=1500))
        loop = shop.loop()
        done = loop.finish("flip")
        while not done.is_finished:
            done = loop.finish("flip")
        assert done.state == "released"
        assert done.manifest["rules"]["half_life"] == "2d"
        assert done.manifest["excluded"]["over_segment_size"] > 100
        assert done.manifest["parts"]["after_change"]["segments"] == {"group=a": 200, "group=b": 200}
        assert max(done.manifest["parts"]["holdout"]["segments"].values()) > 200
        listed = json.loads(next(tmp_path.glob("retrainings/*/*/rows/manifest.json")).read_text())
        assert listed["excluded"] == done.manifest["excluded"]
        assert len(listed["left_out"]["over_segment_size"]["ids"]) > len(
            done.manifest["left_out"]["over_segment_size"]["ids"]
        )
        weighted = parquet.read_table(next(tmp_path.glob("retrainings/*/*/rows/train-after_change.parquet")))
        assert 0 < weighted["weight"].to_pylist()[0] < 1
        assert shop.house.ledger.baseline("flip", "2").rows[0] == 1500
        assert "over segment size" in words_of(done.manifest)[0]
        assert words_of(done.manifest)[1].startswith("after_change: 400 rows teach of 735; left out: 335 over segment")
        shown = html.unescape(client.get("/").text)
        assert all(text in shown for text in words_of(done.manifest))
