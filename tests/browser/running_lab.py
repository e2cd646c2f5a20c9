"""A running JupyterLab with settings of its own, and a page whose requests and complaints are noted."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mer_kit.install import ROOT

SCREENSHOTS = ROOT / "build" / "screenshots"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")
WIDTH, HEIGHT, LAB_BARS = 1280, 900, 120  # px: of the window, and what JupyterLab shows above and below a notebook
PATIENCE = 60.0  # s for JupyterLab to answer
SETTINGS = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"}}  # cells out of view are on the page as well
TO_THE_TOP = """() => Math.max(...[...document.querySelectorAll('.jp-WindowedPanel-outer')].map(
    e => { e.scrollTop = 0; return e.scrollHeight; }))"""


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


@contextmanager
def running_lab(root: Path, home: Path) -> Iterator[Lab]:
    """JupyterLab over a folder of notebooks; in `home` is what it keeps."""
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
