"""Each option of the smaller commands has an effect, alone: else it is refused. Every command is walked here or
in another test_option_pairs file."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
from conftest import REPOSITORY, Ran, one_line, toy_checkpoint
from test_option_pairs import names_of, refused, walk, words
from test_report import scores

from legscore.cli import COMMANDS, attribute, bench, cache, models, motifs, plot, report, show
from legscore.measure.whole_run import WholeRun
from legscore.system.caches import KINDS, private

__all__ = ["scores"]
YEAST = REPOSITORY / "examples" / "yeast.meme"
Cli = Callable[..., Ran]
Given = dict[str, tuple[Any, ...]]
ELSEWHERE = {"run", "variants", "evaluate", "import", "design", "train", "ablate", "distill", "lookup"}
"""Walked in files of their own."""
WITHOUT_EFFECT = {"output", "force", "quiet", "threads"}
"""Where results go, and what is told."""
COMPILE = {"folders", "models", "engine", "recipe", "device"}
BENCH: Given = {
    "models": ("other.safetensors",), "engine": ("native",), "precision": ("fp32",), "device": ("1",), "rounds": (2,),
    "json_path": ("-",), "source": (),
}  # fmt: skip


def alone(options: Given, one: Callable[[Given], Any], least: int) -> None:
    accepted: list[str] = []

    def counted(given: Given) -> Any:
        found = one(given)
        accepted.extend(name for name in given if found is not None)
        return found

    idle, _ = walk(options, counted, lambda a, b: False, ())
    assert idle == [], "\n".join(idle)
    assert len(accepted) >= least, accepted


def leaves(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(name, command)]
    return [leaf for inner, below in command.commands.items() for leaf in leaves(f"{name} {inner}", below)]


def test_every_option_is_walked() -> None:
    known = {
        "report": {"scores", "truth", "tile"}, "plot ism": {"scores", "promoter", "tile"},
        "attribute": {"scores", "tile", "effect", "tracks", "bed", "width", "fdr", "meme", "most_p"}, "plot logo": {"contributions", "promoters"},
        "motifs": {"inputs", "meme", "most_p", "kind", "columns", "keep", "format_"},
        "plot scatter": {"predictions", "truth", "columns", "keys", "where"}, "plot ensemble-curve": {"evaluation"},
        "plot violins": {
            "predictions", "truth", "columns", "metrics", "by", "cluster", "bootstrap", "seed", "keys", "where",
        },
        "plot training": {"runs"}, "models list": {"as_json"}, "models pull": None, "compile": COMPILE, "merge": {"shards"}, "atlas merge": {"shards"}, "atlas background": {"atlas"},
        "bench": set(BENCH), "cache": {"action", "kinds", "as_json"}, "show": {"paths", "models", "as_json"},
        "export": {"file"}, "doctor": {"as_json"}, "completion": {"shell"},
    }  # fmt: skip
    found = {}
    for name in set(COMMANDS) - ELSEWHERE:
        for path, command in leaves(name, importlib.import_module(COMMANDS[name][0]).command):
            found[path] = set(names_of(command)) - WITHOUT_EFFECT
    pulled = found.pop("models pull")
    found.pop("atlas build")  # tests/test_option_atlas.py
    assert found == {name: names for name, names in known.items() if names is not None}
    assert {"keep_as", "source", "sha256"} < pulled


def test_report(scores: Path, cli: Cli, tmp_path: Path) -> None:
    count = itertools.count()

    def one(given: Given) -> Any:
        out = tmp_path / f"o{next(count)}.html"
        ran = cli("report", scores, "-o", out, *words(report.command, given))
        return None if refused(ran) else (out.read_text(), "")

    alone({"truth": ("measured",), "tile": ("chrom",)}, one, 1)


def test_attribute(scores: Path, cli: Cli, tmp_path: Path) -> None:
    count = itertools.count()

    def one(given: Given) -> Any:
        out = tmp_path / f"o{next(count)}"
        out.mkdir()
        written = {
            name: (out / value,)
            for name, value in (("tracks", "c.bedgraph"), ("bed", "r.bed"))
            if name in given
        }
        given = (
            {"bed": (out / "r.bed",), **given} if given.keys() & {"width", "fdr", "meme", "most_p"} else given
        )
        given = {"meme": (YEAST,), **given} if "most_p" in given else given
        ran = cli("attribute", scores, "-o", out / "c.npz", *words(attribute.command, given | written))
        return (
            None if refused(ran) else (sorted((path.name, path.read_bytes()) for path in out.iterdir()), "")
        )

    asked: Given = {
        "tile": ("chrom",),
        "effect": ("measured",),
        "tracks": (),
        "bed": (),
        "width": (4,),
        "fdr": (0.5,),
        "meme": (YEAST,),
        "most_p": (0.5,),
    }
    alone(asked, one, 5)


def test_motifs(cli: Cli, tmp_path: Path) -> None:
    table, count = tmp_path / "t.csv", itertools.count()
    table.write_text("id,ref_sequence,alt_sequence,other\na,GGTTACCCGAA,GGTTACGCGAA,GGTTAGGCGAA\n")
    (tmp_path / "m.meme").write_text(YEAST.read_text().replace("REB1", "other"))

    def one(given: Given) -> Any:
        out = "-" if "format_" in given else tmp_path / f"o{next(count)}.csv"
        read = {"meme": (YEAST,), **given}
        ran = cli("motifs", table, "-o", out, *words(motifs.command, read))
        return None if refused(ran) else (ran.out if out == "-" else Path(out).read_text(), "")

    asked: Given = {
        "meme": (tmp_path / "m.meme",), "most_p": (0.1,), "kind": ("edit",), "columns": ("alt_sequence=other",),
        "keep": ("none",), "format_": ("tsv",),
    }  # fmt: skip
    alone(asked, one, 5)


def test_plots(scores: Path, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need legscore[report]")
    count = itertools.count()
    group: Any = plot.command

    def drawn(name: str, *given: object) -> Any:
        out = tmp_path / f"o{next(count)}.png"
        ran = cli("plot", name, *given, "-o", out)
        return None if refused(ran) else (out.read_bytes(), "")

    def ism(given: Given) -> Any:
        return drawn("ism", scores, *words(group.commands["ism"], {"promoter": ("GAL1",), **given}))

    alone({"promoter": ("HO",), "tile": ("chrom",)}, ism, 0)
    attributed = tmp_path / "c.npz"
    assert cli("attribute", scores, "-o", attributed).code == 0

    def logo(given: Given) -> Any:
        return drawn("logo", attributed, *words(group.commands["logo"], given))

    alone({"promoters": ("GAL1",)}, logo, 1)
    base: Given = {"truth": ("measured",), "columns": ("effect",)}

    def scatter(given: Given) -> Any:
        return drawn("scatter", scores, *words(group.commands["scatter"], base | given))

    asked = {
        "truth": ("ref_score",),
        "columns": ("alt_score",),
        "keys": ("variant_id",),
        "where": ("chrom=X",),
    }
    alone(asked, scatter, 2)
    base = {"truth": ("measured",), "columns": ("effect", "alt_score"), "bootstrap": (100,)}

    def violins(given: Given) -> Any:
        return drawn("violins", scores, *words(group.commands["violins"], base | given))

    asked = {
        "truth": ("ref_score",), "columns": ("effect", "ref_score"), "metrics": ("pearson",), "by": ("chrom",), "cluster": ("pos",),
        "bootstrap": (101,), "seed": (7,), "keys": ("variant_id",), "where": ("chrom=X",),
    }  # fmt: skip
    alone(asked, violins, 6)


def test_models_are_pulled_as_asked(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="importing PyTorch files needs legscore[train]")
    from test_importers import toy, upstream_state
    from test_option_pairs_import import OPTIONS, OTHERWISE, stored

    from legscore.system.checksum import sha256_of

    state = {
        "model": upstream_state("F1", toy("F1", in_channels=4), 5),
        "ema": upstream_state("F1", toy("F1"), 6),
    }
    for name in ("f.pt", "again/f.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        torch.save(state, tmp_path / name)
    command = models.command.commands["pull"]  # type: ignore[attr-defined]
    count = itertools.count()
    monkeypatch.chdir(tmp_path)

    def one(given: Given) -> Any:
        library = tmp_path / f"library{next(count)}"
        monkeypatch.setenv("LEGSCORE_MODELS", str(library))
        given = {"source": ("f.pt",), "rc_trained": (), **given}
        ran = cli("models", "pull", "legnet-complex", *words(command, given))
        if refused(ran):
            return None
        (path,) = library.glob("*/*.safetensors")
        record = json.loads((path.parent / "pulled.json").read_text())
        return (stored(path), path.name, record["from"], "as expected" in ran.out), ""

    options: Given = {
        key: value for key, value in (OPTIONS | OTHERWISE).items() if key not in ("note", "rc_trained")
    }
    options |= {"keep_as": ("mine",), "source": ("again/f.pt",), "sha256": (sha256_of(tmp_path / "f.pt"),)}
    alone(options, one, 15)


def test_what_was_pulled_with_other_answers_is_not_what_is_asked_for(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="importing PyTorch files needs legscore[train]")
    from test_importers import toy, upstream_state

    from legscore.model.checkpoint import load_checkpoint

    torch.save(upstream_state("F1", toy("F1"), 5), tmp_path / "f.pt")
    monkeypatch.setenv("LEGSCORE_MODELS", str(tmp_path / "library"))
    pull = ("models", "pull", "legnet-complex", "--from", tmp_path / "f.pt")
    assert cli(*pull, "--floor", "3").code == 0
    assert "is there already" in cli(*pull, "--floor", "3").out
    assert "is there already" in cli(*pull).out
    for other in (
        ("--floor", "3.5"),
        ("--organism", "another yeast"),
        ("--floor", "3", "--concat-order", "fx,x"),
    ):
        one_line(cli(*pull, *other), "was imported with other answers", "--force")
    assert cli(*pull, "--organism", "another yeast", "--force").code == 0
    contract = load_checkpoint(tmp_path / "library/legnet-complex/legnet-complex.safetensors").contract
    assert (contract.organism, contract.medium) == ("another yeast", "complex medium (YPD)")


def test_bench(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured, by what and how often; the measuring itself is test_measure's."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("m.safetensors", "other.safetensors")):
        toy_checkpoint(seed).save(tmp_path / name)
    asked: list[Any] = []

    def engines(members: Any, rounds: int, tick: Any) -> Any:
        asked.append([[member.name for member in members], rounds])
        return [], {"copy_bytes_per_s": 1.0}

    def runs(paths: Any, windows: int, rounds: int, request: Any, tick: Any) -> WholeRun:
        asked.append([paths, windows, rounds, repr(request)])
        return WholeRun(windows, windows, 1, *([1.0] for _ in range(5)))

    monkeypatch.setattr("legscore.measure.engines.measure_engines", engines)
    monkeypatch.setattr("legscore.measure.whole_run.whole_run", runs)

    def one(given: Given) -> Any:
        asked.clear()
        ran = cli("bench", "-q", *words(bench.command, {"models": ("m.safetensors",), **given}))
        return None if refused(ran) else (repr(asked) + ran.out, "")

    alone({key: value for key, value in BENCH.items() if key != "source"}, one, 5)


def test_compile(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which plans are built of what, and for which GPUs."""
    from legscore.cli import compile_plans
    from legscore.cuda.libcuda import Gpu
    from legscore.engine import choose

    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("m.safetensors", "other.safetensors")):
        toy_checkpoint(seed).save(tmp_path / name)
    asked: list[Any] = []

    class Plans:
        batch = 1

    def build(members: Any, recipe: Any, gpu: Any, say: Any) -> Any:
        asked.append(([member.name for member in members], recipe.name, gpu))
        return Plans

    monkeypatch.setattr(choose, "missing_for_tensorrt", list)
    monkeypatch.setattr(choose, "nvidia_driver", lambda: True)
    cards = [Gpu(number, f"card {number}", "9.0", 132, 80 << 30) for number in range(2)]
    monkeypatch.setattr("legscore.cuda.libcuda.find_gpus", lambda: (cards, ""))
    monkeypatch.setitem(sys.modules, "legscore.engine.tensorrt_plans", SimpleNamespace(compile_plans=build))

    def one(given: Given) -> Any:
        asked.clear()
        ran = cli("compile", "m.safetensors", *words(compile_plans.command, given))
        return None if refused(ran) else (repr(asked), "")

    alone({"models": ("other.safetensors",), "recipe": ("fp32",), "device": ("1",)}, one, 3)


