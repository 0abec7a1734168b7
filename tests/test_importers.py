"""Importing published checkpoints: what is inferred, what is demanded, what is refused, and why."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, human_contract, random_dna, toy_architecture, toy_arrays, toy_checkpoint

torch = pytest.importorskip("torch", reason="importing PyTorch files needs legscore[train]")

from legscore.errors import ModelError  # noqa: E402
from legscore.model.architecture import Architecture  # noqa: E402
from legscore.model.checkpoint import load_checkpoint  # noqa: E402
from legscore.model.families import PREFIX, upstream_name  # noqa: E402
from legscore.model.importers import import_checkpoint  # noqa: E402

F2: dict[str, Any] = {"final_activation": "none", "concat_order": "fx,x"}
F3: dict[str, Any] = {**F2, "alphabet": "AGCT", "n_value": 0.25, "pools": (2, 2), "rc_trained": True}


def upstream_state(family: str, architecture: Architecture, seed: int = 0) -> dict[str, Any]:
    """A state dict as the published code of a family would store it."""
    wrapped = family == "F1" or architecture.residual != "none"
    state = {}
    for name, array in toy_arrays(architecture, seed).items():
        key = PREFIX[family] + upstream_name(
            family, name, wrapped=wrapped, bilinear=architecture.se == "bilinear"
        )
        state[key] = torch.from_numpy(array)
        if name.endswith("running_var"):
            state[key.replace("running_var", "num_batches_tracked")] = torch.tensor(7)
    if architecture.head == "bins":
        state[PREFIX[family] + "bins"] = torch.arange(architecture.outputs)
    return state


def toy(family: str, **changes: Any) -> Architecture:
    defaults: dict[str, dict[str, Any]] = {
        "F1": {},
        "F2": {"se": "plain", "filters_per_group": 1, "concat_order": "fx,x", "final_activation": "none"},
        "F3": {
            "se": "plain", "filters_per_group": 1, "concat_order": "fx,x", "final_activation": "none",
            "in_channels": 4, "pools": (2, 2), "head": "scalar", "outputs": 1,
        },
    }  # fmt: skip
    return toy_architecture(**{**defaults[family], **changes})


def save(path: Path, state: dict[str, Any], family: str) -> Path:
    torch.save(
        state if family == "F1" else {"state_dict": state, "epoch": 1, "pytorch-lightning_version": "2.0.0"},
        path,
    )
    return path


@pytest.mark.parametrize(
    ("family", "changes", "options"),
    [
        ("F1", {}, {}),
        ("F1", {"in_channels": 5}, {"fifth_channel": "is_reverse"}),
        ("F1", {"in_channels": 4}, {"rc_trained": False}),
        ("F2", {}, F2),
        ("F2", {"final_activation": "silu"}, {**F2, "final_activation": "silu"}),
        ("F2", {"concat_order": "x,fx"}, {**F2, "concat_order": "x,fx"}),
        ("F2", {"se": "bilinear"}, F2),
        ("F2", {"se": "none"}, F2),
        ("F2", {"residual": "add"}, {"final_activation": "none"}),
        ("F2", {"residual": "none"}, {"final_activation": "none"}),
        ("F2", {"filters_per_group": 2}, F2),
        ("F2", {"in_channels": 5}, {**F2, "fifth_channel": "is_singleton", "rc_trained": False}),
        ("F2", {"in_channels": 4}, {**F2, "rc_trained": True}),
        ("F2", {"inner_widths": (64, 32), "widths": (16, 16, 8)}, F2),
        ("F2", {"outputs": 12}, F2),
        ("F3", {}, F3),
        ("F3", {"stem_kernel": 11, "kernel": 9}, F3),
        ("F3", {}, {**F3, "alphabet": "ACGT", "n_value": 0.0}),
    ],
)
def test_every_switch_is_inferred_or_taken_from_the_answer(
    tmp_path: Path, family: str, changes: dict[str, Any], options: dict[str, Any]
) -> None:
    architecture = toy(family, **changes)
    path = save(tmp_path / "x.ckpt", upstream_state(family, architecture, 5), family)
    checkpoint = import_checkpoint(path, **options)
    assert checkpoint.architecture == architecture
    assert checkpoint.family == family
    expected = toy_arrays(architecture, 5)
    assert all((checkpoint.arrays[name] == array).all() for name, array in expected.items())
    assert checkpoint.contract.alphabet == options.get("alphabet", "AGCT")
    assert checkpoint.contract.n_value == options.get("n_value", 0.25)
    checkpoint.save(tmp_path / "x.safetensors")
    assert load_checkpoint(tmp_path / "x.safetensors").manifest() == checkpoint.manifest()


SCRIPTED: dict[str, Any] = {"epoch": 3, "optimizer": {"lr": 0.1}}


@pytest.mark.parametrize(
    ("family", "wrap", "options", "told"),
    [
        ("F1", lambda s: {f"module.{k}": v for k, v in s.items()}, {}, "keys without module."),
        ("F1", lambda s: {"model": s, **SCRIPTED}, {}, "entry model"),
        ("F1", lambda s: {"model_state_dict": {f"_orig_mod.{k}": v for k, v in s.items()}}, {}, "without _orig_mod."),
        ("F1", lambda s: {"state_dict": {"model": s}}, {}, "entry state_dict.model"),
        ("F1", lambda s: {"n_averaged": torch.tensor(9), **{f"module.{k}": v for k, v in s.items()}}, {}, "module."),
        ("F1", lambda s: {"ema": s, **SCRIPTED}, {}, "entry ema"),
        ("F1", lambda s: {"ema": {"module": s, "decay": 0.99}}, {}, "entry ema.module"),
        ("F1", lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}}, {"alphabet": "AGCT", "n_value": 0.25}, "entry state_dict"),
        ("F2", lambda s: {k.replace("model.", "model._orig_mod."): v for k, v in s.items()}, F2, "without _orig_mod."),
        ("F2", lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}, F2, "entry state_dict, keys without module."),
        ("F2", lambda s: {"net": {k.removeprefix("model."): v for k, v in s.items()}}, {**F2, "alphabet": "AGCT", "n_value": 0.25}, "entry net"),
        ("F3", lambda s: {"model_ema": {f"module.{k}": v for k, v in s.items()}}, F3, "entry model_ema"),
    ],
)  # fmt: skip
def test_wrappers_of_training_scripts_are_taken_off_and_told(
    tmp_path: Path, family: str, wrap: Any, options: dict[str, Any], told: str
) -> None:
    architecture = toy(family)
    torch.save(wrap(upstream_state(family, architecture, 5)), tmp_path / "x.pt")
    checkpoint = import_checkpoint(tmp_path / "x.pt", **options)
    expected = toy_arrays(architecture, 5)
    assert all((checkpoint.arrays[name] == array).all() for name, array in expected.items())
    assert told in checkpoint.source["choices"]["weights"]


def test_of_several_networks_one_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    plain, averaged = (upstream_state("F1", toy("F1"), seed) for seed in (5, 6))
    path = tmp_path / "x.pt"
    torch.save({"ema": averaged, "model": plain, **SCRIPTED}, path)
    for entry, seed in ((None, 5), ("ema", 6), ("model", 5)):
        checkpoint = import_checkpoint(path, entry=entry)
        assert (
            checkpoint.arrays["stem.conv.weight"] == toy_arrays(toy("F1"), seed)["stem.conv.weight"]
        ).all()
    assert "entry model, not ema" in import_checkpoint(path).source["choices"]["weights"]
    with pytest.raises(ModelError, match=r"--entry swa: it holds no such entry; its entries are ema, model"):
        import_checkpoint(path, entry="swa")
    torch.save({**plain, **{f"module.{key}": value for key, value in averaged.items()}}, path)
    with pytest.raises(ModelError, match="is there twice, with and without module"):
        import_checkpoint(path)


def test_a_form_that_is_not_the_published_one_answers_for_nothing_about_bases(tmp_path: Path) -> None:
    torch.save({f"model.{k}": v for k, v in upstream_state("F1", toy("F1")).items()}, tmp_path / "x.pt")
    with pytest.raises(ModelError, match="also needed: --alphabet AGCT; --n-value 0.25|0"):
        import_checkpoint(tmp_path / "x.pt")


def test_old_files_without_batch_counters(tmp_path: Path) -> None:
    state = {
        k: v for k, v in upstream_state("F1", toy("F1")).items() if not k.endswith("num_batches_tracked")
    }
    assert import_checkpoint(save(tmp_path / "x.pth", state, "F1")).family == "F1"


@pytest.mark.parametrize(
    ("family", "changes", "options", "needed"),
    [
        ("F2", {}, {}, ["--final-activation", "--concat-order", "--config FILE (params.json"]),
        ("F2", {"residual": "add"}, {}, ["--final-activation"]),
        ("F2", {"in_channels": 5}, F2, ["--fifth-channel"]),
        ("F2", {"in_channels": 4}, F2, ["--rc-trained or --no-rc-trained"]),
        ("F1", {"in_channels": 5}, {}, ["--fifth-channel"]),
        ("F3", {}, {}, ["--alphabet", "--n-value", "--pool-sizes", "--concat-order", "--rc-trained"]),
    ],
)
def test_what_tensors_do_not_show_is_demanded(
    tmp_path: Path, family: str, changes: dict[str, Any], options: dict[str, Any], needed: list[str]
) -> None:
    path = save(tmp_path / "x.ckpt", upstream_state(family, toy(family, **changes)), family)
    with pytest.raises(ModelError, match="also needed") as caught:
        import_checkpoint(path, **options)
    for option in needed:
        assert option in str(caught.value)
    assert ("--concat-order" in str(caught.value)) == ("--concat-order" in needed)


def rename(state: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {key.replace(old, new): value for key, value in state.items()}


def look_alikes() -> list[tuple[str, Any, str]]:
    f1, f2, f3 = (upstream_state(f, toy(f)) for f in ("F1", "F2", "F3"))
    bare3 = {key.removeprefix("model."): value for key, value in f3.items()}
    no_bins = {key: value for key, value in f1.items() if key != "bins"}
    prix_fixe = rename(rename(f1, "seqextractor.blc0", "first.block"), "seqextractor", "core.seqextractor")
    parade = {f"model.{k}": v for k, v in no_bins.items()} | {"model.linear.weight": torch.zeros(1, 8)}
    no_trl = {k: v for k, v in f1.items() if ".trl." not in k}
    half = {k.removeprefix("model.") if "mapper" in k else k: v for k, v in f2.items()}
    return [
        ("F1 without bins", no_bins, "a head of bases has four outputs"),
        ("prix fixe", prix_fixe, "Prix Fixe.*F4.*core.seqextractor"),
        ("mpralegnet_predict", {"config": {}, "state_dict": bare3, "extra": {}}, "F6.*ACGT"),
        ("no prefix", {"state_dict": bare3}, 'without its "model." prefix'),
        (
            "mex",
            {"state_dict": f3 | {"model.pwmlike_layer.weight": f3["model.stem.block.0.weight"]}},
            "mex_legnet, F7.*pwmlike",
        ),
        ("parade", {"state_dict": parade}, "PARADE, F8.*linear.weight"),
        ("F1 without trl", no_trl, "no bilinear SE gate"),
        ("half a prefix", {"state_dict": half}, 'only some keys have the prefix "model."'),
        (
            "other network",
            {"state_dict": {"model.conv.weight": torch.zeros(3)}},
            "no LegNet checkpoint known here.*model.conv.weight",
        ),
        (
            "missing",
            {k: v for k, v in f1.items() if k != "seqextractor.resize_blc1.1.bias"},
            "keys are missing: seqextractor.resize_blc1.1.bias",
        ),
        (
            "missing block",
            {k: v for k, v in f1.items() if "inv_res_blc0.0" not in k},
            "key seqextractor.inv_res_blc0.0.weight is missing",
        ),
        ("extra", f1 | {"aux.weight": torch.zeros(2)}, "unknown keys: aux.weight"),
        ("other bins", f1 | {"bins": torch.arange(1, 19)}, '"bins" are not 0..17'),
        ("NaN", f1 | {"mapper.0.bias": torch.full((18,), float("nan"))}, "head.conv.bias holds NaN"),
        ("shape", f1 | {"seqextractor.resize_blc0.0.weight": torch.zeros(8, 31, 5)}, "array .* has shape"),
        (
            "quantised",
            f1 | {"mapper.0.bias": torch.zeros(18, dtype=torch.int8)},
            "array mapper.0.bias is int8",
        ),
        (
            "complex",
            f1 | {"mapper.0.bias": torch.zeros(18, dtype=torch.complex64)},
            "array mapper.0.bias is complex64",
        ),
        ("empty", {}, "holds no state dict"),
        ("a list", [1, 2], "holds a list"),
        ("numbers", {"a": 1}, "is no tensor"),
    ]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [(6, 99, "zip file version 9.9"), (8, 1, "encrypted"), (10, 97, "is packed"), (42, 255, "[Bb]ad")],
)
def test_archives_that_zipfile_cannot_read(tmp_path: Path, place: int, value: int, message: str) -> None:
    """torch unpacks with code of its own, so what was not looked through must not reach it."""
    path = save(tmp_path / "m.pth", upstream_state("F1", toy("F1")), "F1")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + place] = value  # of the first entry, in the directory
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        import_checkpoint(path)


@pytest.mark.parametrize("case", look_alikes(), ids=lambda case: case[0])
def test_look_alikes_and_damage_are_refused(tmp_path: Path, case: tuple[str, Any, str]) -> None:
    name, stored, message = case
    torch.save(stored, tmp_path / "x.pth")
    # with that shape the network no longer looks like one that concatenates
    left_out = {"pools", "concat_order"} if name == "shape" else {"pools"}
    with pytest.raises(ModelError, match=message) as caught:
        import_checkpoint(tmp_path / "x.pth", **{k: v for k, v in F3.items() if k not in left_out})
    assert str(caught.value).startswith(str(tmp_path / "x.pth"))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("evil-was-here"),))


def test_pickles_that_run_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "evil.ckpt")
    Path("evil.pkl").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.ckpt", "evil.pkl"):
        with pytest.raises(ModelError, match="not a PyTorch file of plain tensors"):
            import_checkpoint(name)
    assert not Path("evil-was-here").exists()


def test_config_files_answer_and_are_checked(tmp_path: Path) -> None:
    params = {
        "model_cfg": {
            "use_single_channel": True, "use_reverse_channel": True, "block_sizes": [16, 8, 8], "ks": 5, "filter_per_group": 1,
            "final_activation": "none", "res_block_type": "concat", "se_type": "simple",
        },
        "data_cfg": {"reverse_augment": True},
    }  # fmt: skip
    path = save(tmp_path / "x.ckpt", upstream_state("F2", toy("F2")), "F2")
    config = tmp_path / "params.json"
    config.write_text(json.dumps(params))
    checkpoint = import_checkpoint(path, config=config)
    assert checkpoint.architecture == toy("F2")
    assert checkpoint.source["choices"]["final_activation"] == "none (config file)"
    with pytest.raises(ModelError, match="option says final_activation 'silu', the config file 'none'"):
        import_checkpoint(path, config=config, final_activation="silu")
    params["model_cfg"]["ks"] = 7
    config.write_text(json.dumps(params))
    with pytest.raises(ModelError, match="config file says kernel 7, the tensors 5"):
        import_checkpoint(path, config=config)
    config.write_text("{}")
    with pytest.raises(ModelError, match="not one that the published code of family F2 writes"):
        import_checkpoint(path, config=config)

    human = {
        "stem_ch": 16,
        "stem_ks": 7,
        "ef_ks": 5,
        "ef_block_sizes": [8, 8],
        "pool_sizes": [2, 2],
        "reverse_augment": True,
        "use_reverse_channel": False,
    }
    config.write_text(json.dumps(human))
    path = save(tmp_path / "h.ckpt", upstream_state("F3", toy("F3")), "F3")
    checkpoint = import_checkpoint(path, config=config, alphabet="AGCT", n_value=0.0)
    assert checkpoint.contract == human_contract(
        n_value=0.0, output=checkpoint.contract.output, organism="Homo sapiens", assay="lentiMPRA"
    )
    assert checkpoint.architecture.pools == (2, 2)


@pytest.mark.parametrize(
    ("family", "config", "message"),
    [
        ("F2", {"model_cfg": {"se_type": "strange"}}, "something unexpected"),
        ("F2", {"model_cfg": {"se_type": []}}, "something unexpected"),
        ("F2", {"model_cfg": {}, "data_cfg": None}, "something unexpected"),
        ("F3", {"ef_block_sizes": 3, "stem_ch": 1}, "something unexpected"),
        ("F3", {"ef_block_sizes": [8, 8], "pool_sizes": 2}, "something unexpected"),
        ("F3", {"ef_block_sizes": [8, 8], "pool_sizes": [2.0, 2.0]}, "2.0 is no whole number"),
        ("F3", {"ef_block_sizes": [8, 8], "stem_ch": 16}, "also needed.*--pool-sizes"),
        (
            "F2",
            {
                "model_cfg": {"use_reverse_channel": True, "use_single_channel": True},
                "data_cfg": {"reverse_augment": False},
            },
            "contradicts the is_reverse channel",
        ),
    ],
)
def test_odd_config_files(tmp_path: Path, family: str, config: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "x.ckpt", upstream_state(family, toy(family)), family)
    (tmp_path / "c.json").write_text(json.dumps(config))
    options = {k: v for k, v in (F3 if family == "F3" else F2).items() if k != "pools"}
    with pytest.raises(ModelError, match=message):
        import_checkpoint(path, config=tmp_path / "c.json", **options)


def test_parameters_instead_of_tensors(tmp_path: Path) -> None:
    state = upstream_state("F1", toy("F1"))
    state["mapper.0.weight"] = torch.nn.Parameter(state["mapper.0.weight"])
    assert import_checkpoint(save(tmp_path / "x.pth", state, "F1")).family == "F1"
    with pytest.raises(ModelError, match="--pool-sizes goes with F3"):
        import_checkpoint(tmp_path / "x.pth", pools=(2, 2))


def test_command_line(tmp_path: Path, cli: Any) -> None:
    path = save(tmp_path / "x.ckpt", upstream_state("F3", toy("F3")), "F3")
    out = tmp_path / "x.safetensors"
    options = [
        "--alphabet",
        "AGCT",
        "--n-value",
        "0",
        "--pool-sizes",
        "2,2",
        "--concat-order",
        "fx,x",
        "--rc-trained",
    ]
    ran: Ran = cli("import", path, "-o", out, *options, "--note", "trained on toys", "--medium", "HepG2")
    assert ran.code == 0, ran.err
    assert "contract: Homo sapiens, HepG2, lentiMPRA; " in ran.out
    assert "medium: HepG2 (option)" in ran.out
    assert "family F3" in ran.out
    assert "alphabet: AGCT (option)" in ran.out
    assert load_checkpoint(out).training == {"note": "trained on toys"}
    shown = cli("show", out)
    assert "trained on toys" in shown.out
    assert json.loads(cli("show", out, "--json").out)["family"] == "F3"
    for args, message in [
        ((path, "-o", tmp_path / "y.pth"), "ends in .safetensors"),
        ((path, "-o", tmp_path / "no/y.safetensors"), "folder .* does not exist"),
        ((path, "-o", tmp_path / "y.safetensors", "--pool-sizes", "two"), "whole numbers with commas"),
        (
            (path, "-o", tmp_path / "y.safetensors", *options, "--fifth-channel", "is_reverse"),
            "goes with 5 channels",
        ),
        (
            (path, "-o", tmp_path / "y.safetensors", *options[:-5], "--pool-sizes", "2,2,2", *options[-3:]),
            "one entry per block",
        ),
        ((tmp_path / "none.pth", "-o", tmp_path / "y.safetensors"), "no such file"),
    ]:
        ran = cli("import", *args)
        assert ran.code == 2
        assert ran.err.count("\n") == 1
        assert re.search(message, ran.err), ran.err
    assert not (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize(
    ("family", "options", "expected"),
    [
        ("F1", {}, ("Saccharomyces cerevisiae", "", "GPRA")),
        ("F1", {"origin": {"medium": "defined medium (SD-Ura)"}}, ("Saccharomyces cerevisiae", "defined medium (SD-Ura)", "GPRA")),
        ("F3", F3, ("Homo sapiens", "", "lentiMPRA")),
        ("F3", {**F3, "origin": {"medium": "K562"}}, ("Homo sapiens", "K562", "lentiMPRA")),
        ("F3", {**F3, "origin": {"organism": "Mus musculus", "assay": "MPRA"}}, ("Mus musculus", "", "MPRA")),
        ("F1", {"unit": "log2 counts"}, ("", "", "")),  # another experiment: nothing is known of it
        ("F1", {"construct": {"flank3": "GGTTACGGCTGTA", "adapter3": "GGTTACGGCTGTA"}}, ("", "", "")),
    ],
)  # fmt: skip
def test_what_was_measured_is_known_or_said(
    tmp_path: Path, family: str, options: dict[str, Any], expected: tuple[str, ...]
) -> None:
    checkpoint = import_checkpoint(
        save(tmp_path / "x.ckpt", upstream_state(family, toy(family)), family), **options
    )
    contract = checkpoint.contract
    assert (contract.organism, contract.medium, contract.assay) == expected
    checkpoint.save(tmp_path / "x.safetensors")
    assert load_checkpoint(tmp_path / "x.safetensors").contract == contract


def test_native_dtype_is_kept_apart(tmp_path: Path) -> None:
    """bf16 and fp16 tensors become float32 without change of value."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in upstream_state("F1", toy("F1")).items()}
    checkpoint = import_checkpoint(save(tmp_path / "x.pth", state, "F1"))
    key = "seqextractor.blc0.0.weight"
    assert (checkpoint.arrays["stem.conv.weight"] == state[key].float().numpy()).all()
    assert checkpoint.arrays["stem.conv.weight"].dtype == np.float32
    assert toy_checkpoint().arrays["stem.conv.weight"].dtype == np.float32


