"""What trainers outside say and send: proved, kept once, the same in any order, and never more than is asked."""

import io
import json
import tarfile
import zipfile
from dataclasses import replace

import pyarrow as pa
import pytest
from houses import client_of
from hypothesis import given
from hypothesis import strategies as st
from outsiders import SECRET, UNSEEN, outsider
from pyarrow import ipc, parquet

from service.errors import MalformedBody
from service.launching import events
from service.launching.events import Events, Failed, Scored, Started, Succeeded, read_event
from service.launching.outside import clean, fetch_answer, heard, progress_of, token_of
from service.launching.received import BadUpload, read_model_files, read_rows
from service.storage.embedded import Embedded
from service.web.routes import uploading

STARTED = {"type": "started"}
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
SAID = st.one_of(
    st.builds(Started, run=st.sampled_from(["", "run-1"])),
    st.builds(
        Scored,
        step=st.integers(0, 4),
        metrics=st.dictionaries(st.sampled_from(["all", "a=b"]), st.dictionaries(st.just("accuracy"), NUMBERS)),
        loss=NUMBERS,
        validation_loss=NUMBERS,
    ),
    st.builds(Succeeded, uri=st.sampled_from(["", "s3://a", "s3://b"])),
    st.builds(Failed, reason=st.sampled_from(["out of memory", "no rows"])),
)


@pytest.fixture(autouse=True)
def _secret(monkeypatch):
    monkeypatch.setenv("TRAINER_SECRET", SECRET)


# ---- laws


@given(st.lists(SAID, max_size=8), st.randoms(use_true_random=False))
def test_how_a_training_goes_does_not_depend_on_the_order_or_on_what_is_said_twice(said, rng):
    other = [*said, *(rng.choice(said) for _ in said)]
    rng.shuffle(other)
    assert progress_of(other) == progress_of(said)


@given(st.lists(SAID, max_size=8))
def test_a_checkpoint_is_told_once_a_step_and_an_end_is_an_end(said):
    progress = progress_of(said)
    steps = [each.step for each in progress.checkpoints]
    assert steps == sorted({each.step for each in said if isinstance(each, Scored)})
    kinds = {type(each) for each in said}
    assert (progress.state == "failed") == (Failed in kinds)
    assert (progress.state == "succeeded") == (Succeeded in kinds and Failed not in kinds)
    assert (progress.state == "waiting") == (not said)
    json.dumps([each.to_dict() for each in progress.checkpoints], allow_nan=False)


@given(st.binary(max_size=200))
def test_what_is_no_event_is_refused_and_never_breaks(body):
    with pytest.raises(MalformedBody):
        read_event(body)


@given(st.text())
def test_a_foreign_text_becomes_one_printable_line(text):
    line = clean(text)
    assert line.isprintable()
    assert len(line) <= 501
    assert clean(f"no such thing: tgt_{'Ab9-_' * 9}") == "no such thing: tgt_…"


# ---- events over HTTP


