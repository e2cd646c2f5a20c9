"""A real Chromium, a page that reports every request and complaint, and a JupyterLab that starts once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import papermill
import pytest
from live_page import Explorers, all_explorers
from running_lab import FLAGS, HEIGHT, WIDTH, Lab, Watched, running_lab
from small_experiments import experiments_on
from small_explorers import ASKED, HONEST, planted
from small_notebook import SMALLEST

from mer_kit.batch_runs import find_notebooks, plan
from mer_kit.machine import find_chromium
from mer_kit.training.protocol_gap import under_protocols
from mer_kit.training.restore import restored

HERE = Path(__file__).parent
SHARING = ("test_live_explorers_in_browser.py", "test_looking_in_browser.py")


def pytest_collection_modifyitems(items):
    """Everything in this folder drives a browser."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("browser")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One worker takes all files that share the explorers' page, other tests go one by one to whoever is free.

    xdist's own groups change a test's id, which pytest 9.2 no longer lets it.
    """
    from xdist.scheduler import LoadScopeScheduling

    class OnePage(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.split("::")[0]).name
            return "explorers" if file in SHARING else nodeid

    return OnePage(config, log)


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """Debian's Chromium, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not (program := find_chromium()):
        pytest.skip("no Chromium is here; Debian and Ubuntu: apt install chromium")
    with playwright.sync_playwright() as driver, driver.chromium.launch(executable_path=program, args=FLAGS) as browser:
        yield browser


def _watching(chromium, request) -> Callable[..., Watched]:
    """`watch("file://", colour="dark")`: a fresh page on which requests to any other place are aborted and noted."""

    def open_page(*allowed: str, colour: str = "light") -> Watched:
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=colour)
        request.addfinalizer(page.close)
        watched = Watched(page)

        def gate(route):
            if route.request.url.startswith((*allowed, "data:", "blob:")):
                return route.continue_()
            watched.outside.append(route.request.url)
            return route.abort()

        page.route("**/*", gate)
        page.on("console", lambda m: watched.complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (watched.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        return watched

    return open_page


watch = pytest.fixture(_watching, name="watch")
watch_session = pytest.fixture(_watching, name="watch_session", scope="session")


@pytest.fixture(scope="session")
def planted_runs(tested) -> Iterator[dict]:
    """The models of ASKED, trained on the slice with markup in it, and what the protocol switch compares."""
    ledger = tested / "planted"
    with experiments_on(planted()):
        under_protocols(HONEST, ledger, progress=False, device="cpu")
        yield {name: restored(e, ledger, progress=False, device="cpu") for name, e in ASKED.items()}


@pytest.fixture(scope="session")
def all_on_one_page(lab, watch_session, tested, planted_runs) -> Explorers:
    """Every explorer; the test files that ask for it follow one another, then its kernel may be stopped."""
    return all_explorers(lab, watch_session, tested / "planted")


@pytest.fixture
def explorers(all_on_one_page) -> Iterator[Explorers]:
    """Every explorer, in whatever state a test before has left it; quiet at the end."""
    yield all_on_one_page
    all_on_one_page.assert_quiet()


@pytest.fixture(scope="session")
def small(tested) -> dict:
    """The parameters that make all notebooks smallest, with one ledger for them."""
    return SMALLEST | {"LEDGER": str(tested / "ledger")}


@pytest.fixture(scope="session")
def lab(tmp_path_factory, small) -> Iterator[Lab]:
    """JupyterLab over copies of the notebooks, with folders and settings of its own."""
    root = tmp_path_factory.mktemp("checkout") / "notebooks"
    root.mkdir(parents=True)
    for notebook, own in plan(find_notebooks(), small).items():
        papermill.execute_notebook(str(notebook), str(root / notebook.name), own, prepare_only=True, progress_bar=False)
    with running_lab(root, tmp_path_factory.mktemp("jupyter")) as here:
        yield here
