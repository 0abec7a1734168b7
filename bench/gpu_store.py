"""Results of bench/gpu.py: one JSON file for each GPU and day, an entry a part; and the table of all of
them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legscore.cuda.libcuda import Gpu
from legscore.engine.plans import locked
from legscore.system.publish import publishing

RESULTS = Path(__file__).parent / "results"


@dataclass
class Limits:
    """What a part may use, and where its rows are kept as they come.

    Attributes:
        deadline: on the monotonic clock; nothing new is begun after it.
        model: checkpoint or directory; the bundled models when empty.
        windows: of the parts that score many.
        reference: file of gpu_reference.py; FP32 scores are computed here when empty.
        keep: told all rows of the part after each one, so that none is lost when the part is ended.
        rows: what the part has found.
    """

    deadline: float
    model: str = ""
    windows: int = 200_000
    reference: str = ""
    keep: Callable[[list[dict[str, Any]]], object] = lambda rows: None
    not_reached: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def note(self, **row: Any) -> None:
        """Add a row, and keep all of them."""
        self.rows.append(row)
        self.keep(self.rows)

    def may(self, what: str) -> bool:
        """Whether there is time for one thing more; notes it as not reached where there is not."""
        if time.monotonic() < self.deadline:
            return True
        self.not_reached.append(what)
        return False


def title(gpu: Gpu) -> str:
    return f"{gpu.name}, compute capability {gpu.compute}"


def add(folder: Path, gpu: Gpu, part: str, entry: dict[str, Any]) -> Path:
    """Put a part's entry into the file of this GPU and day; a later run of the part replaces it."""
    kind = "".join(letter if letter.isalnum() else "-" for letter in gpu.name.removeprefix("NVIDIA ").lower())
    path = folder / f"{kind}-{time.strftime('%Y-%m-%d')}.json"
    folder.mkdir(exist_ok=True)
    with locked(path):
        data = json.loads(path.read_text()) if path.exists() else {"gpu": title(gpu), "parts": {}}
        data["parts"][part] = entry
        with publishing(path) as temporary:
            temporary.write_text(json.dumps(data, indent=1) + "\n")
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    return path


def table(folder: Path) -> str:
    """Every result of every GPU file in the folder as Markdown; says so where there is none."""
    lines = []
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text())
        if "gpu" not in data or "parts" not in data:
            continue
        lines += [
            f"### {data['gpu']} ({path.name})",
            "",
            "| part | what | rate | ratio |",
            "|---|---|---|---|",
        ]
        for part, entry in data["parts"].items():
            for row in entry["rows"]:
                rate = f"{row['rate']:,.4g} {row['unit']}" if "rate" in row else ""
                ratio = f"{row['ratio']:.3g} {row['of']}" if "ratio" in row else ""
                lines.append(f"| {part} | {row['what']} | {rate} | {ratio} |")
            lines += [
                f"| {part} | not reached in time: {what} | | |" for what in entry.get("not_reached", ())
            ]
        lines.append("")
    return "\n".join(lines) or "no GPU results: bench/gpu.py has not been run on a GPU"


def seconds_each(job: Callable[[], object], finish: Callable[[], object], least_s: float = 0.5) -> float:
    """Seconds of one call of an asynchronous job: enough calls to fill `least_s`, after one that warms up."""
    job()
    finish()
    calls = 1
    while True:
        started = time.perf_counter()
        for _ in range(calls):
            job()
        finish()
        taken = time.perf_counter() - started
        if taken >= least_s or calls >= 100_000:
            return taken / calls
        calls = max(calls * 2, int(calls * 1.2 * least_s / max(taken, 1e-6)))