def test_cache_show_and_lists(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LEGSCORE_MODELS", str(tmp_path / "library"))
    for seed, name in enumerate(("m.safetensors", "other.safetensors")):
        toy_checkpoint(seed).save(tmp_path / name)

    def said(*words_: object) -> Any:
        ran = cli(*words_)
        return None if refused(ran) else (ran.out, "")

    from legscore.system.resources import cache_folder

    for kind in KINDS:
        folder = cache_folder(kind)
        private(folder)
        (folder / "kept").write_bytes(b"")
    alone({"as_json": ()}, lambda given: said("cache", "list", *words(cache.command, given)), 1)
    model = {"models": (tmp_path / "other.safetensors",), "as_json": ()}
    alone(model, lambda given: said("show", tmp_path / "m.safetensors", *words(show.command, given)), 2)
    listed = models.command.commands["list"]  # type: ignore[attr-defined]
    alone({"as_json": ()}, lambda given: said("models", "list", *words(listed, given)), 1)
    from legscore.cli import doctor

    alone({"as_json": ()}, lambda given: said("doctor", *words(doctor.command, given)), 1)
    shells = {said("completion", shell) for shell in ("zsh", "fish")}
    assert len(shells) == 2


def test_cache_clears_the_kinds_that_are_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    from legscore.system.caches import entries
    from legscore.system.resources import cache_folder

    np.save(private(cache_folder("networks")) / "a.npy", np.zeros(3))
    before = len(entries(KINDS))
    assert cli("cache", "clear", "plans").code == 0
    assert len(entries(KINDS)) == before
    assert cli("cache", "clear", "networks").code == 0
    assert not entries(("networks",))
