"""Works of the kit are killed at random moments and at their writes: nothing half-written is read, nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from killed_work import at_random

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are killed by fork and SIGKILL")


@pytest.mark.parametrize(("work", "kills"), [("short training", 2), ("extraction", 1)])
def test_a_killed_work_goes_on_to_the_same_end(work, kills, tmp_path):
    found = at_random(work, tmp_path, kills)
    assert found["wrong"] == [] and found["kills"] == kills


def killed(folder: Path, work: str, kills: str) -> dict:
    program = [sys.executable, str(Path(__file__).with_name("killed_work.py")), str(folder), work, kills]
    done = subprocess.run(program, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("work", "kills"), [("training", "20"), ("extraction", "20"), ("grid", "10"),
                                            ("short training", "points")])
def test_fifty_kills_lose_nothing_and_change_no_number(work, kills, tmp_path, record_property):
    found = killed(tmp_path, work, kills)
    assert found["wrong"] == []
    assert found["kills"] >= (30 if kills == "points" else int(kills)) and found["ends"] >= 1
    record_property("kills", found["kills"])
    record_property("came to the end", found["ends"])
