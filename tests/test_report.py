"""The report: local, harmless, complete, and honest about failures and licences."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mer_kit.batch_runs import record
from mer_kit.errors import Missing
from mer_kit.machine import summary
from mer_kit.report import build_report
from mer_kit.report.formulas import to_mathml

EVIL = "<img src=x onerror=alert(1)>"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="  # 1 × 1


def executed(folder: Path, name: str, *outputs: dict, text: str = "", **kept) -> None:
    """An executed copy, each of `outputs` (MIME type -> content) shown by a cell, and its record."""
    folder.mkdir(exist_ok=True)
    cells = [new_markdown_cell(f"# About {name}\n\n{text}")]
    cells += [new_code_cell("show()", outputs=[new_output("display_data", data)]) for data in outputs]
    nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    record([{"notebook": name, "started": "2026-01-01T00:00:00+00:00", "seconds": 75.0, "status": "ok", "error": None,
             "parameters": {"CORPUS": "duet"}, "machine": summary()} | kept], folder)


def page(tmp_path: Path, *outputs: dict, **kept) -> BeautifulSoup:
    executed(tmp_path / "nb", "00_a", *outputs, **kept)
    build_report(tmp_path / "nb", tmp_path / "report")
    return BeautifulSoup((tmp_path / "report/00_a.html").read_text(), "html.parser")


def plot(hover: str) -> dict:
    import plotly.graph_objects as go

    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], hovertext=[hover, hover]), {"title": {"text": hover}})
    return {"application/vnd.plotly.v1+json": figure.to_plotly_json() | {"config": {"plotlyServerURL": "somewhere"}},
            "text/html": "<script src='elsewhere'></script>"}


def test_no_page_loads_anything_from_elsewhere(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"text": [EVIL]})._repr_html_()
    soup = page(tmp_path, plot("a"), {"text/html": frame}, {"image/png": PNG},
                {"text/html": "<img src='https://x/y.png'>"},
                {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "IntSlider()"},
                text="$x^2$ and\n\n```mermaid\ngraph LR; A-->B\n```")
    for html in (tmp_path / "report").glob("*.html"):
        soup_of = BeautifulSoup(html.read_text(), "html.parser")
        for tag in soup_of.find_all(["script", "link", "img", "source", "iframe"]):
            for place in (tag.get("src"), tag.get("href")):
                if place and not place.startswith("data:"):
                    assert not re.match(r"(\w+:)?//", place), f"{html.name} loads {place}"
                    assert (html.parent / place).is_file(), f"{html.name} names {place}, which is not there"
    assert [s.get("src") for s in soup.find_all("script")] == ["plotly.min.js", None]
    assert "@import" not in (tmp_path / "report/style.css").read_text()
    assert "JupyterLab" in soup.select_one(".explorer").text


def test_a_widgets_static_twin_stands_for_it_and_sound_is_kept(tmp_path):
    twin = "<details><summary>How many?</summary><p>four</p></details>"
    sound = "<audio controls src='data:audio/ogg;base64,AAAA'></audio><audio src='https://x/y.ogg'></audio>"
    soup = page(tmp_path, {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/html": twin},
                {"text/html": sound})
    assert soup.select_one("details p").text == "four" and not soup.select(".explorer")
    assert [audio.get("src") for audio in soup.find_all("audio")] == ["data:audio/ogg;base64,AAAA", None]


def test_a_progress_bar_leaves_no_trace(tmp_path):
    bar = {"application/vnd.jupyter.widget-view+json": {"model_id": "2"}, "text/plain": "clips:  22%|##2  | 3/15"}
    soup = page(tmp_path, bar)
    assert not soup.select(".explorer") and "22%" not in soup.text


def test_markup_in_transcripts_stays_text(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"text": [EVIL]})._repr_html_()
    soup = page(tmp_path, {"text/html": frame}, plot(EVIL), {"text/plain": EVIL}, {"text/markdown": f"**bold** {EVIL}"},
                {"text/html": f"<b>kept</b>{EVIL}<script>alert(1)</script><a href='javascript:alert(1)'>x</a>"},
                {"text/latex": f"$\\text{{{EVIL}}}$"}, {"application/javascript": "alert(1)"})
    assert soup.select_one("td").text == EVIL
    assert not soup.find_all(lambda tag: any(name.startswith("on") for name in tag.attrs))
    assert not soup.select("[href^=javascript]") and soup.find("b").text == "kept"
    nonce = re.search(r"'nonce-(\w+)'", soup.find("meta", {"http-equiv": True})["content"]).group(1)
    assert all(script["nonce"] == nonce for script in soup.find_all("script")) and len(soup.find_all("script")) == 2
    assert "<" not in soup.find_all("script")[1].text.split("Plotly.newPlot")[1]
    assert soup.find("strong").text == "bold" and soup.text.count(EVIL) >= 3


def test_pictures_sound_and_styled_tables_are_kept(tmp_path):
    sound = '<audio controls="controls"><source src="data:audio/wav;base64,UklGRg==" type="audio/wav" /></audio>'
    styled = "<style>#T td { color: red }</style><table id='T'><td style='color: red; opacity: 0.5'>1</td></table>"
    soup = page(tmp_path, {"image/png": PNG}, {"text/html": sound}, {"text/html": styled})
    assert soup.select_one("audio[controls] source")["src"].startswith("data:audio/wav")
    assert soup.select_one("td")["style"] == "color: red; opacity: 0.5;" and soup.select_one("main style")
    assert soup.select_one("img")["src"].startswith("data:image/png")
    assert (tmp_path / "report/figures/00_a-1.png").read_bytes() == base64.b64decode(PNG)


def test_formulas_become_mathml(tmp_path):
    soup = page(tmp_path, {"text/latex": "$$y$$"}, text="$A_r < 1$ and $$\\sum_i x_i$$ but $\\frac{$, $\\nosuch$\n\n"
                "\\begin{align} a &= b \\end{align}\n\nand \\$5 stays")
    inline, block, aligned, shown = soup.find_all("math")
    assert (inline["display"], block["display"]) == ("inline", "block")
    assert inline.find("msub").text == "Ar" and inline.text.endswith("<1")
    assert block.find("munder") or block.find("msub")
    assert aligned.find("mtable") and shown.text == "y"
    assert [c.text for c in soup.find_all("code") if c.parent.name != "pre"] == ["\\frac{", "\\nosuch"]
    assert "$5 stays" in soup.text and "$$" not in soup.text


@pytest.mark.parametrize(("latex", "holds"), [
    (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "<mtable"), (r"\mathbb{R}^{n \times d}", "<msup"),
    (r"\mathrm{JS}(p \,\|\, q)", "<mo"), (r"\href{javascript:alert(1)}{x}", "<code>"),
    (r"\text{<img src='x' onerror='alert(1)'/>}", "<code>"), ("", "")])
def test_formulas_and_what_cannot_be_one(latex, holds):
    mathml = to_mathml(latex)
    assert holds in mathml and "<img" not in mathml and "href=" not in mathml


def test_the_index_has_a_card_a_notebook(tmp_path):
    executed(tmp_path / "nb", "00_a", {"image/png": PNG}, parameters={"CORPUS": "duet", "DATA_DIR": "/data/mine/x"})
    executed(tmp_path / "nb", "01_b", status="failed", error=f"cell 3 (boom): ValueError: {EVIL}")
    index = build_report(tmp_path / "nb", tmp_path / "report")
    soup = BeautifulSoup(index.read_text(), "html.parser")
    first, second = soup.select(".card")
    assert first.select_one("h2 a")["href"] == "00_a.html" and first.select_one("h2").text == "About 00_a"
    assert first.select_one("img")["src"] == "figures/00_a-1.png" and "1 min 15 s" in first.text
    assert [d.text for d in first.select("dd")] == ["duet", "…/x"]
    assert second.select_one(".error").text == f"cell 3 (boom): ValueError: {EVIL}" and not second.find("img")
    assert "1 failed" in soup.header.text and "/data" not in str(soup)
    assert f"Python {summary()['python']}" in soup.header.text
    following = BeautifulSoup((tmp_path / "report/00_a.html").read_text(), "html.parser").select_one("a[rel=next]")
    assert following["href"] == "01_b.html"


def test_the_card_shows_the_picture_of_the_cell_tagged_cover(tmp_path):
    executed(tmp_path / "nb", "00_a", *[{"image/png": PNG}] * 3)
    notebook = nbformat.read(tmp_path / "nb/00_a.ipynb", as_version=4)
    notebook.cells[2].metadata["tags"] = ["cover"]
    nbformat.write(notebook, tmp_path / "nb/00_a.ipynb")
    index = build_report(tmp_path / "nb", tmp_path / "report")
    assert BeautifulSoup(index.read_text(), "html.parser").select_one("img")["src"] == "figures/00_a-2.png"


@pytest.mark.parametrize(("corpus", "embed", "warned"), [
    ("iemocap", True, True), ("iemocap", False, False), ("duet", True, False), ("/data/own.csv", True, True)])
def test_media_of_licensed_corpora_bring_a_banner(tmp_path, corpus, embed, warned):
    soup = page(tmp_path, parameters={"CORPUS": corpus, "EMBED_MEDIA": embed})
    assert bool(soup.select(".banner")) == warned


def test_pictures_of_an_earlier_run_go(tmp_path):
    page(tmp_path, {"image/png": PNG}, {"image/png": PNG})
    page(tmp_path, {"image/png": PNG})
    assert [p.name for p in (tmp_path / "report/figures").iterdir()] == ["00_a-1.png"]


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(Missing, match="run some first: mer-kit run"):
        build_report(tmp_path, tmp_path / "report")
