"""The whole loop on streams whose story is known: made here, and the real ones where they lie beside the project."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet
from streams import START

from policies.file.parse import parse
from service.house import open_house
from service.intake.archive.tables import Roles, as_batch
from service.replay import BadReplay, FileClock, Options, Replay
from service.settings import Durability, Settings

POLICY = "model: flip\ntask: {kind: classification}\nsegments: [[group]]\ncolumns: {group: tag}\nevaluate: 1h\n"
STREAMS = Path(os.environ.get("TIDEGATE_STREAMS", Path(__file__).parents[2] / "shared" / "data"))


def rows(count: int, *, flips_at: int | None = None, breaks: range = range(0), seed: int = 0) -> pa.Table:
    """A minute a row: the label follows x1 with 5 % noise, the other way round after `flips_at`; `breaks` lose x1."""
    rng = np.random.default_rng(seed)
    x1, x2 = rng.normal(size=count), rng.normal(size=count)
    truth = (x1 > 0) ^ (np.arange(count) >= (count if flips_at is None else flips_at))
    truth ^= rng.random(count) < 0.05
    gone = np.isin(np.arange(count), breaks) & (rng.random(count) < 0.5)
    micros = ((START + np.arange(count) * 60) * 1e6).astype("int64")
    return pa.table(
        {
            "timestamp": pa.array(micros, pa.timestamp("us", "UTC")),
            "x1": pa.array(np.where(gone, np.nan, x1), from_pandas=True),
            "x2": x2,
            "group": pa.array(rng.choice(["a", "b"], count).tolist()),
            "label": pa.array(np.where(truth, "yes", "no").tolist()),
        }
    )


def replay(folder: Path, table: pa.Table, options: Options, text: str = POLICY):
    policies = folder / "policies.d"
    policies.mkdir(exist_ok=True)
    (policies / "policy.yaml").write_text(text)
    policy, clock = parse(text), FileClock()
    batch = as_batch(Path("made"), table, Roles(kinds=policy.column_kinds()), policy.task.kind, "")
    chosen = replace(Settings(), data_dir=folder, policies=policies, partitions=1, durability=Durability("everysec"))
    with open_house(chosen, clock) as house:
        account = Replay(house, clock, policy, batch, options).run()
        return account, house.ledger.releases(policy.model), house.ledger.retrainings(policy.model)


def test_rows_from_before_1970_are_replayed_like_any_others(tmp_path):
    table = rows(2600, flips_at=1500)
    long_ago = pc.subtract(table.column("timestamp"), pa.scalar(3_000 * timedelta(days=7), pa.duration("us")))
    old = table.set_column(table.column_names.index("timestamp"), "timestamp", long_ago)
    accounts = []
    for name, each in (("new", table), ("old", old)):
        (tmp_path / name).mkdir()
        accounts.append(replay(tmp_path / name, each, Options(start=1000))[0])
    found = [(each.score, [r["at_row"] for r in each.retrainings]) for each in accounts]
    assert found[0] == found[1]
    assert found[0][1] != []


def test_a_flipped_concept_is_found_retrained_and_released(tmp_path):
    account, releases, retrainings = replay(tmp_path, rows(5000, flips_at=3000), Options(start=2000))
    assert [r.kind for r in releases][:2] == ["first", "release"]
    first = account.retrainings[0]
    assert 3500 <= first["at_row"] <= 3900  # 500 labels after the change are asked for
    assert first["reasons"] == ["performance_drop"]
    assert first["outcome"] == "released"
    assert account.score > 0.75  # never retraining scores .35
    done = retrainings[-1]
    assert done.verdict["segments"][0]["challenger"] > 0.85
    assert done.verdict["segments"][0]["champion"] < 0.2
    assert {c["candidate"] for c in done.checkpoints} >= {"after_change"}
    assert set(done.checkpoints[0]["metrics"]) >= {"all", "group=a", "group=b"}
    assert done.manifest["parts"]["holdout"]["rows"] >= 100


def test_a_stable_stream_is_left_alone(tmp_path):
    account, releases, _ = replay(tmp_path, rows(5000), Options(start=2000))
    assert account.retrainings == []
    assert account.faults == []
    assert len(releases) == 1
    assert {d["action"] for d in account.decisions} <= {"hold", "watch"}


def test_a_broken_feed_is_a_fault_and_retrains_nothing(tmp_path):
    account, _, _ = replay(tmp_path, rows(5000, breaks=range(3000, 3600)), Options(start=2000))
    assert account.retrainings == []
    assert {(f["column"], f["kind"]) for f in account.faults} == {("x1", "missing")}
    assert all(3000 <= f["at_row"] < 3300 for f in account.faults)
    assert all(f["until_row"] < 4200 for f in account.faults)


def test_a_policy_that_never_retrains_decides_and_does_not_act(tmp_path):
    account, releases, _ = replay(tmp_path, rows(4500, flips_at=3000), Options(start=2000, every=None))
    assert account.retrainings == []
    assert len(releases) == 1
    assert "retrain" in {d["action"] for d in account.decisions}


def test_habit_retrains_every_so_many_rows(tmp_path):
    account, _, retrainings = replay(tmp_path, rows(4100), Options(start=2000, every=1000))
    assert len(account.retrainings) == 2
    assert all(r.reasons == ("manual",) for r in retrainings)


def test_options_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(BadReplay, match="--start"):
        replay(tmp_path, rows(500), Options(start=500))
    with pytest.raises(BadReplay, match="--label"):
        replay(tmp_path, rows(500).drop_columns(["label"]), Options(start=200))


def test_the_command_prints_the_account_as_json(tmp_path):
    parquet.write_table(rows(2600), tmp_path / "rows.parquet")
    (tmp_path / "policy.yaml").write_text(POLICY)
    command = [sys.executable, "-m", "service.cli", "replay", "rows.parquet", "--policy", "policy.yaml", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=True)
    said = json.loads(ended.stdout)
    assert set(said) == {"rows", "scored", "accuracy", "retrainings", "releases", "decisions", "faults"}
    assert (said["rows"], said["scored"]) == (2600, 600)


@pytest.mark.skipif(not STREAMS.is_dir(), reason="the streams are not beside the project")
def test_clinc150_retrains_for_new_intents_and_never_for_the_broken_feed(tmp_path):
    text = "model: clinc\ntask: {kind: classification}\nsegments: [[domain]]\n"
    text += "columns: {domain: tag, phase: ignore}\nevaluate: 1h\n"
    policy = parse(text)
    table = parquet.read_table(STREAMS / "clinc150_stream.parquet").slice(6_000, 10_000)
    options = Options(start=2000, label_share=0.5, label_delay=200)
    account, _, _ = replay(tmp_path, table, options, text)
    assert policy.column_kinds() == {"domain": "tag", "phase": "ignore"}
    began = [done["at_row"] + 6_000 for done in account.retrainings]
    assert began
    assert all(row > 9_500 for row in began)
    assert not [row for row in began if 14_500 <= row < 15_800]
    assert any(f["kind"] == "missing" and 14_500 <= f["at_row"] + 6_000 < 15_000 for f in account.faults)
