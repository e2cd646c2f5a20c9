"""A real Chromium, a page that reports every request and complaint, and a JupyterLab that starts once."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import papermill
import pytest
from live_page import Explorers, all_explorers
from small_experiments import experiments_on
from small_explorers import ASKED, HONEST, planted
from small_notebook import SMALLEST

from mer_kit.batch_runs import find_notebooks, plan
from mer_kit.install import ROOT
from mer_kit.machine import find_chromium
from mer_kit.training.protocol_gap import under_protocols
from mer_kit.training.restore import restored

HERE = Path(__file__).parent
SCREENSHOTS = ROOT / "build" / "screenshots"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")
WIDTH, HEIGHT, LAB_BARS = 1280, 900, 120  # px: of the window, and what JupyterLab shows above and below a notebook
PATIENCE = 60.0  # s for JupyterLab to answer
SETTINGS = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"}}  # cells out of view are on the page as well
TO_THE_TOP = """() => Math.max(...[...document.querySelectorAll('.jp-WindowedPanel-outer')].map(
    e => { e.scrollTop = 0; return e.scrollHeight; }))"""
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


@dataclass
class Watched:
    """A page, the requests that left the allowed places, and what its console complained of."""

    page: object
    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def screenshot(self, name: str, whole_notebook: bool = False) -> None:
        """Keep what is seen under build/screenshots; a whole notebook's page is as high as it from then on."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        if whole_notebook:
            self.page.set_viewport_size({"width": WIDTH, "height": self.page.evaluate(TO_THE_TOP) + LAB_BARS})
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


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


@dataclass
class Lab:
    """A running JupyterLab."""

    root: Path  # holds copies of the notebooks, at their smallest
    base: str
    token: str

    def url(self, notebook: Path) -> str:
        """The address of a notebook, in a workspace of its own."""
        return f"{self.base}/lab/tree/{notebook.name}?token={self.token}&reset"

    def stop_kernels(self) -> None:
        """End those that earlier notebooks left running: each holds a gigabyte."""
        with urllib.request.urlopen(f"{self.base}/api/kernels?token={self.token}") as running:
            for kernel in json.load(running):
                address = f"{self.base}/api/kernels/{kernel['id']}?token={self.token}"
                urllib.request.urlopen(urllib.request.Request(address, method="DELETE")).close()


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
    home, root = tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("checkout") / "notebooks"
    root.mkdir(parents=True)
    for notebook, own in plan(find_notebooks(), small).items():
        papermill.execute_notebook(str(notebook), str(root / notebook.name), own, prepare_only=True, progress_bar=False)
    for plugin, chosen in SETTINGS.items():
        file = home / f"settings/@jupyterlab/{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(chosen))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = Lab(root, f"http://127.0.0.1:{port}", secrets.token_hex(16))
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
               "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True"]
    environment = os.environ | {k: str(home / v) for k, v in folders.items()} | {"JUPYTER_TOKEN": here.token}
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(here, server, home / "log")
            yield here
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(lab: Lab, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{lab.base}/api/status?token={lab.token}", timeout=2)
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not answer within {PATIENCE:.0f} s:\n{log.read_text()}")
