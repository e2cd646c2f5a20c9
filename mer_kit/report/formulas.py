"""LaTeX formulas as MathML, which browsers draw by themselves, without a script or a font from elsewhere."""

from __future__ import annotations

from html import escape
from xml.etree import ElementTree

SPACE = "http://www.w3.org/1998/Math/MathML"
ELEMENTS = ("math", "menclose", "mfrac", "mi", "mn", "mo", "mover", "mpadded", "mphantom", "mroot", "mrow", "mspace",
            "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover")


def to_mathml(latex: str, block: bool = False) -> str:
    """A formula (without its dollars) as a `<math>` element; what cannot be converted stays as source in `<code>`.

    >>> to_mathml("x")
    '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><mi>x</mi></mrow></math>'
    """
    from latex2mathml.converter import convert

    try:
        tree = ElementTree.fromstring(convert(latex.replace("{aligned}", "{align*}"),
                                              display="block" if block else "inline"))
    except Exception:  # the converter has a dozen error types of its own, and IndexError besides
        tree = None
    if tree is None or not all(_is_plain(element) for element in tree.iter()):
        return f"<code>{escape(latex.strip())}</code>"
    ElementTree.register_namespace("", SPACE)
    return ElementTree.tostring(tree, encoding="unicode")


def _is_plain(element: ElementTree.Element) -> bool:
    """Is this an element of MathML's own, without a link or a handler, and without a command left unconverted?"""
    known = element.tag.removeprefix(f"{{{SPACE}}}") in ELEMENTS and "\\" not in (element.text or "")
    return known and not any(name == "href" or name.startswith("on") for name in element.attrib)