def human_set(folder: Path, names: list[str], config: dict[str, Any] | None) -> Path:
    """A set as human_legnet leaves it: a folder for each network, the weights named by their epoch."""
    for name in names:
        (folder / name).mkdir(parents=True)
        save(folder / name / "last_model-epoch=24.ckpt", upstream_state("F3", toy("F3")), "F3")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


HUMAN_CONFIG: dict[str, Any] = {
    "stem_ch": 16, "stem_ks": 7, "ef_ks": 5, "ef_block_sizes": [8, 8], "resize_factor": 4, "pool_sizes": [2, 2],
    "reverse_augment": True, "use_reverse_channel": False,
}  # fmt: skip


def test_a_whole_set_with_the_config_beside_it(tmp_path: Path, cli: Any) -> None:
    """Alphabet and N come from whose config it is, folds from the folders' names; the set is an ensemble."""
    source = human_set(tmp_path / "K562", ["model_1_2", "model_3_1"], HUMAN_CONFIG)
    ran = cli("import", source, "-o", tmp_path / "k562", "--medium", "K562")
    assert ran.code == 0, ran.err
    assert "model_1_2" in ran.out
    assert "folds not seen 1 and 2" in ran.out
    assert "resize_factor" not in ran.out
    found = sorted(path.name for path in (tmp_path / "k562").iterdir())
    assert found == ["model_1_2.safetensors", "model_3_1.safetensors"]
    member = load_checkpoint(tmp_path / "k562/model_3_1.safetensors")
    assert member.training["folds_held_out"] == [3, 1]
    oligos = [human_contract().window(random_dna(np.random.default_rng(n), 200)) for n in range(4)]
    pq.write_table(pa.table({"sequence": oligos, "fold_num": [1, 2, 3, None]}), tmp_path / "library.parquet")
    given = ("-m", tmp_path / "k562", "--out-of-fold", "fold_num", "--precision", "fp32", "--per-model")
    ran = cli("run", tmp_path / "library.parquet", *given, "-o", tmp_path / "scores.parquet")
    assert ran.code == 0, ran.err
    each = pq.read_table(tmp_path / "scores.parquet")["score_per_model"].to_pylist()
    # a validation fold may have chosen the epoch, so only the test folds count: 2 of the first, 1 of the second
    assert [[value is not None and not np.isnan(value) for value in row] for row in each[:2]] == [
        [False, True],
        [True, False],
    ]
    assert (member.contract.alphabet, member.contract.n_value, member.contract.medium) == (
        "AGCT",
        0.0,
        "K562",
    )
    ran = cli("import", source, "-o", tmp_path / "k562")
    assert (ran.code, "--force" in ran.err) == (2, True)
    ran = cli("import", source, "-o", tmp_path / "k562", "--force", "-v")
    assert ran.code == 0, ran.err
    assert "resize_factor 4 (the published code does not use it)" in ran.out


