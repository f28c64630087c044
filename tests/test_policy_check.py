"""`tidegate policy check` on files, as a training lead and a CI would run it."""

import json

import pytest

from policies.file.parse import parse
from policies.file.schema import defaults_schema, json_schema
from service.cli import main

GOOD = "model: shop\ntask: {kind: classification}\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shop.yaml").write_text(GOOD)
    return tmp_path


def check(capsys, *words):
    code = main(["policy", "check", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_good_file_is_named_with_its_model(folder, capsys):
    assert check(capsys, folder / "shop.yaml") == (0, f"{folder / 'shop.yaml'}: a policy for shop\n", "")


def test_a_bad_file_is_told_with_its_place_and_the_others_are_checked_all_the_same(folder, capsys):
    (folder / "bad.yaml").write_text(GOOD + "persist: often\n")
    code, out, err = check(capsys, folder / "bad.yaml", folder / "none.yaml", folder / "shop.yaml")
    assert code == 1
    assert f"{folder / 'bad.yaml'}:3:10: persist: expected" in err
    assert f"{folder / 'none.yaml'}: cannot be read" in err
    assert "a policy for shop" in out


def test_the_defaults_beside_a_file_are_inherited(folder, capsys):
    (folder / "defaults.yaml").write_text("persist: 7\n")
    code, out, _ = check(capsys, "--full", folder / "shop.yaml")
    assert (code, parse(out.partition("\n")[2]).persist) == (0, 7)
    assert "persist: 7                                          # defaults.yaml:1" in out
    (folder / "other.yml").write_text("persist: 8\n")
    _, out, _ = check(capsys, "--full", "--defaults", folder / "other.yml", folder / "shop.yaml")
    assert "persist: 8                                          # other.yml:1" in out


def test_the_defaults_are_checked_as_the_part_that_they_are(folder, capsys):
    file = folder / "defaults.yaml"
    file.write_text("persist: 7\n")
    assert check(capsys, file) == (0, f"{file}: defaults for the policies beside it\n", "")
    file.write_text("persist: often\n")
    code, _, err = check(capsys, file, folder / "shop.yaml")
    assert code == 1
    assert err.count(f"{file}:1:10: persist: expected a whole number") == 1  # of both files, told once


def test_a_second_file_for_a_model_is_refused_and_a_shadow_is_not(folder, capsys):
    second, shadow = folder / "two.yaml", folder / "shadow.yaml"
    second.write_text(GOOD)
    shadow.write_text(GOOD + "shadow: true\n")
    code, out, err = check(capsys, folder / "shop.yaml", second, shadow)
    assert code == 1
    assert f"{second}: model shop already has its policy in {folder / 'shop.yaml'}" in err
    assert f"{shadow}: a shadow policy for shop" in out


def test_what_cannot_be_meant_is_noted_and_is_no_failure(folder, capsys):
    file = folder / "shop.yaml"
    file.write_text(GOOD + "retrain: {when: []}\ngate: {must_pass: cases.ndjson}\n")
    code, out, _ = check(capsys, file)
    assert code == 0
    assert "  note: retrain.when is empty" in out
    assert f"  note: gate.must_pass: there is no cases.ndjson in {folder}" in out
    (folder / "cases.ndjson").write_text("{}\n")
    assert "must_pass" not in check(capsys, file)[1]


def test_a_job_template_that_cannot_be_used_and_images_that_may_change_are_noted(folder, capsys):
    file, template = folder / "shop.yaml", folder / "jobs" / "job.yaml"
    file.write_text(GOOD + "retrain: {trainer: {kind: kubernetes, template: jobs/job.yaml}}\n")
    assert f"  note: retrain.trainer.template: there is no jobs/job.yaml in {folder}" in check(capsys, file)[1]
    template.parent.mkdir()
    template.write_text("kind: Job")
    assert f"  note: retrain.trainer.template: {template}: a Job is needed" in check(capsys, file)[1]
    containers = "[{name: shipper, image: 'shipper@sha256:1'}, {name: trainer, image: 'trainer:7'}]"
    template.write_text(
        f"{{apiVersion: batch/v1, kind: Job, spec: {{template: {{spec: {{containers: {containers}}}}}}}}}"
    )
    code, out, _ = check(capsys, file)
    assert code == 0
    assert "  note: retrain.trainer.template: trainer:7 has no digest" in out
    assert "shipper" not in out
    file.write_text(GOOD + "retrain: {trainer: {kind: kubernetes, template: jobs/job.yaml, image: 'x@sha256:2'}}\n")
    assert "note" not in check(capsys, file)[1]
    (folder / "job.yaml").write_text(template.read_text())
    file.write_text(file.read_text().replace("jobs/job.yaml", "job.yaml"))
    assert "  note: retrain.trainer.template: among the policies it is taken for one" in check(capsys, file)[1]


@pytest.mark.parametrize(("flags", "schema"), [([], json_schema), (["--defaults"], defaults_schema)])
def test_the_schema_is_printed_for_editors(capsys, flags, schema):
    assert main(["policy", "schema", *flags]) == 0
    assert json.loads(capsys.readouterr().out) == schema()
