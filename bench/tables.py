"""Write the tables of bench/README.md, README.md and docs/performance.md, and the plots, from bench/results/.

python bench/tables.py           writes what stands between the markers <!-- name --> and <!-- /name -->
python bench/tables.py --check   only says whether the tables are those of the results (exit code 1)
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
ENGINES = {
    "torch eager fp32": "torch eager, fp32",
    "torch eager bf16": "torch eager, bf16",
    "torch compiled fp32": "torch compiled, fp32",
    "onnxruntime fp32": "ONNX Runtime, fp32",
    "openvino fp32, plain graph": "OpenVINO on the plain graph, fp32",
    "openvino bf16, plain graph": "OpenVINO on the plain graph, bf16",
    "legscore fp32": "**legscore, fp32**",
    "legscore bf16": "**legscore, bf16**",
    "native bf16": "native, bf16",
    "legscore bf16, original x5": "legscore, bf16, five members",
    "legscore bf16, optimised": "legscore, bf16, the optimised network",
    "legscore bf16, optimised x5": "legscore, bf16, five optimised ones",
}
ENGINES_FP32 = {
    **{name: label for name, label in ENGINES.items() if "bf16" not in name},
    "legscore fp32, original x5": "legscore, fp32, five members",
    "legscore fp32, optimised": "legscore, fp32, the optimised network",
    "legscore fp32, optimised x5": "legscore, fp32, five optimised ones",
}
"""Of a CPU without bf16."""


SHARES = ("of_engine", "of_engine_opened", "of_engine_cpu")


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def speed(name: str = "engine", labels: dict[str, str] = ENGINES) -> str:
    """Engines: rate, ratio to torch eager FP32, shares of both limits: OpenVINO's matrix products, and bare
    ones."""
    result = load(name)
    bare = result.get("bare_is_of")
    title = "| engine | strands × members/s | × torch eager | of the measured GEMM rate |"
    lines = [title + (f" of bare {bare} |" if bare else ""), "|---|---|---|---|" + ("---|" if bare else "")]
    for name, label in labels.items():
        if name == "native bf16" and name not in result["rates"]:
            continue  # the result is older than this engine, or its library was not built
        rate = result["rates"][name]
        share = f"{rate['of_gemm']:.2f} of {'bf16' if 'bf16' in name else 'fp32'}"
        ratio = "" if "optimised" in name else f"{rate['x_eager']:.1f}"  # another network
        line = f"| {label} | {rate['windows_per_s']:,.0f} | {ratio} | {share} |"
        of_bare = f"{rate['of_bare']:.2f}" if rate.get("of_bare") else ""
        lines.append(line + (f" {of_bare} |" if bare else ""))
    return "\n".join(lines)


def speed_fp32() -> str:
    """The same on a CPU without bf16."""
    return speed("engine_fp32", ENGINES_FP32)


def forms() -> str:
    """Forms of the graph, by network, against the rewritten one."""
    result = load("forms")
    lines = [
        "| form | " + " | ".join(f"{network}: strands/s | × rewritten" for network in result["forms"]) + " |"
    ]
    lines.append("|---|" + 2 * len(result["forms"]) * "---|")
    for name in next(iter(result["forms"].values())):
        rates = [found[name] for found in result["forms"].values()]
        lines.append(
            f"| {name} | "
            + " | ".join(f"{r['strands_per_s']:.0f} | {r['x_rewritten']:.2f}" for r in rates)
            + " |"
        )
    border = result["border_gflop_per_s"]
    lines += [
        "",
        f"A convolution of 7 taps does {border['by itself']:.0f} GFLOP/s a core where it adds its border "
        "itself, "
        f"{border['before']:.0f} where its input has it.",
    ]
    return "\n".join(lines)


def end_to_end() -> str:
    """Whole runs against the engine alone; the null engine's rows show the ceiling of everything else."""
    lines = [
        (
            "| engine | rows | windows × members | windows/s | rows/s | of the engine alone | with "
            "opening | of "
            "its core seconds |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in sorted(
        load("end_to_end")["runs"], key=lambda run: (run["engine"], run["kind"], run["members"])
    ):
        shares = ["" if run["engine"] == "null" or name not in run else f"{run[name]:.3f}" for name in SHARES]
        label = "null (zeros)" if run["engine"] == "null" else run["engine"]
        lines.append(
            f"| {label} | {run['kind']} | {run['windows']:,} × {run['members']} | "
            f"{run['windows'] / median(run['run_s']):,.0f} | "
            f"{run['rows_per_s']:,.0f} | {' | '.join(shares)} |"
        )
    return "\n".join(lines)


def ensembles() -> str:
    """Opening 1 to 50 members, the first time and from the cache."""
    lines = [
        (
            "| members | compiled, s | from the cache, s | fidelity the first time, s | memory from the "
            "cache, MB |"
        ),
        "|---|---|---|---|---|",
    ]
    result = load("ensemble")
    for n, runs in result["members"].items():
        first, cached = runs["first"], runs["cached"]
        lines.append(
            f"| {n} | {first['open_s']:.1f} | {cached['open_s']:.1f} | {first['fidelity_s']:.1f} | "
            f"{cached['bytes'] / 1e6:,.0f} |"
        )
    extra = result["extra_member_bytes"]
    lines += [
        "",
        (
            f"An extra member takes {extra['first'] / 1e6:.1f} MB the first time, "
            f"{extra['cached'] / 1e6:.1f} "
            "MB from the cache."
        ),
    ]
    return "\n".join(lines)


def files() -> str:
    """Reading and writing, by format."""
    result = load("read_write")
    lines = ["| | M rows/s | bytes a row |", "|---|---|---|"]
    for label, rate in result["rows_per_s"].items():
        lines.append(f"| {label} | {rate / 1e6:.2f} | {result['bytes_per_row'][label]:.1f} |")
    return "\n".join(lines)


def cost() -> str:
    """The fitted cost of a run, and what cores add."""
    result = load("scaling")
    cores = ", ".join(f"{n} cores {ratio:.2f} ×" for n, ratio in result["cores"].items() if int(n) > 1)
    return (
        f"seconds = {result['start_s']:.2f} + {result['opening_s']:.3f} × members + windows × members / "
        f"{result['windows_x_members_per_s']:,.0f}, off by {100 * result['worst_error']:.1f} % at most over "
        f"{len(result['points'])} runs; against one core: {cores}."
    )


SECTIONS = {
    HERE / "README.md": {
        "engines": speed,
        "engines-fp32": speed_fp32,
        "forms": forms,
        "end-to-end": end_to_end,
        "ensembles": ensembles,
        "files": files,
        "cost": cost,
    },
    HERE.parent / "README.md": {"engines": speed},
    HERE.parent / "docs/performance.md": {"engines": speed},
}


def written(text: str, name: str, body: str) -> str:
    """The text with `body` between the markers of `name`."""
    found, n = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
        lambda m: f"{m[1]}\n{body}\n\n{m[2]}",
        text,
        count=1,
        flags=re.DOTALL,
    )
    if n != 1:
        raise SystemExit(f"the markers of {name!r} are missing")
    return found


