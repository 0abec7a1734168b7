"""One look for all figures: colours that colour-blind readers can tell apart, and files that do not change by
themselves.

Colours are Okabe & Ito's (https://jfly.uni-koeln.de/color/), effects go from blue over white to orange-red,
which keeps its order in grey. SVG keeps text as text; no file holds a date.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legscore.errors import InputError, LegscoreError, OutputError, spell_controls
from legscore.system.publish import publishing, writing

FORMATS = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
BASE_COLOURS = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00"}
GREY = "#666666"
DPI = 200
SCREEN_DPI = 130
MOST_LETTERS = 80
MOST = 1e30


def check_picture(path: str) -> str:
    """The format of a picture by its extension; OutputError when it is none of FORMATS."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise OutputError(f"{path}: pictures are {', '.join(FORMATS)}; name one of them")
    return ending[1:]


def new_figure(width: float, height: float) -> Any:
    """An empty figure in inches, without a window or global state. LegscoreError where matplotlib is
    missing."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise LegscoreError("figures need matplotlib: pip install 'legscore[report]'") from None
    mpl.rcParams.update(
        {
            "font.size": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 9,
            "legend.frameon": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "legscore",
            "pdf.fonttype": 42,
            "axes.titlelocation": "left",
        }
    )
    return Figure(figsize=(width, height), layout="constrained")


@dataclass(frozen=True)
class Picture:
    """A figure that notebooks show, whatever backend matplotlib has there."""

    figure: Any

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.figure.savefig(stream, format="png", dpi=SCREEN_DPI)
        return stream.getvalue()


def save(figure: Any, path: str) -> None:
    """Write a figure aside and rename it into place."""
    kind, sink = check_picture(path), io.BytesIO()
    metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with warnings.catch_warnings():
        # letters that the font lacks are drawn as boxes; a warning would tell who cannot change the name
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(sink, format=kind, dpi=DPI, metadata=metadata)
    with publishing(Path(path)) as temporary, writing(path):
        temporary.write_bytes(sink.getvalue())


def effect_colours() -> Any:
    """Blue (lower) over white to orange-red (higher)."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "effect", ["#053061", "#4393C3", "#F7F7F7", "#E08214", "#7F3B08"]
    )


def count_bar(figure: Any, drawn: Any, axes: Any, label: str, **named: Any) -> None:
    """A colour bar of counts on a logarithmic scale, its ticks written as they are: 1, 10, 100."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    bar = figure.colorbar(drawn, ax=axes, label=label, **named)
    low, high = bar.vmin, bar.vmax
    bar.locator = LogLocator(subs=(1.0,) if high / low > 300 else (1.0, 2.0, 5.0))
    bar.formatter = FuncFormatter(lambda count, _: f"{count:,.0f}")
    bar.minorlocator = LogLocator(subs="all")
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.update_ticks()


def value_bar(figure: Any, drawn: Any, axes: Any, label: str, **named: Any) -> None:
    """A colour bar of values, without a power or an offset beside it."""
    from matplotlib.ticker import FuncFormatter

    figure.colorbar(
        drawn, ax=axes, label=label, format=FuncFormatter(lambda value, _: f"{value:.6g}"), **named
    )


def plain(text: str) -> str:
    """A text that matplotlib draws as it is, within MOST_LETTERS: no mathematics between dollar signs, no
    control characters."""
    short = text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"
    return spell_controls(short).replace("$", r"\$")


def check_drawable(values: Iterable[float], what: str) -> None:
    """InputError for finite values that no axis can show."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest > MOST:
        raise InputError(f"{what}: values up to {largest:.3g} cannot be drawn; {MOST:g} is the most")
