"""Training recipes: every switch of the published ablation and every setting of its training, checked
against each other; what network and contract follow. The recipe goes into the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from legscore.dna.contract import GENERATOR_CHANNELS, Contract, Output
from legscore.errors import LegscoreError
from legscore.generate.mutations import MUTATIONS
from legscore.generate.sample import FEEDS
from legscore.model.architecture import Architecture, cp_rank
from legscore.train.construct import CONSTRUCTS, Construct

MAX_ADAPTIVE_BINS = 20
"""The published adaptive width, 2.7727 - 0.1364 e, falls to 0 at an expression of 20.3."""
CHOICES: dict[str, tuple[str, ...]] = {
    "inner_from": ("in", "out"),
    "se": ("bilinear", "plain", "none"),
    "residual": ("concat", "add", "none"),
    "concat_order": ("x,fx", "fx,x"),
    "final_activation": ("silu", "none"),
    "head": ("bins", "scalar", "bases"),
    "loss": ("kl", "mse", "ce"),
    "mutation": MUTATIONS,
    "valid_feed": FEEDS,
    "target_sd_rule": ("fixed", "adaptive"),
    "singletons": ("whole", "frequency"),
    "rc": ("both", "random", "none"),
    "fold_on": ("given", "padded"),
    "optimizer": ("adamw", "lion"),
    "schedule": ("onecycle", "plateau", "constant"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "keep": ("last", "best"),
}
LEAST = {
    "kernel": 1, "stem_kernel": 1, "filters_per_group": 1, "inner_factor": 1, "se_divisor": 1, "bins": 2,
    "n_folds": 2, "epochs": 1, "batch": 2, "steps_per_epoch": 0, "shift_max": 0, "singleton_min": 1,
    "clip": 0, "weight_decay": 0, "insert": 1, "mutations_max": 1, "valid_designs": 2,
}  # fmt: skip
GENERATOR_FIELDS = ("insert", "mutation", "mutations_max", "valid_designs", "valid_feed")
"""Settings that only a generator's recipe has; other checkpoints do not record them."""
ABOVE_0 = ("max_lr", "target_sd", "lr_div")
MAX_LR = 100.0


