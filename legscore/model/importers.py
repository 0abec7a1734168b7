"""Published PyTorch checkpoints → legscore checkpoints, with nothing guessed.

What tensors show (widths, kernels, groups, the SE gate, the residual) is read off them. What they cannot show
(final activation, concatenation order, pooling, alphabet, value of N, meaning of a fifth channel, training on
both strands) comes from the family's published code where that has one way only, from the config file that
upstream writes, or from an option; anything still open is an error that lists the options. `source.choices`
in the manifest says where each answer came from. Third-party pickles are opened with `weights_only=True` and
so cannot run code.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from legscore.dna.contract import GENERATOR_CHANNELS, HUMAN_CONSTRUCT, YEAST_CONSTRUCT, Contract, Output
from legscore.errors import ModelError, shorten
from legscore.model.architecture import MAX_ELEMENTS, Architecture
from legscore.model.checkpoint import Checkpoint
from legscore.model.families import PREFIX, detect_family, upstream_name
from legscore.model.pickles import load_plain
from legscore.system.small_files import read_small

OPTION_OF = {
    "final_activation": "--final-activation silu|none",
    "concat_order": "--concat-order fx,x|x,fx",
    "fifth_channel": "--fifth-channel is_reverse|is_singleton",
    "alphabet": "--alphabet AGCT",
    "n_value": "--n-value 0.25|0",
    "pools": "--pool-sizes 2,2,2,2",
    "rc_trained": "--rc-trained or --no-rc-trained",
}
PUBLISHED: dict[str, dict[str, Any]] = {
    # What the published code of a family does in one way only. F3's alphabet and N value stay open:
    # look-alikes of it read ACGT, and human_legnet itself encodes N as 0 in training and as 0.25 elsewhere.
    "F1": {"final_activation": "silu", "concat_order": "x,fx", "alphabet": "AGCT", "n_value": 0.25},
    "F2": {"alphabet": "AGCT", "n_value": 0.25},
    "F3": {"final_activation": "none"},
    "F5": {
        "final_activation": "none",
        "concat_order": "x,fx",
        "alphabet": "AGCT",
        "n_value": 0.0,
        "rc_trained": False,
    },
}
MAX_FILE_BYTES = 4 << 30
"""With optimiser states a training file of the largest LegNet stays far below."""
SE_TYPES = {"simple": "plain", "complex": "bilinear", "none": "none"}
GENERATOR_INSERT, GENERATOR_RANGE = 80, (0.0, 17.0)
"""The published generator reads 80-bp inserts and was trained on expression in sorting bins 0-17."""
YEAST_UNIT = "mean sorting bin (0-17) of log reporter fluorescence"
HUMAN_UNIT = "log2(RNA/DNA) of a lentiMPRA"


@dataclass
class Answers:
    """Answers to what tensors do not show, with their origin."""

    family: str
    given: Mapping[str, Any]
    config: Mapping[str, Any]
    choices: dict[str, str] = field(default_factory=dict)
    open_questions: list[str] = field(default_factory=list)

    def ask(self, name: str, default: Any) -> Any:
        """An option, else the config file, else the family's published code; noted as open when none
        answers."""
        published = PUBLISHED[self.family]
        option, configured = self.given.get(name), self.config.get(name)
        if option is not None and configured is not None and option != configured:
            raise ModelError(
                f"the option says {name} {option!r}, the config file {configured!r}; drop one of them"
            )
        for value, origin in (
            (option, "option"),
            (configured, "config file"),
            (published.get(name), "published code"),
        ):
            if value is not None:
                self.choices[name] = f"{value} ({origin})"
                return value
        self.open_questions.append(name)
        return default


def import_checkpoint(
    path: str | Path,
    *,
    config: str | Path | None = None,
    floor: float | None = None,
    unit: str | None = None,
    construct: Mapping[str, Any] | None = None,
    **options: Any,
) -> Checkpoint:
    """Convert an F1, F2, F3 or F5 file.

    Args:
        path: the PyTorch file (.pth, .ckpt).
        config: `params.json` of the optimised network's code or the config JSON of human_legnet.
        floor: prediction floor for the contract (complex medium about 4, defined about 2.5).
        unit: what the score is, when it is not the published assay's.
        construct: overrides of length, flank5, flank3, adapter5, adapter3, insert_min, insert_max.
        options: answers named as in OPTION_OF.

    Raises:
        ModelError: unreadable, unsafe, unknown or look-alike files; open questions, with the options that
            answer them.
    """
    path = Path(path)
    if unknown := sorted(set(options) - set(OPTION_OF)):
        raise TypeError(f"unknown options: {unknown}")
    try:
        stored = read_state(path)
        family = detect_family(stored)
        state = {key.removeprefix(PREFIX[family]): value for key, value in stored.items()}
        answers = Answers(family, options, read_config(Path(config), family) if config else {})
        return _convert(path, state, answers, floor, unit, dict(construct or {}))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Tensors of a PyTorch file as numpy arrays, keys as stored; refuses files that hold code."""
    try:
        import torch
    except ImportError:
        raise ModelError(
            "importing reads PyTorch files and needs torch: pip install 'legscore[train]'"
        ) from None
    if not path.is_file():
        raise ModelError("no such file")
    _check_archive(path)
    try:
        loaded = load_plain(path)
    except Exception as error:  # many kinds: pickle, zip, runtime, EOF, Unicode, Key, Index errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"is not a PyTorch file of plain tensors ({reason[:160]}). Files that hold Python objects are "
            "refused, since "
            "opening them could run code: save the state dict alone and import that"
        ) from None
    if not isinstance(loaded, Mapping):
        raise ModelError(f"holds a {type(loaded).__name__}, not a state dict")
    state = loaded
    if "state_dict" in loaded:
        if "config" in loaded and "extra" in loaded:
            raise ModelError(
                "looks like mpralegnet_predict's F6 (keys config, state_dict, extra): it reads ACGT; refused"
            )
        state = loaded["state_dict"]
    elif "model_state_dict" in loaded:
        state = loaded["model_state_dict"]
    if not isinstance(state, Mapping) or not state:
        raise ModelError("holds no state dict")
    arrays, elements = {}, 0
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ModelError(f"entry {str(key)[:60]!r} of its state dict is no tensor")
        value = value.detach()
        elements += value.numel()
        if elements > MAX_ELEMENTS:
            raise ModelError(
                f"array {key} claims {value.numel():,} elements; with those before it, this is no LegNet"
            )
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise ModelError(f"array {key} is no plain tensor (sparse, quantised or without data)")
        counter = key.endswith(("num_batches_tracked", "bins"))
        if not value.is_floating_point() and not (counter and value.dtype in (torch.int64, torch.int32)):
            raise ModelError(
                f"array {key} is {str(value.dtype).removeprefix('torch.')}; weights must be floating point"
            )
        arrays[key] = value.numpy() if counter else value.float().numpy()
    return arrays


