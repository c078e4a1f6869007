"""What a browser would make of a page: elements, attributes, and the text that a person reads."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr", "base"}
OURS = {
    "html", "head", "meta", "title", "style", "body", "main", "footer", "section", "div", "p", "h1", "h2", "h3", "dl",
    "dt", "dd", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "span", "i", "b", "em", "bdi", "br", "code",
    "details", "summary", "figure", "figcaption", "img",
    "svg", "g", "path", "defs", "use", "text", "clippath", "rect",
}  # fmt: skip


class Page(HTMLParser):
    """A parsed page: `tags`, `attributes` as (tag, name, value), `text` of the page's own language, and
    all `words` in their order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.all, self.open = set(), [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("lang")))

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if any(tag == "style" for tag, _ in self.open):
            return
        english = any(language == "en" for tag, language in self.open if tag != "html")
        english = english or any(tag in ("code", "bdi") for tag, _ in self.open)
        self.all.append(data)
        self.text += [] if english else [data]

    @property
    def words(self):
        """All text that a person reads, spaces evened."""
        return " ".join("".join(self.all).split())


def read(path):
    """The page in a file after what holds for every page: one file, nothing from outside, nothing live, nothing raw."""
    html = path.read_text("utf-8")
    page = Page(html)
    assert page.tags <= OURS, page.tags - OURS
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert ("meta", "content", policy) in page.attributes
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("href", "xlink:href", "src", "action", "srcset", "data"):
            assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value)
        assert "url(" not in value.replace("url(#", ""), (tag, name, value)
    assert not [c for c in html if not (c.isprintable() or c in "\n\xa0")]
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)), "ids are unique on the page"
    asked = {v.removeprefix("#") for _, n, v in page.attributes if n in ("href", "xlink:href")}
    assert {name for name in asked if not name.startswith("data:")} <= set(ids)
    assert "#5e" not in html, "a stand-in for a colour is left"
    assert not [line for line in html.splitlines() if "@import" in line or "@font-face" in line]
    return page