@dataclass(frozen=True)
class Recipe:
    """Architecture, channels, targets, optimisation. Defaults are the DREAM 2022 original's (`noginet`)."""

    preset: str = "noginet"
    construct: Construct = CONSTRUCTS["yeast"]
    n_value: float = 0.25
    widths: tuple[int, ...] = (256, 128, 128, 64, 64, 64, 64)
    stem_kernel: int = 7
    kernel: int = 7
    pools: tuple[int, ...] = ()
    filters_per_group: int = 2
    inner_from: str = "out"
    inner_factor: int = 4
    se: str = "bilinear"
    se_divisor: int = 4
    residual: str = "concat"
    concat_order: str = "x,fx"
    final_activation: str = "silu"
    head: str = "bins"
    reverse_channel: bool = True
    singleton_channel: bool = True
    singletons: str = "whole"
    singleton_min: int = 1100
    rc: str = "both"
    shift_max: int = 0
    loss: str = "kl"
    bins: int = 18
    target_shift: float = 0.5
    target_sd: float = 0.5
    target_sd_rule: str = "fixed"
    fold_on: str = "given"
    n_folds: int = 10
    optimizer: str = "adamw"
    max_lr: float = 0.005
    weight_decay: float = 0.01
    schedule: str = "onecycle"
    pct_start: float = 0.3
    lr_div: float = 25.0
    cycle_momentum: bool = True
    epochs: int = 80
    steps_per_epoch: int = 1000
    batch: int = 1024
    clip: float = 0.0
    precision: str = "auto"
    validate_rc: bool = False
    keep: str = "last"
    insert: int = 80
    mutation: str = "draw4"
    mutations_max: int = 300
    valid_designs: int = 256
    valid_feed: str = "soft"

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise LegscoreError(
                    f"recipe: {name} is {getattr(self, name)!r}; known are {', '.join(allowed)}"
                )
        for name, least in LEAST.items():
            if not getattr(self, name) >= least:
                raise LegscoreError(f"recipe: {name} is {getattr(self, name)}; it must be at least {least}")
        for name in ABOVE_0:
            if not getattr(self, name) > 0:
                raise LegscoreError(f"recipe: {name} is {getattr(self, name)}; it must be above 0")
        if self.max_lr > MAX_LR:
            raise LegscoreError(f"recipe: max_lr is {self.max_lr:g}; no network trains above {MAX_LR:g}")
        if self.se != "none" and min(self.widths[:-1], default=0) // self.se_divisor < (
            2 if self.se == "bilinear" else 1
        ):
            raise LegscoreError(f"recipe: se_divisor {self.se_divisor} leaves the SE gate no hidden units")
        if not 0 < self.pct_start < 1:
            raise LegscoreError(f"recipe: pct_start is {self.pct_start}; it must be between 0 and 1")
        if self.loss == "kl" and self.head != "bins":
            raise LegscoreError(
                "recipe: loss kl compares distributions over bins; it needs head bins (or set loss mse)"
            )
        if self.target_sd_rule == "adaptive" and self.loss == "kl" and self.bins > MAX_ADAPTIVE_BINS:
            raise LegscoreError(
                f"recipe: target_sd_rule adaptive has no width above {MAX_ADAPTIVE_BINS} bins; bins is "
                f"{self.bins}"
            )
        if self.shift_max > len(self.construct.downstream):
            raise LegscoreError(
                f"recipe: shift_max is {self.shift_max}, the construct has {len(self.construct.downstream)} "
                "bases downstream"
            )
        if self.reverse_channel and self.rc == "none":
            raise LegscoreError("recipe: reverse_channel needs training on both strands (rc both or random)")
        if len(self.widths) < 2 or (self.pools and len(self.pools) != len(self.widths) - 1):
            raise LegscoreError(
                "recipe: widths needs two entries or more, and pools one less than widths (or none)"
            )
        if (self.head == "bases") != (self.loss == "ce"):
            raise LegscoreError("recipe: head bases and loss ce (a generator) go together")
        if self.is_generator:
            self._check_generator()
        # refuses what is no network, before any training, also where TensorLy, which tells ranks, is not here
        self._architecture(lambda shape: 1).lengths(self.construct.length)

    def _check_generator(self) -> None:
        if (
            self.reverse_channel
            or self.singleton_channel
            or self.rc != "none"
            or self.shift_max
            or self.pools
        ):
            raise LegscoreError(
                "recipe: a generator reads forward inserts: no reverse_channel, singleton_channel, "
                "shift_max, pools; rc none"
            )
        if not self.construct.insert_min <= self.insert <= self.construct.insert_max:
            raise LegscoreError(
                f"recipe: insert is {self.insert}; the construct takes "
                f"{self.construct.insert_min}-{self.construct.insert_max}"
            )
        if self.schedule == "plateau":
            raise LegscoreError(
                "recipe: schedule plateau follows the validation Pearson; a generator takes onecycle or "
                "constant"
            )

    @property
    def is_generator(self) -> bool:
        """Whether it makes a network that designs sequences."""
        return self.head == "bases"

    def steps_in_epoch(self, samples: int) -> int:
        """Optimiser steps of an epoch; steps_per_epoch 0 means one pass over the samples."""
        return self.steps_per_epoch or max(1, -(-samples // self.batch))

    def data_contract(self, floor: float | None = None) -> Contract:
        """Contract by which training data are read: the checkpoints' own, but for a generator windows of the
        construct around inserts of the one length that it takes, with expression in the bins."""
        if not self.is_generator:
            return self.contract(floor)
        fixed = replace(self.construct, insert_min=self.insert, insert_max=self.insert)
        return replace(self, construct=fixed, head="bins", loss="kl").contract(floor)

    def contract(self, floor: float | None = None) -> Contract:
        """Contract of the checkpoints that this recipe makes; the targets of a generator are those of the
        bins until its training data are known."""
        if self.is_generator:
            fields = self.construct.contract_fields() | dict.fromkeys(
                ("length", "insert_min", "insert_max"), self.insert
            )
            output = Output("bases", self.construct.unit, 0.0, float(self.bins - 1), floor)
            return Contract(
                "AGCT",
                (*"AGCT", *GENERATOR_CHANNELS),
                self.n_value,
                rc_trained=False,
                output=output,
                **fields,
            )
        extras = [
            name
            for name, on in (("is_reverse", self.reverse_channel), ("is_singleton", self.singleton_channel))
            if on
        ]
        high = float(self.bins - 1) if self.head == "bins" else None
        output = Output(self.head, self.construct.unit, None if high is None else 0.0, high, floor)
        return Contract(
            "AGCT",
            (*"AGCT", *extras),
            self.n_value,
            rc_trained=self.rc != "none",
            output=output,
            **self.construct.contract_fields(),
        )

    def architecture(self) -> Architecture:
        """The network; CP ranks by TensorLy's rule at half the full tensor."""
        return self._architecture(cp_rank)

    def _architecture(self, rank: Callable[[tuple[int, int, int]], int]) -> Architecture:
        pairs = list(zip(self.widths, self.widths[1:], strict=False))
        hidden = [p // self.se_divisor for p, _ in pairs]
        bilinear = self.se == "bilinear"
        return Architecture(
            in_channels=4
            + (
                len(GENERATOR_CHANNELS)
                if self.is_generator
                else self.reverse_channel + self.singleton_channel
            ),
            widths=self.widths,
            inner_widths=tuple(self.inner_factor * (p if self.inner_from == "in" else s) for p, s in pairs),
            stem_kernel=self.stem_kernel,
            kernel=self.kernel,
            filters_per_group=self.filters_per_group,
            se=self.se,
            se_widths=tuple(0 if self.se == "none" else h for h in hidden),
            cp_ranks=tuple(max(1, rank((h, h, h // 2))) if bilinear else 0 for h in hidden),
            residual=self.residual,
            concat_order=self.concat_order if self.residual == "concat" else "",
            final_activation=self.final_activation,
            pools=self.pools or (1,) * len(pairs),
            head=self.head,
            outputs={"bins": self.bins, "scalar": 1, "bases": 4}[self.head],
        )

    def to_json(self) -> dict[str, Any]:
        values = {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }
        return (
            values
            if self.is_generator
            else {name: values[name] for name in values if name not in GENERATOR_FIELDS}
        )


def idle_settings(recipe: Recipe) -> dict[str, str]:
    """Settings and options about data that change nothing in a recipe, by name, each with the reason."""
    found: dict[str, str] = {}
    if recipe.loss != "kl":
        why = f"loss {recipe.loss} compares no distributions over bins"
        found |= dict.fromkeys(("target_sd", "target_shift", "target_sd_rule"), why)
    elif recipe.target_sd_rule == "adaptive":
        found["target_sd"] = "target_sd_rule adaptive takes the width from each expression"
    if recipe.head == "scalar":
        found |= dict.fromkeys(("bins", "out_of_range"), "the network predicts one number, without bins")
    if recipe.residual != "concat":
        found["concat_order"] = f"residual {recipe.residual} concatenates nothing"
    if recipe.se == "none":
        found["se_divisor"] = "the network has no SE gate"
    if not recipe.singleton_channel:
        why = "the network has no singleton channel"
        found |= dict.fromkeys(("singletons", "singleton_min", "singleton_column"), why)
    elif recipe.singletons != "frequency":
        found["singleton_min"] = "it goes with singletons=frequency"
    if recipe.schedule != "onecycle":
        why = f"schedule {recipe.schedule} has no cycle"
        found |= dict.fromkeys(("pct_start", "lr_div", "cycle_momentum"), why)
    if recipe.is_generator:
        found["validate_rc"] = "a generator is validated on the forward strand"
    else:
        found |= dict.fromkeys(GENERATOR_FIELDS, "it goes with --preset generator")
    return found