def _check_archive(path: Path) -> None:
    """Refuse what is too large, or would become so when it is unpacked: PyTorch stores tensors as they are,
    unpacked."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ModelError(
            f"{size:,} bytes; published LegNets take less than 100 MB, and no more than {MAX_FILE_BYTES:,} "
            "are read"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, struct.error):
        return  # the older format, or damaged: torch says what it is
    if (
        any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        or sum(e.file_size for e in entries) > size
    ):
        raise ModelError(
            "is an archive that claims more than it holds, or is packed; torch.save stores tensors unpacked"
        )


def read_config(path: Path, family: str) -> dict[str, Any]:
    """Answers in upstream's own config file, plus `expect`: shapes it claims, to be checked against the
    tensors."""
    try:
        return _read_config(json.loads(read_small(path)), path, family)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"config file {path} cannot be read ({error})") from None
    except (TypeError, AttributeError, KeyError) as error:
        raise ModelError(f"config file {path} holds something unexpected ({error})") from None


def _read_config(data: Any, path: Path, family: str) -> dict[str, Any]:
    if family == "F2" and isinstance(data, dict) and isinstance(data.get("model_cfg"), dict):
        model, training = data["model_cfg"], data.get("data_cfg", {})
        fifth = {(True, False): "is_reverse", (False, True): "is_singleton"}
        flags = (bool(model.get("use_reverse_channel")), bool(model.get("use_single_channel")))
        return {
            "final_activation": model.get("final_activation"),
            "concat_order": "fx,x" if model.get("res_block_type") == "concat" else None,
            "fifth_channel": fifth.get(flags),
            "rc_trained": training.get("reverse_augment"),
            "expect": {
                "widths": model.get("block_sizes"),
                "kernel": model.get("ks"),
                "residual": model.get("res_block_type"),
                "filters_per_group": model.get("filter_per_group"),
                "in_channels": 4 + sum(flags),
                "se": SE_TYPES[model["se_type"]] if "se_type" in model else None,
            },
        }
    if family == "F3" and isinstance(data, dict) and "ef_block_sizes" in data:
        return {
            "concat_order": "fx,x",
            "pools": None
            if data.get("pool_sizes") is None
            else tuple(whole_number(size) for size in data["pool_sizes"]),
            "fifth_channel": "is_reverse" if data.get("use_reverse_channel") else None,
            "rc_trained": data.get("reverse_augment"),
            "expect": {
                "widths": [data.get("stem_ch"), *data["ef_block_sizes"]],
                "kernel": data.get("ef_ks"),
                "stem_kernel": data.get("stem_ks"),
                "in_channels": 4 + bool(data.get("use_reverse_channel")),
            },
        }
    raise ModelError(f"config file {path} is not one that the published code of family {family} writes")


def whole_number(value: Any) -> int:
    """The value, if it is an int; TypeError otherwise."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def _convert(
    path: Path,
    state: dict[str, np.ndarray],
    answers: Answers,
    floor: float | None,
    unit: str | None,
    construct: dict[str, Any],
) -> Checkpoint:
    family = answers.family
    architecture, names = _architecture(state, answers)
    if answers.given.get("pools") is not None and family != "F3":
        raise ModelError(f"--pool-sizes goes with F3; a file of family {family} has no pooling")
    in_channels = architecture.in_channels
    alphabet = answers.ask("alphabet", "AGCT")
    extras: tuple[str, ...] = {4: (), 6: ("is_reverse", "is_singleton")}.get(in_channels, ())
    if family == "F5":
        if in_channels != 6:
            raise ModelError(f"the first convolution has {in_channels} channels; a generator's has 6")
        extras = GENERATOR_CHANNELS
    if in_channels == 5:
        extras = (answers.ask("fifth_channel", "is_reverse"),)
    elif in_channels not in (4, 6):
        raise ModelError(f"the first convolution has {in_channels} channels; LegNets have 4, 5 or 6")
    elif answers.given.get("fifth_channel") is not None:
        raise ModelError(f"--fifth-channel goes with 5 channels; this file has {in_channels}")
    if "is_reverse" in extras:
        if answers.given.get("rc_trained") is False or answers.config.get("rc_trained") is False:
            raise ModelError(
                "training on one strand (--no-rc-trained, reverse_augment) contradicts the is_reverse channel"
            )
        rc_trained = True
        answers.choices["rc_trained"] = "True (it has an is_reverse channel)"
    else:
        rc_trained = answers.ask("rc_trained", False)
    n_value = float(answers.ask("n_value", 0.25))
    if answers.open_questions:
        needed = "; ".join(OPTION_OF[name] for name in answers.open_questions)
        kind = {"F2": "params.json", "F3": "the config JSON"}.get(family, "")
        more = f", or --config FILE ({kind} beside the weights)" if kind else ""
        raise ModelError(f"family {family}: its tensors do not show everything; also needed: {needed}{more}")

    if family == "F5":
        output = Output("bases", unit or YEAST_UNIT, *GENERATOR_RANGE, floor)
        insert = construct.pop("length", construct.get("insert_max", GENERATOR_INSERT))
        construct = {"length": insert, "insert_min": insert, "insert_max": insert, **construct}
    elif family == "F3":
        output = Output("scalar", unit or HUMAN_UNIT, floor=floor)
    else:
        output = Output("bins", unit or YEAST_UNIT, 0.0, float(architecture.outputs - 1), floor)
    contract = Contract(
        alphabet=alphabet,
        channels=(*alphabet, *extras),
        n_value=n_value,
        rc_trained=bool(rc_trained),
        output=output,
        **{**(HUMAN_CONSTRUCT if family == "F3" else YEAST_CONSTRUCT), **construct},
    )
    arrays = {name: np.asarray(state[key], dtype=np.float32) for name, key in names.items()}
    source = {"file": path.name, "family": family, "choices": answers.choices}
    return Checkpoint(family, architecture, contract, arrays, source=source)


