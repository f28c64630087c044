"""`tidegate policy check` and `schema`: whether files are policies, and what editors know of them."""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from policies.errors import PolicyInvalid
from policies.file.advice import advise
from policies.file.inherit import read_defaults
from policies.file.kubernetes import is_fixed, unfixed
from policies.file.policy import KubernetesTrainer, Policy
from policies.file.schema import defaults_schema, json_schema
from policies.file.spelled import spell_out
from service.launching.job_template import BadTemplate, images_of, read_template
from service.policy_reading import SUFFIXES, is_defaults, read_settled


def run(options: argparse.Namespace) -> int:
    """0 when every file is a policy, 1 when one is not."""
    if options.what == "schema":
        schema = defaults_schema() if options.defaults else json_schema()
        sys.stdout.write(json.dumps(schema, indent=2) + "\n")
        return 0
    return 1 if _check(options) else 0


def _check(options: argparse.Namespace) -> int:
    """How many files cannot be taken. What is wrong with defaults is told once, however many inherit it."""
    bad, told = 0, set[str]()
    taken: dict[tuple[Path, str], Path] = {}
    for file in options.files:
        try:
            _check_file(file, options, taken)
        except PolicyInvalid as error:
            lines = str(error).splitlines()
            sys.stderr.write("".join(f"{line}\n" for line in lines if line not in told))
            told |= set(lines)
            bad += 1
        except (OSError, UnicodeDecodeError) as error:
            sys.stderr.write(f"{file}: cannot be read: {error}\n")
            bad += 1
        except _Second as error:
            sys.stderr.write(f"{error}\n")
            bad += 1
    return bad


class _Second(Exception):
    """A second file for a model in one folder."""


def _check_file(file: Path, options: argparse.Namespace, taken: dict[tuple[Path, str], Path]) -> None:
    if is_defaults(file):
        read_defaults(file.read_text(encoding="utf-8"), str(file))
        sys.stdout.write(f"{file}: defaults for the policies beside it\n")
        return
    settled = read_settled(file, options.defaults)
    policy = settled.policy
    first = file if policy.shadow else taken.setdefault((file.resolve().parent, policy.model), file)
    if first != file:
        raise _Second(f"{file}: model {policy.model} already has its policy in {first}; one file a model")
    sys.stdout.write(f"{file}: a {'shadow ' if policy.shadow else ''}policy for {policy.model}\n")
    for sentence in [
        *advise(policy, datetime.now(UTC)),
        *_absent(policy, file.parent),
        *_template(policy, file.parent),
    ]:
        sys.stdout.write(f"  note: {sentence}\n")
    if options.full:
        sys.stdout.write(spell_out(settled))


def _absent(policy: Policy, folder: Path) -> Iterator[str]:
    """Files that the policy names and that are not in its folder."""
    trainer = policy.retrain.trainer
    template = trainer.template if isinstance(trainer, KubernetesTrainer) else None
    for key, name in (("gate.must_pass", policy.gate.must_pass), ("retrain.trainer.template", template)):
        if name and not (folder / name).is_file():
            yield f"{key}: there is no {name} in {folder}"


def _template(policy: Policy, folder: Path) -> Iterator[str]:
    """What is wrong with the Job template that the policy names, and which of its images may change unseen."""
    trainer = policy.retrain.trainer
    if not isinstance(trainer, KubernetesTrainer) or not trainer.template or not (folder / trainer.template).is_file():
        return
    if Path(trainer.template).suffix in SUFFIXES and (folder / trainer.template).parent.samefile(folder):
        yield f"retrain.trainer.template: among the policies it is taken for one: move it to jobs/{trainer.template}"
    try:
        job = read_template(folder / trainer.template)
    except BadTemplate as error:
        yield f"retrain.trainer.template: {error}"
        return
    for image in images_of(job, trains=trainer.image):
        if not is_fixed(image):
            yield f"retrain.trainer.template: {unfixed(image)}"
