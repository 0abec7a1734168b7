"""Drawing for `fuzz.py` at a tenth of its price.

Nine tenths of a picture's time go into laying out its texts and ticks, and most of a page's into carrying
plotly.js. Which texts and ticks there are depends on the look of a figure alone: its axes, scales and limits,
its texts by their length, the kinds of its marks. So a figure whose look was drawn before is drawn one time in
EVERY; the others are built (each value reaches its mark, each limit and title is set) and not laid out again.
A page carries a line in place of plotly.js. A replayed input is always drawn in full, and so is everything in
`tests/test_fuzz.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

EVERY = 16


def draw_cheaply() -> None:
    """From now on, in this process. Nothing is done without legscore[report]."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    from legscore.evaluate.report import page

    drawn: Counter[tuple[Any, ...]] = Counter()
    full = Figure.savefig

    def savefig(figure: Any, sink: Any, **options: Any) -> None:
        found = look(figure)
        drawn[found] += 1
        if drawn[found] % EVERY == 1:
            full(figure, sink, **options)
        else:
            sink.write(b"of a look that was drawn before")

    Figure.savefig = savefig
    page.library = lambda: ("in the place of plotly.js", "'sha256-of-it'")  # type: ignore[assignment]


def look(figure: Any) -> tuple[Any, ...]:
    """What decides how a figure is laid out."""
    return (
        tuple(figure.get_size_inches()),
        *(text.get_text() for legend in figure.legends for text in legend.get_texts()),
        *(_axes(axes) for axes in figure.axes),
    )


def _axes(axes: Any) -> tuple[Any, ...]:
    """One panel: scales, limits to two digits, texts by their shape, marks by their kind."""
    limits = [f"{limit:.2g}" for limit in (*axes.get_xlim(), *axes.get_ylim())]
    legend = axes.get_legend()
    texts = [axes.get_title("left"), axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
    texts += [] if legend is None else [text.get_text() for text in legend.get_texts()]
    marks = Counter(type(mark).__name__ for mark in axes.get_children())
    return (
        axes.get_xscale(),
        axes.get_yscale(),
        *limits,
        *(re.sub(r"\d", "0", text) for text in texts),
        *sorted(marks.items()),
    )