def _architecture(state: dict[str, np.ndarray], answers: Answers) -> tuple[Architecture, dict[str, str]]:
    """Architecture and {legscore's name: upstream key}; ModelError on missing, extra or contradicting
    tensors."""
    family = answers.family
    wrapped = family in ("F1", "F5") or any(".fn.block." in key for key in state)
    bilinear = any(".mod.trl." in key for key in state)
    gated = any(".6.fc.0.weight" in key for key in state)

    def key_of(name: str) -> str:
        return upstream_name(family, name, wrapped=wrapped, bilinear=bilinear)

    def shape(name: str) -> tuple[int, ...]:
        key = key_of(name)
        if key not in state:
            raise ModelError(f"family {family}, but key {PREFIX[family]}{key} is missing")
        found = state[key].shape
        dimensions = 3 if name.endswith("conv.weight") else 2 if name.endswith("squeeze.weight") else 1
        if len(found) != dimensions:
            raise ModelError(
                f"array {PREFIX[family]}{key} has shape {found}; {dimensions} dimensions were expected"
            )
        return found

    n_blocks = 0
    while key_of(f"blocks.{n_blocks}.expand.conv.weight") in state:
        n_blocks += 1
    if not n_blocks:
        raise ModelError(
            f"family {family}, but key {PREFIX[family]}{key_of('blocks.0.expand.conv.weight')} is missing"
        )
    blocks = range(n_blocks)
    expand = [shape(f"blocks.{i}.expand.conv.weight") for i in blocks]
    mix = [shape(f"blocks.{i}.mix.conv.weight") for i in blocks]
    group = shape("blocks.0.group.conv.weight")
    stem = shape("stem.conv.weight")
    residual = "none"
    if wrapped:
        residual = "concat" if mix[0][1] == 2 * expand[0][1] else "add"
    se = "bilinear" if bilinear else "plain" if gated else "none"
    architecture = Architecture(
        in_channels=stem[1],
        widths=(stem[0], *(m[0] for m in mix)),
        inner_widths=tuple(e[0] for e in expand),
        stem_kernel=stem[2],
        kernel=group[2],
        filters_per_group=group[1],
        se=se,
        se_widths=tuple(shape(f"blocks.{i}.se.squeeze.weight")[0] if se != "none" else 0 for i in blocks),
        cp_ranks=tuple(shape(f"blocks.{i}.se.bilinear.weights")[0] if bilinear else 0 for i in blocks),
        residual=residual,
        concat_order=answers.ask("concat_order", "fx,x") if residual == "concat" else "",
        final_activation=answers.ask("final_activation", "none"),
        pools=tuple(answers.ask("pools", (1,) * n_blocks)) if family == "F3" else (1,) * n_blocks,
        head={"F3": "scalar", "F5": "bases"}.get(family, "bins"),
        outputs=1 if family == "F3" else shape("head.conv.weight")[0],
    )
    for name, expected in answers.config.get("expect", {}).items():
        found = getattr(architecture, name)
        found = list(found) if isinstance(found, tuple) else found
        if expected is not None and expected != found:
            raise ModelError(
                f"the config file says {name} {expected}, the tensors {found}; it belongs to another file"
            )

    names = {name: key_of(name) for name in architecture.shapes()}
    missing = [PREFIX[family] + key for key in names.values() if key not in state]
    if missing:
        raise ModelError(f"family {family}, but keys are missing: {shorten(missing, 4)}")
    tolerated = set(names.values())
    if architecture.head == "bins":
        tolerated.add("bins")
        if "bins" not in state or not np.array_equal(state["bins"], np.arange(architecture.outputs)):
            raise ModelError(
                f'its "bins" are not 0..{architecture.outputs - 1}; the score would mean something else'
            )
    extra = [key for key in state if key not in tolerated and not key.endswith("num_batches_tracked")]
    if extra:
        raise ModelError(
            f"family {family}, but with unknown keys: {shorten([PREFIX[family] + key for key in extra], 4)}"
        )
    return architecture, names
