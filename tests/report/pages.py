"""Reads a rendered page back: elements, attributes, the plots' texts, the text a reader sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "hr", "input"}


@dataclass
class Page:
    """What the parser saw. `unbalanced` holds tags that were closed wrongly or not at all."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[tuple[dict[str, str | None], str]] = field(default_factory=list)
    text: str = ""
    drawings: list[tuple[str, str]] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)

    def ids(self) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get("id"))]

    def figures(self, name: str) -> list[str]:
        """The text within each drawing of one plot: what its marks and its screen reader's text say."""
        return [text for id, text in self.drawings if id.startswith(f"{name}-")]


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self.open: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.elements.append((tag, dict(attrs)))
        if tag == "svg":
            self.page.drawings.append((dict(attrs)["id"] or "", ""))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))
            if tag == "script":
                self.page.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1][0] != tag:
            self.page.unbalanced.append(tag)
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        inside = self.open[-1][0] if self.open else ""
        if inside == "script":
            attributes, text = self.page.scripts[-1]
            self.page.scripts[-1] = (attributes, text + data)
        elif any(tag == "svg" for tag, _ in self.open):
            name, text = self.page.drawings[-1]
            self.page.drawings[-1] = (name, text + data)
        elif inside != "style":
            self.page.text += data


def read_page(html: str) -> Page:
    reader = Reader()
    reader.feed(html)
    reader.close()
    reader.page.unbalanced += [tag for tag, _ in reader.open]
    reader.page.text = " ".join(reader.page.text.split())
    return reader.page
