"""Every option of `import` and of `models pull` has an effect on what is stored, also beside every other one:
else it is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Ran, toy_architecture
from test_option_pairs import names_of, refused, walk, words

torch = pytest.importorskip("torch", reason="importing PyTorch files needs legscore[train]")

from test_importers import toy, upstream_state  # noqa: E402

from legscore.cli import import_model, models  # noqa: E402
from legscore.model.checkpoint import load_checkpoint  # noqa: E402

Cli = Callable[..., Ran]
Given = dict[str, tuple[Any, ...]]
WITHOUT_EFFECT = {"files", "output", "force", "verbose"}
"""What is read, where it goes, and what is told."""
OPTIONS: Given = {
    "config": ("other.json",), "final_activation": ("silu",), "concat_order": ("x,fx",),
    "fifth_channel": ("is_singleton",), "alphabet": ("ACGT",), "n_value": (0.0,), "pool_sizes": ("1,2",),
    "rc_trained": (), "entry": ("ema",), "floor": (3.5,), "unit": ("log2 counts",), "organism": ("a yeast",),
    "medium": ("a broth",), "assay": ("an assay",), "note": ("of a test",), "flank5": ("TTTT" + "ACGT" * 40,),
    "flank3": ("GGG",), "adapter5": ("ACGT",), "adapter3": ("GG",), "length": (120,), "insert_min": (75,),
    "insert_max": (79,),
}  # fmt: skip


def both_networks(family: str, **changes: Any) -> dict[str, Any]:
    """A file with the network of the last step, and an averaged one."""
    architecture = toy(family, **changes)
    return {"model": upstream_state(family, architecture, 5), "ema": upstream_state(family, architecture, 6)}


def params(architecture: Any) -> dict[str, Any]:
    """What the optimised network's code leaves beside its weights."""
    names = architecture.residual, architecture.final_activation
    model = {"use_reverse_channel": True, "res_block_type": names[0], "final_activation": names[1]}
    return {"model_cfg": {**model, "resize_factor": 4}, "data_cfg": {"reverse_augment": True}}


HUMAN: dict[str, Any] = {
    "stem_ch": 16, "stem_ks": 7, "ef_ks": 5, "ef_block_sizes": [8, 8], "pool_sizes": [2, 2], "reverse_augment": True,
    "use_reverse_channel": False, "resize_factor": 4,
}  # fmt: skip
F3: Given = {
    "concat_order": ("fx,x",), "alphabet": ("AGCT",), "n_value": (0.25,), "pool_sizes": ("2,2",), "rc_trained": (),
}  # fmt: skip
OTHERWISE: Given = {"final_activation": ("none",), "concat_order": ("fx,x",)}
"""What the published code of F1 and F5 does not do."""
F3_CONFIG: Given = {"config": ("config.json",)}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A file of each family, with two networks in it; and the configs that published code leaves."""
    torch.save(both_networks("F1"), tmp_path / "f1.pt")
    torch.save(both_networks("F1", in_channels=4), tmp_path / "four.pt")
    plain = toy("F2", in_channels=5, residual="none")
    torch.save(both_networks("F2", in_channels=5, residual="none"), tmp_path / "f2.pt")
    torch.save(both_networks("F3"), tmp_path / "f3.pt")
    (tmp_path / "params.json").write_text(json.dumps(params(plain)))
    (tmp_path / "config.json").write_text(json.dumps(HUMAN))
    generator = toy_architecture(
        in_channels=6, head="bases", outputs=4, final_activation="none", widths=(16, 16, 8), inner_widths=(64, 32)
    )  # fmt: skip
    state = upstream_state("F1", generator, 7)
    torch.save({"model": state, "ema": upstream_state("F1", generator, 8)}, tmp_path / "f5.pt")
    (tmp_path / "set").mkdir()
    for name in ("one", "two"):
        torch.save(both_networks("F1", in_channels=4), tmp_path / "set" / f"{name}.pt")
    return tmp_path


def stored(path: Path) -> tuple[str, str]:
    """What runs make use of, and where its answers came from."""
    checkpoint = load_checkpoint(path)
    manifest = checkpoint.manifest()
    arrays = sorted((name, array.tobytes()) for name, array in checkpoint.arrays.items())
    origin = manifest.pop("source")
    return json.dumps(manifest, sort_keys=True) + repr(hash(tuple(arrays))), json.dumps(origin)


def test_every_option_is_walked() -> None:
    assert set(names_of(import_model.command)) - set(OPTIONS) == WITHOUT_EFFECT
    pulled = set(names_of(models.command.commands["pull"])) - set(OPTIONS)
    assert pulled == {"wanted", "keep_as", "source", "sha256", "force", "quiet"}


ANSWERS = (
    "config", "final_activation", "concat_order", "fifth_channel", "alphabet", "n_value", "pool_sizes", "rc_trained", "entry",
)  # fmt: skip
CONSTRUCT = ("flank5", "flank3", "adapter5", "adapter3", "length", "insert_min", "insert_max")
MEASURED = ("unit", "organism", "medium", "assay", "floor", "length", "config")
RECORDED = ("config", "rc_trained")
"""They may only confirm what other options or the tensors say: where an answer came from is kept."""


def touch(a: str, b: str) -> bool:
    return any(a in group and b in group for group in (ANSWERS, CONSTRUCT, MEASURED))


@pytest.mark.parametrize(
    ("name", "base", "changed", "least"),
    [
        ("f1.pt", {}, OTHERWISE, 25),
        ("f2.pt", {"fifth_channel": ("is_reverse",), "final_activation": ("none",)}, {"config": ("params.json",)}, 30),
        ("f3.pt", F3, {"config": ("config.json",), "length": (229,), "insert_min": (199,), "insert_max": (198,)}, 25),
        ("f3.pt", F3_CONFIG, {"length": (229,), "n_value": (0.25,)}, 20),
        ("f5.pt", {}, {"length": (70,), "n_value": (0.25,), "concat_order": ("fx,x",)}, 25),
        ("set", {"rc_trained": ()}, OTHERWISE, 20),
    ],
)  # fmt: skip
def test_options_of_import_in_pairs(
    files: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, base: Given, changed: Given, least: int
) -> None:  # fmt: skip
    monkeypatch.chdir(files)
    count = itertools.count()

    def one(given: Given) -> Any:
        out = f"o{next(count)}{'' if name == 'set' else '.safetensors'}"
        ran = cli("import", name, "-o", out, *words(import_model.command, {**base, **given}))
        return (
            None
            if refused(ran)
            else stored(files / out / "two.safetensors" if name == "set" else files / out)
        )

    walked = {key: value for key, value in (OPTIONS | changed).items() if (key, value) not in base.items()}
    idle, accepted = walk(walked, one, touch, RECORDED)
    assert idle == [], "\n".join(idle)
    assert accepted > least
