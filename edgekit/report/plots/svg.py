"""A plot as SVG that stands in the page: it scales with its place, and tells what it shows to those who cannot see."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from edgekit.report.plots.figures import Plot

__all__ = ["inline_svg"]

FONT = "DejaVu Sans"
FALLBACK = f"'{FONT}', Verdana, Arial, sans-serif"
"""Text is laid out in the widest of them: where another one shows, it only leaves more room."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgekit",
    "text.parse_math": False,
    "font.family": FONT,
    "axes.unicode_minus": True,
}
NOTHING_OF_MATPLOTLIB = dict.fromkeys(("Date", "Creator", "Format", "Type"))
LINK = re.compile(r"#([\w.-]+)")


def inline_svg(plot: Plot, width: int, suffix: str) -> str:
    """The element `<svg>`. Its id, and all ids within, begin with the plot's and `suffix`. Same plot, same text."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is the browser's to find elsewhere
        plot.draw(width).savefig(stream, format="svg", metadata=NOTHING_OF_MATPLOTLIB)
    root = ElementTree.fromstring(stream.getvalue())
    name = f"{plot.id}-{suffix}"
    _bare(root)
    _rename(root, name, plot.hover)
    for place, (tag, text) in enumerate((("title", plot.title), ("desc", plot.description))):
        told = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        told.text = text
        root.insert(place, told)
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {
        "id": name,
        "class": suffix,
        "viewBox": box,
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
    }
    text = ElementTree.tostring(root, encoding="unicode", method="html")
    return re.sub(r">\s+<", "><", text).replace(f"'{FONT}'", FALLBACK)


def _bare(root: ElementTree.Element) -> None:
    """Without namespaces, as HTML has SVG, and without styles that would hold for the whole page."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [key for key in element.attrib if "}" in key]:
            element.attrib[key.rpartition("}")[2]] = element.attrib.pop(key)
    for element in list(root.iter()):
        for child in list(element):
            if child.tag in ("style", "metadata"):
                element.remove(child)


def _rename(root: ElementTree.Element, name: str, hover: Mapping[str, str]) -> None:
    """Ids that something refers to become the plot's own, the others go; marks are told what hovers over them."""
    used = {
        part for element in root.iter() for value in element.attrib.values() for part in LINK.findall(value)
    }
    for element in root.iter():
        key = element.attrib.pop("id", "")
        text = hover.get(key.partition(".")[0])
        if text is not None:
            told = ElementTree.Element("title")
            told.text = text
            element.insert(0, told)
        for attribute, value in element.attrib.items():
            if "#" in value and (attribute == "href" or value.startswith("url(")):
                element.attrib[attribute] = LINK.sub(rf"#{name}-\1", value)
        if key in used:
            element.attrib["id"] = f"{name}-{key}"
