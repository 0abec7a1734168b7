"""The manual as a site: built strictly, no dead link, nothing fetched from elsewhere, every command in its reference."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from conftest import REPOSITORY

import legscore
from legscore.cli import COMMANDS


class Page(HTMLParser):
    """A page's anchors, links, and what a browser would load with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {name for key in ("id", "name") if (name := given.get(key))}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag in ("script", "img") and given.get("src"):
            self.loaded.append(str(given["src"]))
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(str(given["href"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Strict: what mkdocs warns of, such as a link that leads nowhere, ends the build."""
    mkdocs = shutil.which("mkdocs")
    if mkdocs is None:
        pytest.skip("the site needs legscore[docs]")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [mkdocs, "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


def test_every_page_is_in_the_contents() -> None:
    named = set(re.findall(r": ([\w-]+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(), re.M))
    written = {path.name for path in (REPOSITORY / "docs").glob("*.md")}
    assert written <= named, f"not in the nav of mkdocs.yml: {sorted(written - named)}"


def test_no_link_is_dead(site: Path, pages: dict[Path, Page]) -> None:
    assert len(pages) > 20
    dead = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute, for any folder
            continue
        for link in page.links:
            if urlparse(link).scheme or link.startswith("//"):
                continue
            target, anchor = urldefrag(unquote(link))
            there = (path.parent / target).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file() or (anchor and there in pages and anchor not in pages[there].anchors):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert not dead, dead


def test_nothing_is_fetched_from_elsewhere(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert not [link for link in page.loaded if urlparse(link).netloc], path


def test_every_command_is_in_the_reference(site: Path, pages: dict[Path, Page]) -> None:
    """Made from click when the site is built, so that it cannot lag behind."""
    reference = site / "commands/index.html"
    for command in COMMANDS:
        assert f"legscore-{command}" in pages[reference].anchors, command
    assert "--shuffle-null" in reference.read_text()


def test_the_python_reference_is_whole(site: Path, pages: dict[Path, Page]) -> None:
    """Every public name has its signature and docstring there."""
    there = pages[site / "python-reference/index.html"].anchors
    for name in legscore.__all__:
        assert name == "__version__" or any(anchor.endswith(f".{name}") for anchor in there), name
