"""Set-up: the files that say what is installed agree, and a Python that cannot serve says so in a sentence."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from mer_kit import __main__ as entry
from mer_kit import install
from mer_kit.install import ROOT

FILE = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, TOOLS = FILE["project"], FILE["tool"]
NEEDED = [Requirement(r) for r in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]
PINS = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines()]
TRIPLE = {"torch": "==2.11.0", "torchaudio": "==2.11.0", "torchvision": "==0.26.0"}


@pytest.mark.parametrize("need", NEEDED, ids=lambda need: need.name)
def test_every_dependency_is_pinned_within_its_range(need):
    pins = [p for p in PINS if p.name.replace("_", "-") == need.name]
    assert pins, f"{need.name} is not in requirements.txt; compile it anew"
    for pin in pins:
        (exact,) = pin.specifier
        assert exact.operator == "==" and need.specifier.contains(exact.version), f"{pin} is not within {need}"


def test_every_pin_is_exact_and_none_names_a_host():
    assert all(len(p.specifier) == 1 and next(iter(p.specifier)).operator == "==" and not p.url for p in PINS)
    assert "://" not in (ROOT / "requirements.txt").read_text()
    assert not (ROOT / "uv.lock").exists()


def test_torch_and_its_two_companions_are_one_triple():
    for source in (NEEDED, PINS):
        assert {r.name: str(r.specifier) for r in source if r.name in TRIPLE} == TRIPLE


def test_environment_yml_points_to_the_same_set_and_python():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, listed = environment["dependencies"]
    oldest = ".".join(map(str, install.OLDEST))
    assert (python, pip, listed) == (f"python={oldest}", "pip", {"pip": ["-r requirements.txt", "-e ."]})
    assert PROJECT["requires-python"] == f">={oldest}"
    assert TOOLS["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"


def test_this_python_is_equipped_and_is_no_obstacle():
    assert install.is_equipped()
    assert install.obstacle() is None


def test_an_old_python_and_one_without_venv_are_told_what_to_do(monkeypatch):
    monkeypatch.setattr(install, "find_spec", lambda name: None if name == "ensurepip" else object())
    assert "apt install python3-venv" in install.obstacle()
    monkeypatch.setattr(install.sys, "version_info", (3, 9, 2))
    assert re.search(r"needs Python 3\.11 or newer; this is 3\.9\.2 .*make PYTHON=python3\.11 demo", install.obstacle())
    assert not install.is_equipped()


def test_old_syntax_suffices_to_say_so():
    """What runs before the version is known must be readable by Python 3.6."""
    for name in ("__init__", "__main__", "install"):
        ast.parse((ROOT / f"mer_kit/{name}.py").read_text(), feature_version=(3, 6))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of two pins and no environment; steps are noted instead of run."""
    pins = [tmp_path / "requirements.txt", tmp_path / "pyproject.toml"]
    for pin in pins:
        pin.write_text("")
    steps = []
    venv = tmp_path / ".venv"
    for name, value in {"ROOT": tmp_path, "VENV": venv, "PYTHON": venv / "bin/python", "STAMP": venv / "installed",
                        "PINS": tuple(pins)}.items():
        monkeypatch.setattr(install, name, value)

    def step(*words):
        venv.mkdir(exist_ok=True)
        steps.append(" ".join(map(str, words)).replace(str(tmp_path), "."))

    monkeypatch.setattr(install, "_step", step)
    return tmp_path, steps


def test_the_first_call_installs_and_the_second_nothing(checkout):
    folder, steps = checkout
    install.install()
    assert [s.removeprefix(sys.executable + " ") for s in steps] == [
        "-m venv --clear ./.venv",
        "./.venv/bin/python -m pip install --quiet --disable-pip-version-check uv",
        "./.venv/bin/python -m uv pip install --compile-bytecode --python ./.venv/bin/python "
        "-r ./requirements.txt -e ."]
    install.install()
    assert len(steps) == 3
    later = install.STAMP.stat().st_mtime + 5
    os.utime(folder / "requirements.txt", (later, later))
    install.install()
    assert len(steps) > 3


def test_an_interrupted_set_up_is_not_taken_for_done(checkout, monkeypatch):
    monkeypatch.setattr(install, "_step", lambda *_: sys.exit("no network"))
    with pytest.raises(SystemExit, match="no network"):
        install.install()
    assert not install.is_current()


def test_no_checkout_is_said(checkout):
    folder, _ = checkout
    (folder / "requirements.txt").unlink()
    with pytest.raises(SystemExit, match="is no checkout of mer_kit"):
        install.install()


def bare_python(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    """`python -S -m mer_kit …` (no site-packages) in a copy of the package."""
    shutil.copytree(ROOT / "mer_kit", folder / "mer_kit", ignore=shutil.ignore_patterns("duet_data", "__pycache__"))
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return subprocess.run([sys.executable, "-S", "-m", "mer_kit", *arguments], cwd=folder, capture_output=True,
                          text=True, env={"PATH": os.environ["PATH"]})


def test_a_bare_python_says_in_one_sentence_what_to_run(tmp_path):
    done = bare_python(["doctor"], tmp_path)
    assert done.returncode == 1 and "run `make demo` once" in done.stderr and done.stderr.count("\n") == 1


def test_a_bare_python_goes_on_in_the_environment(tmp_path):
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "in .venv: $@"\n')
    python.chmod(0o755)
    (tmp_path / ".venv/installed").touch()
    future = (tmp_path / ".venv/installed").stat().st_mtime + 60
    os.utime(tmp_path / ".venv/installed", (future, future))
    done = bare_python(["demo", "--out", "x"], tmp_path)
    assert (done.returncode, done.stdout) == (0, "in .venv: -m mer_kit demo --out x\n"), done.stderr


def test_make_and_python_know_the_same_targets():
    makefile = (ROOT / "Makefile").read_text()
    assert set(re.search(r"^demo.*(?=: \$)", makefile, re.MULTILINE).group().split()) == set(entry.SETS_UP)
    assert os.access(ROOT / ".ci/run", os.X_OK)
    for target in (*entry.SETS_UP, "lint", "clean"):
        planned = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
        assert planned.returncode == 0, planned.stderr
    assert ".venv" not in planned.stdout.replace("-path ./.venv -prune", ""), "clean must leave .venv alone"


def test_importing_the_package_is_light():
    code = "import sys, mer_kit.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "numpy", "papermill", "transformers"} & set(done.stdout.split())


def test_what_the_guide_for_contributors_names_exists():
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"\]\(([^)]+)\)", guide) + re.findall(r"`(\.ci/run)`|pytest .*?(tests/\S+)", guide)
    paths = [path for found in named for path in ([found] if isinstance(found, str) else filter(None, found))]
    assert len(paths) > 20 and not [path for path in paths if not (ROOT / path).exists()]
    targets = re.findall(r"make (\w+)", guide)
    assert targets and all(re.search(rf"^(.* )?{t}( .*)?:", (ROOT / "Makefile").read_text(), re.M) for t in targets)
