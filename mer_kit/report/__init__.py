"""The report: one page for each executed notebook and an index, readable offline, by day and by night."""

from __future__ import annotations

import base64
import re
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

from mer_kit.batch_runs import EXECUTED, read_records
from mer_kit.errors import Missing
from mer_kit.install import ROOT

REPORT = ROOT / "build" / "report"
HERE = Path(__file__).parent
OPEN = ("duet",)  # corpora whose sound and transcripts may stand in a report that is passed on


def build_report(executed: Path = EXECUTED, folder: Path = REPORT) -> Path:
    """Write `folder`/index.html, a page for each notebook, pictures, plotly's script and the style; the index's path.

    `executed` holds what `run_notebooks` left: executed copies and their records. Nothing in `folder` is deleted but
    the earlier pictures of the same notebooks.
    """
    import nbformat

    records = [r for r in read_records(executed) if (executed / f"{r['notebook']}.ipynb").is_file()]
    if not records:
        raise Missing(f"no executed notebook lies in {executed}; run some first: mer-kit run")
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    notebooks = [nbformat.read(executed / f"{r['notebook']}.ipynb", as_version=4) for r in records]
    cards = [_card(*pair, folder) for pair in zip(records, notebooks, strict=True)]
    for number, notebook in enumerate(notebooks):
        _write_page(cards, number, notebook, folder)
    _write_assets(folder)
    index = folder / "index.html"
    index.write_text(_templates().get_template("index.html.j2").render(
        cards=cards, machine=records[-1]["machine"], date=datetime.now().astimezone()), encoding="utf-8")
    return index


def _card(record: dict, notebook: Any, folder: Path) -> dict:
    """What the index shows of a notebook: its record, title, picture and, where due, the licence's banner.

    The picture is the first of the cell tagged `cover`, else the first of all.
    """
    from mer_kit.report.pages import pictures_of, title_of

    name, given, pictures = record["notebook"], record["parameters"], pictures_of(notebook)
    for old in (folder / "figures").glob(f"{name}-*.png"):
        old.unlink()
    for n, (picture, _) in enumerate(pictures, 1):
        (folder / "figures" / f"{name}-{n}.png").write_bytes(base64.b64decode(picture))
    shown = next((n for n, (_, cover) in enumerate(pictures, 1) if cover), 1)
    licensed = given.get("EMBED_MEDIA") and given.get("CORPUS", OPEN[0]) not in OPEN
    varied = ", ".join(f"{key} {_shown(value)}" for key, value in record.get("varied", {}).items())  # by a grid
    return record | {
        "title": ": ".join(filter(None, (title_of(notebook, name), varied))), "href": f"{name}.html",
        "number": re.split("[_-]", name)[0],
        "thumbnail": f"figures/{name}-{shown}.png" if pictures else None,
        "parameters": {key: _shown(value) for key, value in given.items()},
        "licensed": _shown(given["CORPUS"]) if licensed else None,
    }


def _shown(value: Any) -> str:
    """A parameter's value without the folders of this machine."""
    return f"…/{Path(value).name}" if isinstance(value, str) and Path(value).is_absolute() else str(value)


def _write_page(cards: list[dict], number: int, notebook: Any, folder: Path) -> None:
    from mer_kit.report.pages import body_of

    nonce = secrets.token_hex(8)  # the only scripts that the page's policy lets run carry it
    page = _templates().get_template("page.html.j2").render(
        card=cards[number], previous=cards[number - 1] if number else None,
        following=cards[number + 1] if number + 1 < len(cards) else None,
        body=body_of(notebook, nonce), nonce=nonce)
    (folder / cards[number]["href"]).write_text(page, encoding="utf-8")


def _write_assets(folder: Path) -> None:
    """plotly.min.js, once for all pages, and style.css with the code's colours for light and dark."""
    from plotly.offline import get_plotlyjs
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    style = (HERE / "style.css").read_text(encoding="utf-8")
    (folder / "style.css").write_text(f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{style}")
    (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")


def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader

    templates = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    templates.filters["duration"] = lambda s: f"{s:.1f} s" if s < 60 else f"{int(s // 60)} min {int(s % 60):02d} s"
    return templates