def test_several_files_into_a_folder(tmp_path: Path, cli: Any) -> None:
    files = [
        save(tmp_path / f"best_model_test{t}_val{v}.ckpt", upstream_state("F3", toy("F3")), "F3")
        for t, v in ((2, 1), (1, 3))
    ]
    (tmp_path / "config.json").write_text(json.dumps(HUMAN_CONFIG))
    ran = cli("import", *files, "-o", tmp_path / "new" / "set")
    assert ran.code == 0, ran.err
    (tmp_path / "new" / "set").rename(tmp_path / "set")
    assert not list((tmp_path / "new").iterdir())
    assert load_checkpoint(tmp_path / "set/best_model_test1_val3.safetensors").training["folds_held_out"] == [
        3,
        1,
    ]


def test_sets_that_cannot_be(tmp_path: Path, cli: Any) -> None:
    """One line each, and nothing written."""
    source = human_set(tmp_path / "set", ["model_1_2", "model_3_1"], {"something": "else"})
    (tmp_path / "empty").mkdir()
    same = human_set(tmp_path / "same", ["a", "b"], HUMAN_CONFIG)
    two = human_set(tmp_path / "two", ["model_1_2", "model_3_1"], HUMAN_CONFIG)
    for folder in ("model_1_2", "model_3_1"):  # as upstream's training leaves them: the last and the best
        last = two / folder / "last_model-epoch=24.ckpt"
        last.with_name("pearson-epoch=3.ckpt").write_bytes(last.read_bytes())
    odd = human_set(tmp_path / "odd", ["model_1_2", "model_2_3"], HUMAN_CONFIG)
    (odd / "model_2_3/config.json").write_text(json.dumps(HUMAN_CONFIG | {"reverse_augment": False}))
    wrong = human_set(tmp_path / "wrong", ["model_1_2", "model_2_3"], HUMAN_CONFIG)
    (wrong / "model_2_3/config.json").write_text(json.dumps(HUMAN_CONFIG | {"ef_ks": 9}))
    for given, message in (
        ([source], "also needed"),
        ([tmp_path / "empty"], "no .pth, .pt, .ckpt in it"),
        ([same / "a/last_model-epoch=24.ckpt", same / "a"], "is named twice"),
        ([same / "a", human_set(tmp_path / "other", ["a"], HUMAN_CONFIG) / "a"], "would both become"),
        (
            [two],
            "pearson-epoch=3.ckpt lies beside the first: name the file of each folder that is to be a member",
        ),
        ([odd], "its contract .* is not that of"),
        ([wrong], "config file says kernel 9, the tensors 5"),
        ([same, "--pool-sizes", "4,4"], r"option says pools \(4, 4\), the config file \(2, 2\)"),
        ([tmp_path / "none.ckpt", same], "no such file"),
    ):
        ran = cli("import", *given, "-o", tmp_path / "out")
        assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
        assert re.search(message, ran.err), ran.err
        assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/note.txt").write_text("mine")
    assert cli("import", odd, "-o", tmp_path / "out").code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["note.txt"]
    ran = cli("import", same, "-o", tmp_path / "out/note.txt")
    assert (ran.code, ran.err.count("\n"), "note.txt cannot be written" in ran.err) == (2, 1, True), ran.err
    ran = cli("import", same, "-o", tmp_path / "x.safetensors")
    assert (ran.code, "go into a folder" in ran.err) == (2, True)
