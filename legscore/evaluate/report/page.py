"""The page: one HTML file with its data, its script and the plotting library, and no way to the network.

Plotly.js draws: it is well kept (MIT, a release every few weeks), its Python package carries the whole
library as one file, so that a page can hold it and needs no network, it zooms and hovers by itself, and it
works under a content policy without `eval`. A page holds it once, packed with gzip (2 MB), and the browser
unpacks it. Bokeh's package brings a web server and a table library; those of ECharts and Vega load the
library from the network.

The policy of the page forbids any connection and any script but those whose hashes it lists. Data lie in a
JSON block in which no `<` is left, and the script puts texts in as text, never as HTML: whatever a gene is
called stays a name.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import html
import json
from importlib import resources
from pathlib import Path
from typing import Any

from legscore.errors import LegscoreError, OutputError
from legscore.evaluate.report.collect import (
    Scores,
    against_truth,
    density,
    floor,
    histogram,
    read_scores,
    run_facts,
    status_counts,
    top,
)
from legscore.evaluate.report.layers import heat_maps, track
from legscore.system.publish import publishing, writing
from legscore.version import __version__

SD_OF = {"effect": "effect_sd", "score": "score_sd"}
TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<div id="page"></div>
<noscript>This report needs JavaScript, which is in this file itself.</noscript>
<script type="application/json" id="data">{data}</script>
<script type="application/gzip" id="library">{library}</script>
<script>{script}</script>
</body>
</html>
"""


def collect(scores: Scores, given: str, truth: str | None, tile: str | None) -> dict[str, Any]:
    """Everything that the page shows. `given`: what the user calls the scores."""
    sd = SD_OF[scores.main]
    shown = [name for name in ("score", "ref_score", "alt_score", "effect", sd) if name in scores.values]
    histograms = {name: found for name in shown if (found := histogram(scores.values[name])) is not None}
    return {
        "version": __version__,
        "file": Path(given).name,
        "rows": len(scores),
        "main": scores.main,
        "facts": run_facts(scores, given),
        "status": status_counts(scores),
        "histograms": histograms,
        "floor": floor(scores),
        "spread": density(scores.values[sd], np_abs(scores, scores.main)) if sd in scores.values else None,
        "sd": sd,
        "truth": against_truth(scores, truth) if truth else None,
        "top": top(scores, truth),
        "heat": heat_maps(scores, tile) if scores.main == "effect" else None,
        "track": track(scores),
    }


def np_abs(scores: Scores, name: str) -> Any:
    """|effect| for effects, the score itself for scores."""
    return abs(scores.values[name]) if name == "effect" else scores.values[name]


@functools.cache
def library() -> tuple[str, str]:
    """Plotly.js for the page: gzip in base64, and the hash of its text for the page's policy.

    Raises:
        LegscoreError: the package is missing.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise LegscoreError(
            "the report needs plotly, which it carries: pip install 'legscore[report]'"
        ) from None
    text = get_plotlyjs().encode()
    packed = gzip.compress(text, 9, mtime=0)
    return base64.b64encode(packed).decode("ascii"), source_hash(text)


def source_hash(script: bytes) -> str:
    """A script as a content policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode('ascii')}'"


def as_json(data: Any) -> str:
    """JSON that may stand inside a script element: no `<`, `>`, `&` and no line separators of JavaScript."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def render(data: dict[str, Any]) -> str:
    """The page as text."""
    room = resources.files("legscore.evaluate.report")
    script, style = ((room / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    packed, drawing = library()
    policy = (
        f"default-src 'none'; script-src {drawing} {source_hash(script.encode())}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return TEMPLATE.format(
        policy=policy,
        title=html.escape(f"legscore report: {data['file']}"),
        style=style,
        data=as_json(data),
        library=packed,
        script=script,
    )


def write_report(
    path: str, output: str, truth: str | None = None, tile: str | None = None, given: str | None = None
) -> list[str]:
    """Read scores and write the page; returns lines to say. `given`: what the user calls them, where it is
    not `path`."""
    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{output}: a report is a page; name it .html")
    scores = read_scores(path, truth, tile)
    data = collect(scores, given or path, truth, tile)
    text = render(data)
    with publishing(Path(output)) as temporary, writing(output):
        # a name that is no Unicode is spelt \\ud800, which JSON reads back
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    said = [f"{output}: {len(scores):,} rows, {Path(output).stat().st_size / 1e6:.1f} MB"]
    if data["heat"]:
        said.append(f"promoters: {len(data['heat']['titles']):,} of {data['heat']['of']:,} as heat maps")
    else:
        said.append("promoters: none with a change at every position, no heat maps")
    return said
