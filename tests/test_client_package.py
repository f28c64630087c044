"""The distribution: what it needs, what it brings, and that its pages tell the truth."""

import inspect
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
import tidegate_client
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "client"
PAGES = (CLIENT / "README.md", ROOT / "docs" / "how-to" / "instrument-a-service.md")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", str(folder), str(CLIENT)], check=True)
    (found,) = folder.glob("*.whl")
    return found


def needed(name: str) -> set[str]:
    """A distribution and all that it needs here, without extras."""
    found = {name}
    for line in requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found |= needed(requirement.name)
    return found


def test_the_wheel_works_in_an_environment_that_has_nothing_but_httpx(wheel, tmp_path):
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    for name in needed("httpx"):
        for top in {
            file.parts[0] for file in distribution(name).files or () if file.parts[0] not in {"..", "__pycache__"}
        }:
            source = Path(str(distribution(name).locate_file(top)))
            if source.exists() and not (packages / top).exists():
                (packages / top).symlink_to(source)
    program = (
        "import importlib, pkgutil, tidegate_client\n"
        "for found in pkgutil.iter_modules(tidegate_client.__path__):\n"
        "    importlib.import_module(f'tidegate_client.{found.name}')\n"
        "with tidegate_client.connect('http://127.0.0.1:9', 'shop', spool='spool', exit_seconds=0) as client:\n"
        "    client.log('p', 'fit')\n"
        "print(client.counts().left, tidegate_client.__file__)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = [home / "bin" / "python", "-W", "error", "-c", program]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    left, place = done.stdout.split()
    assert left == "1"
    assert Path(place).is_relative_to(home)


def test_httpx_is_all_it_asks_for_and_types_come_along(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    assert re.findall(r"^Requires-Dist: (.+)$", text, re.MULTILINE) == ["httpx>=0.27"]
    assert "tidegate_client/py.typed" in names
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"tidegate_client"}


def test_its_threads_import_nothing(tmp_path):
    """An import that a fork interrupts is one that nobody in the child finishes, and everybody there waits for."""
    program = (
        "import sys, tidegate_client\n"
        "client = tidegate_client.connect('https://localhost:9', 'shop', spool='spool', exit_seconds=0.2)\n"
        "client.start()\n"
        "before = set(sys.modules)\n"
        "client.log('p', 'fit')\n"
        "client.close()\n"
        "print(sorted(set(sys.modules) - before), client.counts().left)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[] 1\n"
    assert "no answer from https://localhost:9" in done.stderr


def test_everything_public_has_a_docstring():
    for name in tidegate_client.__all__:
        assert inspect.getdoc(getattr(tidegate_client, name)), name


def test_every_option_is_told_in_the_readme_and_no_other():
    told = set(re.findall(r"^\| `(\w+)` \|", (CLIENT / "README.md").read_text(), re.MULTILINE))
    assert told == set(inspect.signature(tidegate_client.connect).parameters)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_python_example_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEGATE_SPOOL", str(tmp_path / "spool"))
    names: dict[str, object] = {}
    examples = re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    assert examples
    for text in examples:
        exec(compile(text, str(path), "exec"), names)  # noqa: S102  our own pages
    for client in {id(each): each for each in names.values() if isinstance(each, tidegate_client.Client)}.values():
        client.close(0)
