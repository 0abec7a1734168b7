"""legscore bench"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from legscore.cli.model_options import device_option, engine_options, model_option
from legscore.cli.output_options import force_option, threads_option
from legscore.cli.progress import progress_bar
from legscore.cli.sections import SectionedCommand
from legscore.engine.names import ENGINES

RUN_S = 8.0
"""Seconds that one timed run should take: windows are chosen by the engine's rate."""


@click.command(
    "bench",
    cls=SectionedCommand,
    short_help="Measure this machine: engine, limits, runs, and how long INPUT will take.",
)
@click.argument("source", required=False, type=click.Path(), metavar="[INPUT]")
@model_option("A model, or a folder of models; repeat for more.")
@engine_options(tuple(name for name in ENGINES if name != "null"))
@device_option()
@threads_option
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How often each measurement is taken.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(),
    metavar="FILE",
    help="Write everything as JSON too; - for standard output instead of text.",
)
@force_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    source: str | None,
    models: tuple[str, ...],
    engine: str,
    precision: str,
    device: str | None,
    rounds: int,
    json_path: str | None,
    force: bool,
    quiet: bool,
) -> None:
    """Measure this machine: engine, limits, runs, and how long INPUT will take.

    The CPU engines are timed over batch sizes and precisions, in turn with the machine's own limits (matrix
    products, the native engine's bare products, memory copies); then whole runs from Parquet to Parquet
    against the engine alone, by the engine and precision that run would take. With INPUT its rows are
    windowed and the time to score them is given. About two minutes.

    GFLOP/s count the network's own multiplications. Where it is computed in phases (`legscore doctor` says)
    some 12 % fewer are needed, and a share of the limit can be above 1.

    \b
    Examples:
      legscore bench
      legscore bench variants.parquet -m models/ --json bench.json
    """
    from legscore.engine.choose import Request, preferred_engine
    from legscore.measure.engines import calls, measure_engines
    from legscore.measure.estimate import estimate
    from legscore.measure.whole_run import whole_run
    from legscore.model.ensemble import open_members
    from legscore.system.overwrite import check_files
    from legscore.system.publish import publishing, writing
    from legscore.system.resources import folder
    from legscore.version import __version__

    check_files({"--json": json_path}, [source], models, force=force)
    paths = list(models) or [str(folder("bundled"))]
    members = open_members(paths, True, lambda line: None)
    # what is wrong with it shows before anything is timed
    found = estimate(source, paths) if source else None
    name, reason = preferred_engine(Request(engine=engine, precision=precision))
    result: dict[str, Any] = {"legscore": __version__, "machine": _machine(), "members": len(members)}
    result |= {"engine": name, "engine_reason": reason, "models": [member.name for member in members]}
    with progress_bar("engine and limits", calls(members, rounds=rounds), quiet=quiet) as tick:
        rates, limits = measure_engines(members, rounds=rounds, tick=tick)
    result |= {"limits": limits, "engines": [asdict(rate) for rate in rates]}
    request = Request(engine=engine, precision=precision, device=device)
    with progress_bar("trial run", 2, quiet=quiet) as tick:
        trial = whole_run(paths, 512, rounds=1, request=request, tick=tick)
    windows = max(1024, int(trial.windows / min(trial.engine_s) * RUN_S))
    with progress_bar(f"runs of {windows:,} windows", 2 * rounds, quiet=quiet) as tick:
        run = whole_run(paths, windows, rounds=rounds, request=request, tick=tick)
    derived = {
        "of_engine": run.of_engine,
        "of_engine_opened": run.of_engine_opened,
        "windows_per_s": run.windows_per_s,
    }
    result["whole_run"] = asdict(run) | derived
    if found:
        result["input"] = {"path": source, **asdict(found), "seconds": found.seconds(run.windows_per_s)}
    if json_path == "-":
        click.echo(json.dumps(result))
        return
    for line in table(result):
        click.echo(line)
    if json_path:
        with publishing(Path(json_path)) as temporary, writing(json_path):
            temporary.write_text(json.dumps(result, indent=1) + "\n")


def table(result: dict[str, Any]) -> list[str]:
    """The result as text."""
    from legscore.measure.dry_run import spoken

    limits, run = result["limits"], result["whole_run"]
    products = ", ".join(
        f"{p} {limits[p] / 1e9:,.0f} GFLOP/s" for p in ("bf16", "fp32", "bare") if p in limits
    )
    lines = [
        f"machine: {result['machine']['cpu']}, {result['machine']['cores']} cores",
        f"limits:  matrix products {products}; memory copy {limits['copy_bytes_per_s'] / 1e9:,.1f} GB/s",
        "",
        "engine          batch  members  strands × members/s  GFLOP/s  of the limit  of bare products",
    ]
    for rate in result["engines"]:
        lines.append(
            f"{rate['engine'] + ' ' + rate['precision']:14s} {rate['batch'] or '':6} {rate['members']:8d} "
            f"{rate['strands_per_s']:20,.0f} {rate['flop_per_s'] / 1e9:8,.0f} {rate['of_limit']:13.2f}"
            + (f" {rate['of_bare']:17.2f}" if rate["of_bare"] else "")
        )
    lines += [
        "",
        f"runs take engine {result['engine']} ({result['engine_reason']})",
        f"Parquet to Parquet, {run['windows']:,} windows × {run['members']} members: "
        f"{run['windows_per_s']:,.0f} windows/s, "
        f"{run['of_engine']:.3f} of the engine alone ({run['of_engine_opened']:.3f} with opening it)",
    ]
    if given := result.get("input"):
        exact = "" if given["sampled_rows"] == given["rows"] else f", from {given['sampled_rows']:,} of them"
        lines.append(
            f"{given['path']}: {given['rows']:,} rows, {given['windows']:,} windows{exact}: about "
            f"{spoken(given['seconds'])}"
        )
    return lines


def _machine() -> dict[str, Any]:
    import numpy
    import openvino
    from openvino import properties

    from legscore.engine.openvino_cpu import openvino_core
    from legscore.system.cores import usable_cores

    cpu = openvino_core().get_property("CPU", properties.device.full_name)
    versions = {
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "openvino": openvino.get_version(),
    }
    return {"cpu": cpu, "cores": usable_cores(), **versions}