def test_events_in_any_order_with_repeats_give_one_progress(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        assert there.send(there.answer()).status_code == 200
        success = {"type": "succeeded", "uri": "s3://m/2", "metrics": {"accuracy": 0.9}}
        late = {"type": "checkpoint", "step": 2, "loss": 0.5, "metrics": {"all": {"accuracy": 0.8}}}
        early = {"type": "checkpoint", "step": 1, "loss": 0.9}
        for event, identity in ((success, "s"), (late, "b"), (STARTED, "z"), (early, "a"), (late, "b"), (success, "s")):
            assert there.say(event, identity).status_code == 200
        progress = heard(there.house, there.order)
        assert progress.state == "succeeded"
        assert [(c.step, c.is_best) for c in progress.checkpoints] == [(1, True), (2, True)]
        said = json.loads((there.order.folder / "answer" / "answer.json").read_bytes())
        assert said == {"uri": "s3://m/2", "digest": "", "metrics": {"accuracy": 0.9}}


def test_an_event_sent_again_counts_once_and_under_the_same_id_no_other_is_taken(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        first = there.say(STARTED, "e-1").json()
        assert first == {"event": "e-1", "counts": True, "again": False, "state": "training"}
        assert there.say(STARTED, "e-1").json() == {**first, "again": True}
        other = there.say({"type": "failed", "reason": "x"}, "e-1")
        assert (other.status_code, other.json()["type"]) == (422, "/problems#event-differs")
        assert len(Events(there.house.store, "shop", "r-1").all()) == 1


def test_without_an_id_the_same_body_is_the_same_event(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        assert [there.say(STARTED).json()["again"] for _ in range(2)] == [False, True]


def test_a_signature_of_the_same_secret_is_as_good_as_the_token(server: Embedded, tmp_path):
    body = b'{"type": "started"}'
    with outsider(server, tmp_path) as there:

        def post(headers: dict[str, str]) -> int:
            return there.client.post(f"{there.path}/events", content=body, headers=headers).status_code

        assert post(there.sign(body)) == 200
        assert post(there.sign(body, late=299)) == 200
        assert post(there.sign(body, late=301)) == 401
        assert post(there.sign(body, late=-301)) == 401
        assert post(there.sign(b'{"type": "failed"}')) == 401
        assert post(there.sign(body, secret="whsec_" + "QQ" * 20)) == 401
        assert post({**there.sign(body), "webhook-id": "e-2"}) == 401
        assert post({**there.sign(body), "webhook-timestamp": "soon"}) == 401
        assert post({}) == 401
        (noted,) = Events(there.house.store, "shop", "r-1").all()
        assert noted.by == "signature"


def test_a_process_without_the_secret_says_so(server: Embedded, tmp_path, monkeypatch):
    body = b'{"type": "started"}'
    with outsider(server, tmp_path) as there:
        headers = there.sign(body)
        monkeypatch.delenv("TRAINER_SECRET")
        said = there.client.post(f"{there.path}/events", content=body, headers=headers)
        assert said.status_code == 401
        assert "TRAINER_SECRET" in said.json()["detail"]


def test_the_token_opens_its_own_retraining_and_nothing_else(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        assert there.client.get(f"{there.path}/files").status_code == 401
        wrong = {"Authorization": f"Bearer {token_of(there.house.store, 'r-2')}"}
        for method, part in (("GET", "files"), ("GET", "files/job.json"), ("PUT", "answer"), ("POST", "events")):
            assert there.client.request(method, f"{there.path}/{part}", headers=wrong).status_code == 401
        assert there.client.get("/v1/retrainings/r-2/files", headers=wrong).status_code == 404
        assert there.client.post("/v1/retrainings/r-2/cancel", json={"who": "a", "why": "b"}).status_code == 404
        assert token_of(there.house.store, "r-1") == token_of(there.house.store, "r-1")


def test_after_its_training_what_is_said_is_noted_and_after_its_end_refused(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        there.say(STARTED, "e-1")
        there.become(state="judging")
        late = there.say({"type": "failed", "reason": "too late"}, "e-2").json()
        assert late == {"event": "e-2", "counts": False, "again": False, "state": "judging"}
        assert heard(there.house, there.order).state == "running"
        there.become(state="cancelled", note="cancelled by ann: a mistake", finished_at=there.clock())
        refused = there.say(STARTED, "e-3")
        assert (refused.status_code, refused.json()["detail"]) == (409, "r-1 is cancelled: cancelled by ann: a mistake")
        assert there.say(STARTED, "e-1").status_code == 200  # what was taken stays taken
        assert there.client.get(f"{there.path}/files", headers=there.bearer).status_code == 409
        assert there.send(there.answer()).status_code == 409


def test_the_first_run_has_the_order_and_every_other_one_is_sent_home(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        assert there.say({"type": "started", "run": "17"}, "a").status_code == 200
        assert there.say({"type": "started", "run": "17"}, "b").status_code == 200
        other = there.say({"type": "started", "run": "18"}, "c")
        assert (other.status_code, other.json()["type"]) == (409, "/problems#another-run")
        assert "'17'" in other.json()["detail"]


UNUSABLE = {
    b'{"type": "checkpoint", "step": 1, "loss": NaN}': "NaN at byte",
    b'{"type": "checkpoint", "step": -1}': "step",
    b'{"type": "checkpoint", "step": 1, "metrics": {"all": 0.5}}': "metrics",
    b'{"type": "done"}': "done",
    b'{"type": "failed"}': "reason",
    b'{"type": "started", "metric": 1}': "metric",
    b'{"step": ' + b"[" * 50_000: "nested too deep",
}


def test_an_event_that_cannot_be_used_is_refused_with_what_is_wrong(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        for body, words in UNUSABLE.items():
            refused = there.say(body)
            assert refused.status_code == 400
            assert words in refused.json()["detail"]
        assert Events(there.house.store, "shop", "r-1").all() == []


def test_checkpoints_have_bounds_and_the_end_is_taken_all_the_same(server: Embedded, tmp_path, monkeypatch):
    monkeypatch.setattr(events, "MOST_EVENTS", 3)
    with outsider(server, tmp_path) as there:
        said = [there.say({"type": "checkpoint", "step": step}) for step in range(4)]
        assert [each.status_code for each in said] == [200, 200, 200, 413]
        assert said[-1].json()["type"] == "/problems#too-much-said"
        assert there.say({"type": "failed", "reason": "out of memory"}).status_code == 200
        assert heard(there.house, there.order).reason == "out of memory"
        assert there.say(b'{"type": "failed", "reason": "' + b"x" * 70_000 + b'"}').status_code == 413


def test_an_order_that_took_the_place_of_another_hears_nothing_of_it(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        there.say(STARTED, "e-1")
        placed = there.house.ledger.retraining("shop", "r-1").order
        there.become(state="teaching", order=type(placed)("r-1-again", "e" * 64, placed.trainer, placed.deadline))
        assert there.say(STARTED, "e-2").json()["counts"] is False
        again = {"Authorization": f"Bearer {token_of(there.house.store, 'r-1-again')}"}
        assert there.say(STARTED, "e-1", **again).json() == {
            "event": "e-1",
            "counts": True,
            "again": False,
            "state": "teaching",
        }


# ---- files and what is sent


def test_a_trainer_reads_its_files_and_no_others(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        listed = there.client.get(f"{there.path}/files", headers=there.bearer).json()["files"]
        names = ["job.json", "train-after_change.parquet", "unseen.parquet", "validation.parquet"]
        assert [each["name"] for each in listed] == names
        for each in listed:
            found = there.client.get(f"{there.path}/files/{each['name']}", headers=there.bearer)
            assert (found.status_code, len(found.content)) == (200, each["bytes"])
            assert found.content == (there.order.folder / each["name"]).read_bytes()
        for name in ("secret.parquet", "..%2F..%2F..%2Fshop.yaml", "holdout.parquet", "job.json%00"):
            assert there.client.get(f"{there.path}/files/{name}", headers=there.bearer).status_code == 404


def written(form: str, rows: pa.Table) -> bytes:
    out = io.BytesIO()
    if form == "parquet":
        parquet.write_table(rows, out)
    elif form == "arrow":
        with ipc.new_stream(out, rows.schema) as writer:
            writer.write_table(rows)
    elif form == "ndjson":
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows.to_pylist())
    else:
        lines = [",".join(rows.column_names), *(",".join(map(str, row.values())) for row in rows.to_pylist())]
        return "\n".join(lines).encode()
    return out.getvalue()


FORMS = {
    "parquet": "application/vnd.apache.parquet",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
}


def test_predictions_come_in_four_forms_and_mean_the_same(server: Embedded, tmp_path):
    ids, words = [*UNSEEN, "v-1"], ["a", "b", "c", "d"]
    rows = pa.table({"prediction_id": ids, "prediction": words, "confidence": [0.5, 0.6, 0.7, 0.8], "more": [1] * 4})
    meant = rows.drop_columns("more").sort_by("prediction_id").to_pylist()
    with outsider(server, tmp_path) as there:
        for form, media_type in FORMS.items():
            sent = there.send(written(form, rows), media_type)
            assert (sent.status_code, sent.json()["rows"]) == (200, 4)
            assert fetch_answer(there.house, there.order)
            found = parquet.read_table(there.order.folder / "answer" / "predictions.parquet")
            assert found.sort_by("prediction_id").to_pylist() == meant


UNJUDGEABLE = {
    "prediction_id,prediction\nu-1,fit\n": "have no prediction, the first is",
    "prediction_id,prediction\nu-1,fit\nu-2,fit\n007,fit\nv-1,fit\nx,fit\n": "nobody asked about",
    "prediction_id,prediction\nu-1,fit\nu-2,fit\n007,fit\nv-1,fit\nv-1,returns\n": "prediction_id",
    "prediction_id,prediction\nu-1,\nu-2,fit\n007,fit\nv-1,fit\n": "empty",
    "id,class\nu-1,fit\n": "no column prediction_id",
    "": "cannot be read as csv",
}


def test_predictions_that_nobody_could_judge_are_refused_at_once(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        for body, words in UNJUDGEABLE.items():
            refused = there.send(body.encode())
            assert (refused.status_code, refused.json()["type"]) == (400, "/problems#bad-upload")
            assert words in refused.json()["detail"]
        assert not fetch_answer(there.house, there.order)


def test_what_is_sent_can_be_replaced_until_the_end_is_said(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        early = there.say({"type": "succeeded"})
        assert early.status_code == 409
        assert "PUT" in early.json()["detail"]
        there.send(there.answer("fit"))
        first = there.send(there.answer("returns"))
        assert there.send(there.answer("returns")).json() == first.json()
        assert there.say({"type": "succeeded"}).status_code == 200
        assert there.send(there.answer("returns")).status_code == 200
        assert there.send(there.answer("fit")).status_code == 409
        assert heard(there.house, there.order).state == "succeeded"
        found = parquet.read_table(there.order.folder / "answer" / "predictions.parquet")
        assert set(found["prediction"].to_pylist()) == {"returns"}
        kept = tmp_path / "retrainings" / "r-1" / "sent"
        assert len(list(kept.rglob("*.parquet"))) == 1


def test_what_is_too_large_or_comes_with_too_many_is_turned_away(server: Embedded, tmp_path, monkeypatch):
    with outsider(server, tmp_path, max_upload_bytes=1024) as there:
        large = there.send(b"x" * 2_000)
        assert (large.status_code, large.json()["limit"]) == (413, 1024)

        def drip():
            for _ in range(20):
                yield b"x" * 100

        assert (
            there.client.put(
                f"{there.path}/answer", content=drip(), headers={"Content-Type": "text/csv", **there.bearer}
            ).status_code
            == 413
        )
        monkeypatch.setattr(uploading, "MOST_AT_ONCE", 0)
        assert there.send(there.answer()).status_code == 429
        assert there.send(there.answer(), "text/plain").status_code == 415


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


MODEL = {"model.skops": b"skops", "manifest.json": b"{}"}


@pytest.mark.parametrize(
    "body",
    [
        zipped(MODEL),
        tarred(MODEL),
        tarred(MODEL, "w:gz"),
        zipped({f"model/{name}": content for name, content in MODEL.items()} | {"README": b"x"}),
        zipped({f"../../{name}": content for name, content in MODEL.items()}),
        tarred({f"/etc/{name}": content for name, content in MODEL.items()}),
    ],
)
def test_the_two_files_of_a_model_are_found_wherever_they_lie_and_land_in_their_place(body):
    assert read_model_files(io.BytesIO(body)) == MODEL


def linked() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("model.skops")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
        archive.addfile(tarfile.TarInfo("manifest.json"))
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no zip and no tar"),
        (b"PK\x03\x04" + b"\0" * 50, "no zip and no tar"),
        (zipped({"model.skops": b"x"}), "it holds model.skops"),
        (zipped({**MODEL, "twice/model.skops": b"y"}), "one model.skops"),
        (zipped({**MODEL, **{f"{n}": b"" for n in range(101)}}), "more than 100 files"),
        (zipped({"model.skops": b"x", "manifest.json": b" " * (2 << 20)}), "manifest.json unpacks to more"),
        (linked(), "it holds manifest.json"),
    ],
)
def test_an_archive_that_is_no_model_or_too_much_is_refused(body, words):
    with pytest.raises(BadUpload, match=words):
        read_model_files(io.BytesIO(body))


def test_a_model_takes_the_place_of_predictions_and_comes_as_the_trainer_sent_it(server: Embedded, tmp_path):
    with outsider(server, tmp_path) as there:
        there.send(there.answer())
        assert there.send(zipped(MODEL), "application/zip", "model").status_code == 200
        there.say({"type": "succeeded"})
        assert heard(there.house, there.order).state == "succeeded"
        assert {f.name: f.read_bytes() for f in (there.order.folder / "model").iterdir()} == MODEL
        assert not (there.order.folder / "answer").exists()


def test_where_files_are_at_an_address_no_disk_is_shared(server: Embedded, tmp_path):
    (tmp_path / "leader").mkdir()
    with outsider(server, tmp_path / "leader", archive=f"memory://{tmp_path.name}") as there:
        elsewhere = replace(there.house, settings=replace(there.house.settings, data_dir=tmp_path / "api"))
        with client_of(elsewhere) as client:
            api = replace(there, client=client)
            listed = client.get(f"{api.path}/files", headers=api.bearer).json()["files"]
            found = client.get(f"{api.path}/files/unseen.parquet", headers=api.bearer).content
            assert [each["bytes"] for each in listed if each["name"] == "unseen.parquet"] == [len(found)]
            assert api.send(api.answer()).status_code == 200
            assert api.say({"type": "succeeded"}).status_code == 200
        assert heard(there.house, there.order).state == "succeeded"
        found = parquet.read_table(there.order.folder / "answer" / "predictions.parquet")
        assert found.num_rows == 4
        # Whoever judges on a third machine finds the answer beside what the trainer was given.
        base = there.order.folder.relative_to(tmp_path / "leader").as_posix()
        assert there.house.files.names(f"{base}-answer") == ["answer.json", "predictions.parquet"]


@given(st.binary(max_size=300), st.sampled_from(list(FORMS)), st.sampled_from(["classification", "regression"]))
def test_no_bytes_break_the_reader_of_predictions(body, form, task):
    try:
        found = read_rows(io.BytesIO(body), form, task)
    except BadUpload:
        return
    assert all(name.startswith(("prediction", "confidence", "score_")) for name in found.column_names)
