import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "Dockerfile"
HADOLINT = Path(sys.executable).parent / "hadolint"


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its text, lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line]


def texts(name: str) -> list[str]:
    return [text for instruction, text in instructions() if instruction == name]


def copied() -> list[str]:
    """What the image is built from: the sources of each COPY out of the checkout."""
    return [source for text in texts("COPY") if "--from" not in text for source in shlex.split(text)[:-1]]


def test_hadolint_finds_nothing() -> None:
    linted = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)

    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_base_can_be_chosen() -> None:
    assert [text.split("=")[0] for text in texts("ARG")] == ["BASE"]
    assert {text.split()[0] for text in texts("FROM")} == {"${BASE}"}


def test_dependencies_are_exactly_the_locked_ones() -> None:
    installs = [run for run in texts("RUN") if "pip install" in run]

    assert len(installs) == 2
    assert "--no-deps --require-hashes --requirement requirements.lock" in installs[0]
    assert "--no-deps --no-index dist/*.whl" in installs[1]
    assert not [run for run in texts("RUN") if "--editable" in run or " -e " in run]


def test_the_process_is_a_fixed_number_that_is_not_root() -> None:
    assert texts("USER") == ["10001:10001"]
    assert instructions()[-1][0] == "CMD"


def test_the_data_folder_belongs_to_the_user_before_it_becomes_a_volume() -> None:
    order = [instruction for instruction, text in instructions() if "/data" in text or instruction == "VOLUME"]

    assert order.index("RUN") < order.index("VOLUME")
    assert texts("VOLUME") == ["/data"]


def test_the_image_serves_and_says_whether_it_does() -> None:
    assert json.loads(texts("ENTRYPOINT")[0]) == ["tidegate"]
    assert json.loads(texts("CMD")[0])[:5] == ["serve", "--host", "0.0.0.0", "--port", "8321"]  # noqa: S104  the published port
    assert texts("EXPOSE") == ["8321"]
    (check,) = texts("HEALTHCHECK")
    program = json.loads(check.partition("CMD ")[2])
    assert program[:2] == ["python3", "-c"]
    compile(program[2], "healthcheck", "exec")
    assert "http://127.0.0.1:8321/healthz" in program[2]


def test_the_health_check_fails_when_nobody_answers() -> None:
    program = json.loads(texts("HEALTHCHECK")[0].partition("CMD ")[2])[2].replace(":8321", ":1")

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode != 0


def test_a_builder_is_given_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()

    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as the image builds it: from nothing but what is copied."""
    folder = tmp_path_factory.mktemp("image")
    for source in copied():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, folder / source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder / "dist", folder], check=True, capture_output=True)
    (built,) = (folder / "dist").glob("*.whl")
    return zipfile.ZipFile(built)


def test_what_is_copied_is_enough_to_build_the_wheel(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(ROOT).as_posix()
        for floor in ("service", "policies", "monitors")
        for path in (ROOT / floor).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert inside == expected


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    (points,) = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]

    assert "tidegate = service.cli:main" in wheel.read(points).decode()
