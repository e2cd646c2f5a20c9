"""Faults: thousands of damaged files and odd words, and processes killed at random moments and at each write.

    python benchmarks/faults.py

runs the slow tests of tests/test_fuzz.py and tests/test_kills.py and keeps the counts that they report: what each case
came to, and how often a process was killed. It fails where a test does, and then keeps nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import typer
from measure import HERE, keep

from mer_kit.install import ROOT

COUNTED = ("tests/test_fuzz.py", "tests/test_kills.py")


def main(out: Path = HERE / "faults.json") -> None:
    """Run the slow tests of faults and write down their counts."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "slow", f"--junitxml={report}", *COUNTED],
                              cwd=ROOT)
        if done.returncode:
            raise SystemExit(done.returncode)
        keep(out, rows_of(report))


def rows_of(report: Path) -> list[dict]:
    """A row for each test that reports counts, and one for all cases and all kills."""
    rows, cases, kills = [], 0, 0
    for case in ElementTree.parse(report).iter("testcase"):
        counts = {p.get("name"): int(p.get("value")) for p in case.iter("property")}
        if not counts:
            continue
        name = case.get("name").removeprefix("test_").replace("_", " ")
        kills += counts.get("kills", 0)
        cases += 0 if "kills" in counts else sum(counts.values())
        told = [f"{count:,} {outcome}" for outcome, count in sorted(counts.items(), key=lambda item: -item[1])]
        rows.append({"what": name, "figure": ", ".join(told), "counts": counts})
    return [{"what": "all of them", "figure": f"{cases:,} cases, {kills} kills, nothing wrong",
             "goal": "≥ 10,000 cases, ≥ 50 kills"}, *rows]


if __name__ == "__main__":
    typer.run(main)
