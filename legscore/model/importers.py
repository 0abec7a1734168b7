"""Published PyTorch checkpoints → legscore checkpoints, with nothing guessed.

What tensors show (widths, kernels, groups, the SE gate, the residual) is read off them. What they cannot show
(final activation, concatenation order, pooling, alphabet, value of N, meaning of a fifth channel, training on
both strands) comes from the family's published code where that has one way only, from the config file that
upstream writes, or from an option; anything still open is an error that lists the options. `source.choices`
in the manifest says where each answer came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legscore.dna.constructs import HUMAN_CONSTRUCT, HUMAN_ORIGIN, YEAST_CONSTRUCT, YEAST_ORIGIN
from legscore.dna.contract import GENERATOR_CHANNELS, ORIGIN, Contract, Output
from legscore.errors import ModelError
from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint
from legscore.model.families import PREFIX, detect_family
from legscore.model.state_dict import read_state
from legscore.model.tensors import Tensors
from legscore.model.upstream_config import read_config

OPTION_OF = {
    "final_activation": "--final-activation silu|none",
    "concat_order": "--concat-order fx,x|x,fx",
    "fifth_channel": "--fifth-channel is_reverse|is_singleton",
    "alphabet": "--alphabet AGCT",
    "n_value": "--n-value 0.25|0",
    "pools": "--pool-sizes 2,2,2,2",
    "rc_trained": "--rc-trained or --no-rc-trained",
}
PUBLISHED_CODE: dict[str, dict[str, Any]] = {
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
IMPLIED_BY_CONFIG: dict[str, dict[str, Any]] = {
    # Who has upstream's config trained with upstream's code, which reads AGCT; human_legnet's training writes
    # 0 for N (0.25 cut to a whole number). An option overrides these: no line of the config says them.
    "F2": {"alphabet": "AGCT", "n_value": 0.25},
    "F3": {"alphabet": "AGCT", "n_value": 0.0},
}
GENERATOR_INSERT, GENERATOR_RANGE = 80, (0.0, 17.0)
"""The published generator reads 80-bp inserts and was trained on expression in sorting bins 0-17."""
YEAST_UNIT = "mean sorting bin (0-17) of log reporter fluorescence"
HUMAN_UNIT = "log2(RNA/DNA) of a lentiMPRA"


class OpenQuestionsError(ModelError):
    """A file was read, and options must answer what it does not show."""


@dataclass
class Answers:
    """Answers to what tensors do not show, with their origin."""

    family: str
    given: Mapping[str, Any]
    config: Mapping[str, Any]
    published: Mapping[str, Any]
    choices: dict[str, str] = field(default_factory=dict)
    open_questions: list[str] = field(default_factory=list)

    def ask(self, name: str, default: Any) -> Any:
        """An option, else the config file, else the family's published code; noted as open when none
        answers."""
        option, configured = self.given.get(name), self.config.get(name)
        if option is not None and configured is not None and option != configured:
            raise ModelError(
                f"the option says {name} {option!r}, the config file {configured!r}; drop one of them"
            )
        for value, origin in (
            (option, "option"),
            (configured, "config file"),
            (self.published.get(name), "published code"),
        ):
            if value is not None:
                self.choices[name] = f"{value} ({origin})"
                return value
        self.open_questions.append(name)
        return default

    def check_complete(self) -> None:
        """ModelError that lists the options for what is still open."""
        if not self.open_questions:
            return
        needed = "; ".join(OPTION_OF[name] for name in self.open_questions)
        kind = {"F2": "params.json", "F3": "the config JSON"}.get(self.family, "")
        more = f", or --config FILE ({kind} beside the weights)" if kind else ""
        raise OpenQuestionsError(
            f"family {self.family}: its tensors do not show everything; also needed: {needed}{more}"
        )


def import_checkpoint(
    path: str | Path,
    *,
    entry: str | None = None,
    config: str | Path | None = None,
    floor: float | None = None,
    unit: str | None = None,
    construct: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
    **options: Any,
) -> Checkpoint:
    """Convert an F1, F2, F3 or F5 file.

    Args:
        path: the PyTorch file (.pth, .ckpt).
        entry: which of a file's entries holds the network, where there are several (`ema`, say).
        config: `params.json` of the optimised network's code or the config JSON of human_legnet.
        floor: prediction floor for the contract (complex medium about 4, defined about 2.5).
        unit: what the score is, when it is not the published assay's.
        construct: overrides of length, flank5, flank3, adapter5, adapter3, insert_min, insert_max.
        origin: what was measured: organism, medium (or cell line), assay. Organism and assay are the
            published ones unless unit or construct say that it was another experiment.
        options: answers named as in OPTION_OF.

    Raises:
        ModelError: unreadable, unsafe, unknown or look-alike files; open questions, with the options that
            answer them.
    """
    path = Path(path)
    if unknown := sorted(set(options) - set(OPTION_OF)):
        raise TypeError(f"unknown options: {unknown}")
    try:
        stored = read_state(path, entry)
        family, prefix = detect_family(stored.arrays)
        configured = read_config(Path(config), family) if config else {}
        published = PUBLISHED_CODE[family]
        if prefix != PREFIX[family]:  # not the published training code, which reads and encodes the bases
            published = {
                name: value for name, value in published.items() if name not in ("alphabet", "n_value")
            }
        published = published | (IMPLIED_BY_CONFIG.get(family, {}) if config else {})
        answers = Answers(family, options, configured, published)
        if configured.get("ignored"):
            answers.choices["config_ignored"] = (
                f"{configured['ignored']} (the published code does not use it)"
            )
        if stored.taken:
            answers.choices["weights"] = f"{stored.taken} (file)"
        meaning = Meaning(floor, unit, dict(construct or {}), dict(origin or {}))
        return _convert(path, Tensors(family, prefix, stored.arrays), answers, meaning)
    except ModelError as error:
        raise type(error)(f"{path}: {error}") from None


@dataclass
class Meaning:
    """What options say of the score and of the DNA around an insert."""

    floor: float | None
    unit: str | None
    construct: dict[str, Any]
    origin: dict[str, str]

    def origin_of(self, family: str, answers: Answers) -> dict[str, Any]:
        """Organism, medium and assay as far as they are known; where each comes from is noted."""
        is_published = self.unit is None and not self.construct
        published = (HUMAN_ORIGIN if family == "F3" else YEAST_ORIGIN) if is_published else {}
        found: dict[str, Any] = {}
        for name in ORIGIN:
            value = self.origin.get(name) or published.get(name)
            if value:
                found[name] = value
                answers.choices[name] = (
                    f"{value} ({'option' if self.origin.get(name) else 'published assay'})"
                )
        return found


def _convert(path: Path, tensors: Tensors, answers: Answers, meaning: Meaning) -> Checkpoint:
    family = answers.family
    architecture = _architecture(tensors, answers)
    arrays = tensors.arrays(architecture)
    if answers.given.get("pools") is not None and family != "F3":
        raise ModelError(f"--pool-sizes goes with F3; a file of family {family} has no pooling")
    alphabet = answers.ask("alphabet", "AGCT")
    extras = _extra_channels(architecture.in_channels, answers)
    rc_trained = _rc_trained(extras, answers)
    n_value = float(answers.ask("n_value", 0.25))
    answers.check_complete()
    origin = meaning.origin_of(family, answers)
    floor, unit, construct = meaning.floor, meaning.unit, meaning.construct
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
        rc_trained=rc_trained,
        output=output,
        **origin,
        **{**(HUMAN_CONSTRUCT if family == "F3" else YEAST_CONSTRUCT), **construct},
    )
    source = {"file": path.name, "family": family, "choices": answers.choices}
    return Checkpoint(family, architecture, contract, arrays, source=source)


def _extra_channels(in_channels: int, answers: Answers) -> tuple[str, ...]:
    """Channels after the four bases."""
    if answers.family == "F5":
        if in_channels != 6:
            raise ModelError(f"the first convolution has {in_channels} channels; a generator's has 6")
        extras: tuple[str, ...] = GENERATOR_CHANNELS
    elif in_channels == 5:
        return (answers.ask("fifth_channel", "is_reverse"),)
    elif in_channels in (4, 6):
        extras = ("is_reverse", "is_singleton") if in_channels == 6 else ()
    else:
        raise ModelError(f"the first convolution has {in_channels} channels; LegNets have 4, 5 or 6")
    if answers.given.get("fifth_channel") is not None:
        raise ModelError(f"--fifth-channel goes with 5 channels; this file has {in_channels}")
    return extras


def _rc_trained(extras: tuple[str, ...], answers: Answers) -> bool:
    """Whether training saw both strands, which an is_reverse channel shows."""
    if "is_reverse" not in extras:
        return bool(answers.ask("rc_trained", False))
    if answers.given.get("rc_trained") is False or answers.config.get("rc_trained") is False:
        raise ModelError(
            "training on one strand (--no-rc-trained, reverse_augment) contradicts the is_reverse channel"
        )
    confirmed = "option, and " if answers.given.get("rc_trained") else ""
    answers.choices["rc_trained"] = f"True ({confirmed}it has an is_reverse channel)"
    return True


def _architecture(tensors: Tensors, answers: Answers) -> Architecture:
    """The architecture, from tensors and answers; ModelError where the config file contradicts them."""
    fields = tensors.fields()
    n_blocks = len(fields["inner_widths"])
    is_concat, has_pools = fields["residual"] == "concat", answers.family == "F3"
    if not is_concat and answers.given.get("concat_order") is not None:
        raise ModelError(f"--concat-order goes with residual concat; this file has {fields['residual']}")
    architecture = Architecture(
        **fields,
        concat_order=answers.ask("concat_order", "fx,x") if is_concat else "",
        final_activation=answers.ask("final_activation", "none"),
        pools=tuple(answers.ask("pools", (1,) * n_blocks)) if has_pools else (1,) * n_blocks,
    )
    for name, expected in answers.config.get("expect", {}).items():
        found = getattr(architecture, name)
        found = list(found) if isinstance(found, tuple) else found
        if expected is not None and expected != found:
            raise ModelError(
                f"the config file says {name} {expected}, the tensors {found}; it belongs to another file"
            )
    return architecture
