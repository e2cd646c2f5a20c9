"""The report in a real browser with the network cut: pictures, plots and formulas are there, by day and by night."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_notebook import write

from mer_kit.batch_runs import find_notebooks, read_records, run_notebooks
from mer_kit.report import build_report

HOSTILE = "<img src=x onerror=alert(1)>"
SOURCES = (
    "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()",
    f"import plotly.express as px\npx.line(x=[1, 2], y=[3, 4], title='lines', hover_name=['{HOSTILE}'] * 2)",
    "px.scatter(x=range(2000), y=range(2000), title='drawn by WebGL')",
    f"import pandas as pd\npd.DataFrame({{'text': ['{HOSTILE}']}})",
    "import numpy as np\nfrom IPython.display import Audio\nAudio(np.sin(np.arange(16_000) / 9), rate=16_000)",
)
FORMULAS = r"Attention $A_r = \operatorname{softmax}(H_t W' H_s^\top)$ and $$\mathcal{L} = -\sum_i y_i \log \hat y_i$$"
CUT = "es => es.filter(e => e.offsetWidth > e.parentElement.offsetWidth).map(e => [e.alt, e.offsetWidth])"
BOXES = "es => es.map(e => { const b = e.getBoundingClientRect(); return [b.width, b.height] })"


@pytest.fixture(scope="session")
def small_report(tmp_path_factory) -> Path:
    """A report of one small notebook with one of each kind of output, and of one that fails."""
    folder = tmp_path_factory.mktemp("report")
    notebooks = [write(folder, "00_kinds", *SOURCES, text=FORMULAS), write(folder, "01_fails", "1 / 0")]
    run_notebooks(notebooks, {}, folder / "nb")
    return build_report(folder / "nb", folder / "report")


@pytest.fixture(scope="session")
def full_report(tested, small) -> Path:
    """The report of all notebooks, run as `mer-kit demo` runs them, but small."""
    ran = {record["notebook"] for record in read_records(tested / "nb")}
    run_notebooks([n for n in find_notebooks() if n.stem not in ran], small, tested / "nb")
    return build_report(tested / "nb", tested / "report")


def assert_whole(watched) -> None:
    """Every picture seen whole, every plot drawn, every formula has a size, nothing complained or left the folder."""
    page = watched.page
    page.wait_for_function("[...document.querySelectorAll('.plotly-graph-div')].every("
                           "e => e.matches('.js-plotly-plot') && e.querySelector('svg.main-svg, canvas'))")
    widths = page.locator("img").evaluate_all("es => es.map(e => e.naturalWidth)")
    assert all(width > 0 for width in widths), widths
    assert page.locator("img").evaluate_all(CUT) == []
    sizes = page.locator("math").evaluate_all(BOXES) + page.locator(".js-plotly-plot .main-svg").evaluate_all(BOXES)
    assert all(width > 0 and height > 0 for width, height in sizes), sizes
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than its window"
    assert not watched.complaints and not watched.outside


@pytest.mark.parametrize("colour", ["light", "dark"])
def test_every_kind_of_output_is_shown(small_report, watch, colour):
    watched = watch("file://", colour=colour)
    page = watched.page
    page.goto(small_report.as_uri())
    assert_whole(watched)
    watched.screenshot(f"report-index-{colour}")
    page.get_by_role("link", name="00_kinds", exact=True).first.click()
    page.wait_for_url("**/00_kinds.html")
    assert_whole(watched)
    assert page.locator(".js-plotly-plot").count() == 2 and page.locator("math").count() == 2
    page.wait_for_function("document.querySelector('audio').duration === 1")
    watched.screenshot(f"report-page-{colour}")
    page.locator("a[rel=next]").click()
    page.wait_for_url("**/01_fails.html")
    assert "ZeroDivisionError" in page.locator("header .error").inner_text()


def test_hostile_text_is_shown_and_not_run(small_report, watch):
    watched = watch("file://")
    page = watched.page
    page.goto((small_report.parent / "00_kinds.html").as_uri())
    assert page.locator("td", has_text=HOSTILE).count() == 1
    surface = page.locator(".js-plotly-plot .nsewdrag").first
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + box["height"] - 40)
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] - 20)  # beside the first point
    page.locator(".hovertext").first.wait_for(timeout=5000)
    assert "onerror" in page.locator(".hovertext").first.text_content()
    assert page.locator("img[onerror]").count() == 0 and not watched.complaints
    # the page's policy is the second wall: markup that got past the first would not run either
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=nowhere onerror=\"window.ran = 1\">')")
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("colour", ["light", "dark"])
def test_the_report_of_all_notebooks_is_whole(full_report, watch, colour):
    for page in [full_report, *sorted(full_report.parent.glob("[0-9][0-9]_*.html"))]:
        watched = watch("file://", colour=colour)
        watched.page.goto(page.as_uri())
        assert_whole(watched)
        assert watched.page.locator(".status.failed, .error").count() == 0
        watched.screenshot(f"{page.stem}-{colour}")
