"""Releasing: files and baseline first, then pointer and watch in one step, once; and back."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from houses import NOON, client_of
from hypothesis import given, settings
from hypothesis import strategies as st
from stage import MODEL, TEXT, Crash, dying, open_stage

from service.ledger.ledger import ChampionMoved, Ledger, NoBaseline
from service.ledger.records import Regression, Release, Watch
from service.retraining.releasing import NothingToRelease, is_overtaken, promote, release, roll_back
from service.storage import keys
from service.storage.store import Store

VERSIONS = ("", "1", "2", "3")


@settings(max_examples=30)
@given(moves=st.lists(st.tuples(st.sampled_from(VERSIONS), st.sampled_from(VERSIONS[1:])), max_size=8))
def test_the_pointer_moves_only_from_the_version_that_it_is_at(server, moves):
    with closing(Store(server.url)) as store:
        _check_moves(store, moves)


def _check_moves(store, moves):
    store.do("FLUSHALL")
    ledger, champion, moved = Ledger(store), "", []
    for version in ("1", "2"):
        store.do("HSET", keys.key(f"m:{MODEL}", "fingerprints"), version, "known")
    for number, (previous, version) in enumerate(moves):
        made = Release(MODEL, version, previous, NOON, "release", f"no. {number}")
        try:
            ledger.move_champion(made, Watch(version, previous, NOON))
        except ChampionMoved:
            assert champion not in {previous, version}
        except NoBaseline:
            assert (version, champion) == ("3", previous)
        else:
            moved += [made] if champion != version else []
            champion = version
        assert ledger.champion(MODEL) == champion
        assert ledger.releases(MODEL) == moved
        assert (ledger.watch(MODEL).version if moved else "") == champion


def test_a_release_that_died_anywhere_is_gone_on_with_and_happens_once(server, tmp_path):
    with open_stage(server, tmp_path) as stage:
        known, rows, ledger = stage.challenger(), stage.described(), stage.house.ledger
        for writes in range(50):
            try:
                release(dying(stage.house, writes), stage.registry, stage.policy, known, stage.model, rows)
            except Crash:
                is_moved = ledger.champion(MODEL) == "2"
                assert is_moved == (ledger.watch(MODEL) is not None) == (len(ledger.releases(MODEL)) == 2)
                assert not is_moved or ledger.baseline(MODEL, "2") is not None
                assert not is_moved or stage.registry.manifest(MODEL, "2")
                assert not is_overtaken(ledger.champion(MODEL), ledger.releases(MODEL), known)
            else:
                break
        assert writes > 3
        assert [(r.version, r.retraining) for r in ledger.releases(MODEL)] == [("1", ""), ("2", "r-1")]
        assert ledger.releases(MODEL)[-1].digest == stage.registry.manifest(MODEL, "2").sha256


def test_who_comes_late_with_a_release_that_was_rolled_back_releases_nothing(server, tmp_path):
    with open_stage(server, tmp_path) as stage:
        known, ledger = stage.challenger(), stage.house.ledger
        release(stage.house, stage.registry, stage.policy, known, stage.model, stage.described())
        roll_back(stage.house, MODEL, "2", "1", "ann: worse")
        promote(stage.house, stage.policy, known)
        release(stage.house, stage.registry, stage.policy, known, stage.model, stage.described())
        assert ledger.champion(MODEL) == "1"
        assert [r.kind for r in ledger.releases(MODEL)] == ["first", "release", "rollback"]
        assert ledger.watch(MODEL) is None


def test_a_retraining_is_overtaken_by_another_version_and_not_by_its_own(server, tmp_path):
    with open_stage(server, tmp_path) as stage:
        known, ledger = stage.challenger(), stage.house.ledger
        release(stage.house, stage.registry, stage.policy, known, stage.model, stage.described())
        assert not is_overtaken("2", ledger.releases(MODEL), known)
        assert is_overtaken("2", ledger.releases(MODEL), replace(known, id="r-2", version="3"))


def test_a_model_that_stays_outside_is_released_by_its_address(server, tmp_path):
    with open_stage(server, tmp_path) as stage:
        known = stage.challenger(uri="s3://models/flip/2")
        release(stage.house, stage.registry, stage.policy, known, None, stage.described())
        assert stage.registry.list_versions(MODEL) == ["1"]
        with client_of(stage.house) as client:
            listed = client.get(f"/v1/models/{MODEL}/releases").json()["releases"][0]
            shown = client.get(f"/v1/models/{MODEL}").json()["release"]
        assert shown == listed
        said = {name: listed[name] for name in ("version", "uri", "digest", "retraining")}
        assert said == {"version": "2", "uri": "s3://models/flip/2", "digest": "as told", "retraining": "r-1"}


def test_without_files_and_without_an_address_nothing_is_released(server, tmp_path):
    with open_stage(server, tmp_path) as stage:
        known = replace(stage.challenger(uri="here"), uri="")
        with pytest.raises(NothingToRelease, match="neither a model folder nor a uri"):
            release(stage.house, stage.registry, stage.policy, known, None, stage.described())
        assert stage.house.ledger.baselines(MODEL).keys() == {"1"}


def test_after_a_rollback_the_version_before_is_watched_on_where_its_time_is_not_over(server, tmp_path):
    with open_stage(server, tmp_path, TEXT + "watch: {for: 2d}\n") as stage:
        ledger = stage.house.ledger
        release(stage.house, stage.registry, stage.policy, stage.challenger(), stage.model, stage.described())
        first = ledger.watch(MODEL)
        stage.clock.now += timedelta(days=1)
        third = replace(stage.challenger(), id="r-2", champion="2", version="3", uri="s3://3", digest="")
        release(stage.house, stage.registry, stage.policy, third, None, stage.described())
        assert ledger.watch(MODEL).version == "3"
        roll_back(stage.house, MODEL, "3", "2", "worse")
        assert ledger.watch(MODEL) == first
        assert ledger.counts(MODEL)["rollbacks"] == 1


def test_a_regression_is_counted_once_however_often_it_is_recorded(store):
    ledger = Ledger(store)
    found = Regression(MODEL, "2", "1", NOON, "worse", released_at=NOON - timedelta(days=1), rows=120)
    assert ledger.record_regression(found)
    assert not ledger.record_regression(replace(found, at=NOON + timedelta(hours=1), rows=300))
    assert ledger.counts(MODEL)["post_release_regressions"] == 1
    assert ledger.regressions(MODEL) == [found]