def plot() -> None:
    """Bars of the engines' rates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    result = load("engine")
    shown = [name for name in ENGINES if "optimised" not in name and "x5" not in name]
    rates = [result["rates"][name]["windows_per_s"] for name in shown]
    figure, axes = pyplot.subplots(figsize=(7, 3.2), constrained_layout=True)
    colors = ["#0072B2" if "legscore" in name else "#999999" for name in shown]
    axes.barh([ENGINES[name].strip("*") for name in shown], rates, color=colors)
    axes.invert_yaxis()
    for i, rate in enumerate(rates):
        axes.text(rate, i, f" {rate:,.0f}", va="center")
    axes.set_xlim(0, 1.12 * max(rates))
    axes.set_xlabel(
        f"strands/s, one original LegNet, {result['machine']['cores']} cores ({result['machine']['cpu']})"
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "engine.png", dpi=120)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for path, sections in SECTIONS.items():
        text = before = path.read_text()
        for name, make in sections.items():
            try:
                body = make()
            except FileNotFoundError as error:
                body = f"Not measured yet: there is no `results/{Path(error.filename).name}`."
            text = written(text, name, body)
        if check and text != before:
            raise SystemExit(
                f"{path.name} does not hold the tables of the results; run python bench/tables.py"
            )
        if not check:
            path.write_text(text)
    if not check:
        plot()


if __name__ == "__main__":
    main()
