"""Checks that every relative link in the project's Markdown leads to a file, and every #fragment to a heading."""

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
MARKDOWN = MarkdownIt("commonmark").enable("table")


def pages() -> list[Path]:
    """Every Markdown file that belongs to the project."""
    listed = subprocess.run(["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*.md") if not {"node_modules", ".nox", ".venv"} & set(path.parts)]


def _inline(page: Path) -> Iterator[Token]:
    for token in MARKDOWN.parse(page.read_text()):
        yield from token.children or ()


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links and pictures."""
    for token in _inline(page):
        target = token.attrGet("href") or token.attrGet("src")
        if target:
            yield str(target)


def fragments(page: Path) -> set[str]:
    """The fragments that a page's headings answer to, by the rule that code forges use."""
    tokens = MARKDOWN.parse(page.read_text())
    titles = (after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open")
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken() -> list[str]:
    """One line for each link that leads nowhere."""
    lines = []
    for page in pages():
        for link in links(page):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            lost = not target.exists() or (parts.fragment and parts.fragment not in fragments(target))
            if lost or not target.is_relative_to(ROOT):
                lines.append(f"{page.relative_to(ROOT)}: {link}")
    return lines


if __name__ == "__main__":
    sys.exit("\n".join(["links that lead nowhere:", *lines]) if (lines := broken()) else 0)
