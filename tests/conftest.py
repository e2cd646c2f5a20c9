"""What all tests share: the folder with real corpora, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real corpora beside this checkout; tests that use it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the folder with real corpora is not beside this checkout")
    return SHARED


@pytest.fixture(scope="module")
def ledger(tmp_path_factory) -> Path:
    """Where the runs of one test file are kept: they share them."""
    return tmp_path_factory.mktemp("ledger")


@pytest.fixture(scope="session")
def tested(tmp_path_factory) -> Path:
    """Where the kit's notebooks run at their smallest: models in `ledger`, executed copies in `nb`.

    `mer-kit test` gives its two sets one such folder, so that the second trains and runs nothing again.
    """
    return Path(os.environ.get("MER_KIT_TESTED") or tmp_path_factory.mktemp("tested"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where the real corpora are, a test that uses them must run: its skip is a failure."""
    report = yield
    if report.skipped and SHARED.is_dir() and "shared" in getattr(item, "fixturenames", ()):
        report.outcome, report.longrepr = "failed", f"{item.nodeid} skipped although the real corpora are here"
    return report
