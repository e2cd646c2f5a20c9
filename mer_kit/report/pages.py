"""An executed notebook as HTML that needs nothing from elsewhere and runs nothing but plotly's own script."""

from __future__ import annotations

import json
from html import escape

from bleach import clean
from bleach.css_sanitizer import ALLOWED_CSS_PROPERTIES, CSSSanitizer
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from mer_kit.report.formulas import to_mathml

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
TAGS = frozenset((
    "a", "audio", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "details", "div", "dl", "dt",
    "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "li", "mark", "ol", "p", "pre",
    "s", "small", "source", "span", "strong", "style", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th",
    "thead", "tr", "u", "ul"))
ATTRIBUTES = {
    "*": ["class", "dir", "id", "lang", "style", "title"],
    "a": ["href"], "col": ["span"], "details": ["open"], "ol": ["start"],
    "audio": lambda tag, name, value: name in ("controls", "preload", "aria-label") or (
        name == "src" and value.startswith("data:audio/")),
    "img": lambda tag, name, value: name in ("alt", "width", "height") or (name == "src" and value.startswith("data:")),
    "source": lambda tag, name, value: name == "type" or (name == "src" and value.startswith("data:")),
    "td": ["colspan", "rowspan"], "th": ["colspan", "rowspan", "scope"],
}
STYLES = CSSSanitizer((
    *ALLOWED_CSS_PROPERTIES, "align-items", "background", "border", "border-bottom", "border-left", "border-radius",
    "border-right", "border-top", "display", "flex", "flex-wrap", "gap", "grid-template-columns", "justify-content",
    "margin", "margin-bottom", "margin-left", "margin-right", "margin-top", "max-height", "max-width", "min-width",
    "opacity", "padding", "padding-bottom", "padding-left", "padding-right", "padding-top"))


class Renderer(IPythonRenderer):
    """nbconvert's markdown, with formulas as MathML."""

    def inline_math(self, body: str) -> str:
        """`$…$`."""
        return to_mathml(body)

    def block_math(self, body: str) -> str:
        """`$$…$$`."""
        return to_mathml(body, block=True)

    def latex_environment(self, name: str, body: str) -> str:
        """`\\begin{name}…\\end{name}`."""
        return to_mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True)


class BodyExporter(HTMLExporter):
    """The cells of a notebook as HTML, without a head: no require.js, no MathJax, no widget manager."""

    template_name = "basic"
    exclude_input_prompt = exclude_output_prompt = exclude_anchor_links = True

    def markdown2html(self, source: str) -> str:
        """The filter that nbconvert's templates call for markdown cells."""
        return MarkdownWithMath(renderer=Renderer(escape=False, exclude_anchor_links=True)).render(source)


def body_of(notebook: NotebookNode, nonce: str) -> str:
    """The cells as HTML; scripts in it, all of them plotly's, carry `nonce` and find plotly on the page."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "data" in output:
                output.data = _local(output.data, nonce)
    return BodyExporter().from_notebook_node(notebook)[0]


def _local(data: dict, nonce: str) -> dict:
    """The one form of an output that the report shows, made local and harmless."""
    if PLOTLY in data:
        return {"text/html": _plot(data[PLOTLY], nonce)}
    if WIDGET in data and "%|" in data.get("text/plain", ""):  # a progress bar, whose work is done
        return {"text/html": ""}
    if WIDGET in data and "text/html" not in data:  # a widget's static twin stands for it
        note = "An interactive explorer: open this notebook in JupyterLab (make lab) to use it."
        return {"text/html": f'<p class="explorer">{note}</p>'}
    if "text/html" in data:
        return {"text/html": clean(data["text/html"], TAGS, ATTRIBUTES, ("http", "https", "mailto", "data"),
                                   css_sanitizer=STYLES)}
    if "text/markdown" in data:
        return {"text/html": MarkdownWithMath(renderer=Renderer(escape=True)).render(data["text/markdown"])}
    if "text/latex" in data:
        return {"text/html": to_mathml(data["text/latex"].strip().strip("$"), block=True)}
    kept = {kind: data[kind] for kind in ("image/svg+xml", "image/png", "image/jpeg", "text/plain") if kind in data}
    return kept or {"text/html": f"<p>An output of type {escape(', '.join(data))}, which the report does not show.</p>"}


def _plot(figure: dict, nonce: str) -> str:
    from plotly.io import to_html

    figure = json.loads(json.dumps(figure))  # nbformat's own dict type is not plotly's
    figure.pop("config", None)
    height = figure.get("layout", {}).get("height", 450)  # px
    html = to_html(figure, include_plotlyjs=False, full_html=False, validate=False, default_height=f"{height}px",
                   config={"displaylogo": False, "responsive": True})
    return f'<div class="plot">{html.replace("<script", f"<script nonce={nonce!r}", 1)}</div>'


def title_of(notebook: NotebookNode, otherwise: str) -> str:
    """The first heading of a notebook."""
    lines = (line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("# ")), otherwise)


def pictures_of(notebook: NotebookNode) -> list[tuple[str, bool]]:
    """The PNG outputs, in order: base64, and whether a cell tagged `cover` shows it."""
    return [(output.data["image/png"], "cover" in cell.metadata.get("tags", ())) for cell in notebook.cells
            for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
