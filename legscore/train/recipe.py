"""Training recipes: presets of the published networks, a TOML file, options; the resolved recipe goes into the checkpoint.

`noginet` is the DREAM 2022 original, `optimized` the later network trained with Lion (legnet.md §2-4). Every field of
`Recipe` is a switch of the published ablation or a setting of its training.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from legscore.contract import YEAST_CONSTRUCT, Contract, Output
from legscore.errors import LegscoreError, nearest
from legscore.model.architecture import Architecture

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHOICES: dict[str, tuple[str, ...]] = {
    "inner_from": ("in", "out"),
    "se": ("bilinear", "plain", "none"),
    "residual": ("concat", "add", "none"),
    "concat_order": ("x,fx", "fx,x"),
    "final_activation": ("silu", "none"),
    "rc": ("both", "random", "none"),
    "fold_on": ("given", "padded"),
    "optimizer": ("adamw", "lion"),
    "schedule": ("onecycle", "plateau", "constant"),
    "precision": ("auto", "fp32", "bf16"),
}


@dataclass(frozen=True)
class Recipe:
    """Architecture, channels, targets, optimisation. Defaults are the DREAM 2022 original's (`noginet`)."""

    preset: str = "noginet"
    widths: tuple[int, ...] = (256, 128, 128, 64, 64, 64, 64)
    kernel: int = 7
    filters_per_group: int = 2
    inner_from: str = "out"
    se: str = "bilinear"
    residual: str = "concat"
    concat_order: str = "x,fx"
    final_activation: str = "silu"
    reverse_channel: bool = True
    singleton_channel: bool = True
    rc: str = "both"
    bins: int = 18
    target_shift: float = 0.5
    target_sd: float = 0.5
    fold_on: str = "given"
    n_folds: int = 10
    optimizer: str = "adamw"
    max_lr: float = 0.005
    weight_decay: float = 0.01
    schedule: str = "onecycle"
    pct_start: float = 0.3
    lr_div: float = 25.0
    epochs: int = 80
    steps_per_epoch: int = 1000
    batch: int = 1024
    clip: float = 0.0
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise LegscoreError(f"recipe: {name} is {getattr(self, name)!r}; known are {', '.join(allowed)}")
        for name in ("kernel", "filters_per_group", "bins", "n_folds", "epochs", "steps_per_epoch", "batch"):
            if getattr(self, name) < 1:
                raise LegscoreError(f"recipe: {name} is {getattr(self, name)}; it must be at least 1")
        for name in ("max_lr", "target_sd", "lr_div"):
            if not getattr(self, name) > 0:
                raise LegscoreError(f"recipe: {name} is {getattr(self, name)}; it must be above 0")
        if self.batch < 2:
            raise LegscoreError("recipe: batch is 1; BatchNorm needs at least 2")

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def contract(
        self, unit: str = "mean sorting bin (0-17) of log reporter fluorescence", floor: float | None = None
    ) -> Contract:
        """Contract of the checkpoints that this recipe makes."""
        extras = [name for name, on in (("is_reverse", self.reverse_channel), ("is_singleton", self.singleton_channel)) if on]
        output = Output("bins", unit, 0.0, float(self.bins - 1), floor)
        return Contract("AGCT", (*"AGCT", *extras), 0.25, rc_trained=self.rc != "none", output=output, **YEAST_CONSTRUCT)

    def architecture(self) -> Architecture:
        """The network; CP ranks by TensorLy's rule at half the full tensor."""
        from legscore.model.legnet import cp_rank

        pairs = list(zip(self.widths, self.widths[1:], strict=False))
        hidden = [p // 4 for p, _ in pairs]
        bilinear = self.se == "bilinear"
        return Architecture(
            in_channels=4 + self.reverse_channel + self.singleton_channel,
            widths=self.widths,
            inner_widths=tuple(4 * (p if self.inner_from == "in" else s) for p, s in pairs),
            stem_kernel=self.kernel,
            kernel=self.kernel,
            filters_per_group=self.filters_per_group,
            se=self.se,
            se_widths=tuple(0 if self.se == "none" else h for h in hidden),
            cp_ranks=tuple(max(1, cp_rank((h, h, h // 2))) if bilinear else 0 for h in hidden),
            residual=self.residual,
            concat_order=self.concat_order if self.residual == "concat" else "",
            final_activation=self.final_activation,
            pools=(1,) * len(pairs),
            head="bins",
            outputs=self.bins,
        )

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


PRESETS: dict[str, Recipe] = {
    "noginet": Recipe(),
    "optimized": Recipe(
        preset="optimized", filters_per_group=1, inner_from="in", se="plain", concat_order="fx,x", final_activation="none",
        fold_on="padded", optimizer="lion", max_lr=0.0005, weight_decay=0.1,
    ),
}  # fmt: skip


def resolve(preset: str, file: str | Path | None = None, options: Mapping[str, Any] | None = None) -> Recipe:
    """A preset, changed by a TOML file, changed by options. LegscoreError names what is unknown or mistyped."""
    changes: dict[str, Any] = {}
    if file is not None:
        try:
            changes = tomllib.loads(Path(file).read_text())
        except (OSError, ValueError) as error:
            raise LegscoreError(f"recipe {file} cannot be read ({error})") from None
        preset = changes.pop("preset", preset)
    if preset not in PRESETS:
        raise LegscoreError(f"preset is {preset!r}; known are {', '.join(PRESETS)}{nearest(preset, PRESETS)}")
    changes |= dict(options or {})
    known = {f.name: type(getattr(PRESETS[preset], f.name)) for f in fields(Recipe)}
    for name, value in changes.items():
        if name not in known:
            raise LegscoreError(f"recipe: unknown setting {name!r}{nearest(name, known)}")
        if known[name] is tuple and isinstance(value, (list, tuple)) and all(type(n) is int for n in value):
            changes[name] = tuple(value)
        elif known[name] is float and type(value) in (int, float):
            changes[name] = float(value)
        elif type(value) is not known[name]:
            raise LegscoreError(f"recipe: {name} is {value!r}, of the wrong type")
    return replace(PRESETS[preset], **changes)
