"""The design that can be read from the files: floors, sizes, and nothing that names a machine."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from mer_kit.install import ROOT

FLOORS = (
    ("errors", "install", "machine", "console", "locks"),
    ("labels", "batch"),
    ("corpora", "encoders", "models"),
    ("features", "guidance", "evaluation"),
    ("training", "plots"),
    ("widgets", "batch_runs", "doctor"),
    ("report", "train_cli", "predict_cli", "grid"),
    ("grid_cli",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {unit: floor for floor, units in enumerate(FLOORS) for unit in units}
MODULES = sorted((ROOT / "mer_kit").rglob("*.py"))
PAPERS = ("lemer", "lsgmer", "jfm")
LONGEST = 300  # lines


def unit_of(module: Path) -> str:
    return module.relative_to(ROOT / "mer_kit").with_suffix("").parts[0]


def imports_of(source: str) -> set[str]:
    """Dotted names below `mer_kit` that a module imports, anywhere in it: "corpora.audio.fault", "errors"."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide the floor; write from mer_kit…"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("mer_kit.") for name in found if name.startswith("mer_kit.")}


def named(module: Path) -> str:
    return str(module.relative_to(ROOT))


@pytest.mark.parametrize("module", [m for m in MODULES if unit_of(m) != "__init__"], ids=named)
def test_imports_point_to_lower_floors(module):
    unit = unit_of(module)
    assert unit in FLOOR_OF, f"{unit} stands on no floor; give it one"
    for name in imports_of(module.read_text()):
        other = name.split(".")[0]
        assert other == "__version__" or other == unit or FLOOR_OF[other] < FLOOR_OF[unit], f"{unit} imports {name}"


@pytest.mark.parametrize("paper", PAPERS)
def test_the_papers_never_import_one_another(paper):
    for module in (ROOT / "mer_kit/models").glob(f"{paper}*.py"):
        others = {name for name in imports_of(module.read_text()) for other in PAPERS
                  if other != paper and name.startswith(f"models.{other}")}
        assert not others


def test_the_reader_of_imports_reads_them_all():
    source = "import mer_kit.cli, os\nfrom mer_kit import errors\ndef f():\n    from mer_kit.corpora.audio import fault"
    assert imports_of(source) == {"cli", "errors", "corpora.audio.fault"}


def kept_files() -> list[Path]:
    """Every text file that is, or could be, committed."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    text = {".py", ".md", ".toml", ".txt", ".yml", ".ipynb", ".css", ".j2", ".json", ".csv", ".tsv", ""}
    return [p for p in (ROOT / line for line in listed.stdout.splitlines()) if p.suffix in text and p.is_file()]


def test_no_file_is_two_ideas():
    long = {named(p): n for p in kept_files() if p.suffix == ".py" and (n := len(p.read_text().splitlines())) > LONGEST}
    assert not long, f"split these: {long}"


def test_no_file_names_a_machine_or_a_registry():
    places = "|".join(("work", "root", "home/[a-z]+", "Users/[A-Za-z]+", "mnt", "opt"))
    hosts = "|".join((r"py" r"pi\.org", r"python" r"hosted\.org", r"ana" r"conda\.org", r"npm" r"js\.org"))
    forbidden = re.compile(rf"(?<![\w.…/])/(?:{places})/[\w.]|{hosts}")
    for path in kept_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not (found := forbidden.search(line)), f"{named(path)}:{number} names {found.group()}"
