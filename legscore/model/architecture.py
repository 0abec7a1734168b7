"""Which LegNet a checkpoint holds: every switch between the published networks, and the arrays each implies.

The networks (legnet: Penzar et al. 2023, NoGiNet: DREAM 2022, human MPRA LegNet: Agarwal et al.) share one
skeleton:

    stem   conv in→w0, BN, SiLU
    block  x = mix(join(x, f(x))), optionally max-pooled; p = widths[i], s = widths[i+1], m = inner_widths[i]
           f = expand 1×1 p→m, BN, SiLU → group conv m→m, BN, SiLU → SE gate → project 1×1 m→p, BN, SiLU
           mix = conv (2p or p)→s, BN, SiLU
    head   bins:   1×1 conv → [SiLU] → mean over length → softmax → Σ i·p_i
           scalar: BN → 1×1 conv → [SiLU] → mean over length → linear → BN → SiLU → linear
           bases:  1×1 conv → [SiLU]: four logits at every position (the generator)

Widths are stored, not rules for them, so that what a file holds is what is built.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from legscore.errors import ModelError

Shapes = dict[str, tuple[int, ...]]

CHOICES = {
    "se": ("bilinear", "plain", "none"),
    "residual": ("concat", "add", "none"),
    "concat_order": ("x,fx", "fx,x", ""),
    "final_activation": ("silu", "none"),
    "head": ("bins", "scalar", "bases"),
}
MAX_ELEMENTS = 200_000_000
"""A network larger than this (0.8 GB) is refused: published LegNets have 0.9 to 2.1 million parameters."""


@dataclass(frozen=True)
class Architecture:
    """One network. `widths` has one entry more than there are blocks; `inner_widths`, `se_widths` (hidden
    width of the SE gate, 0 without one), `cp_ranks` (rank of the bilinear SE's CP decomposition, else 0) and
    `pools` have one per block. `concat_order` says which half of the concatenation comes first ("" without
    one)."""

    in_channels: int
    widths: tuple[int, ...]
    inner_widths: tuple[int, ...]
    stem_kernel: int
    kernel: int
    filters_per_group: int
    se: str
    se_widths: tuple[int, ...]
    cp_ranks: tuple[int, ...]
    residual: str
    concat_order: str
    final_activation: str
    pools: tuple[int, ...]
    head: str
    outputs: int

    def __post_init__(self) -> None:
        def refuse(what: str) -> ModelError:
            return ModelError(f"architecture: {what}")

        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise refuse(
                    f"{name} is {getattr(self, name)!r}; known are {', '.join(repr(a) for a in allowed)}"
                )
        for f in fields(self):
            value = getattr(self, f.name)
            lowest = 0 if f.name in ("se_widths", "cp_ranks") else 1
            for number in value if isinstance(value, tuple) else [value]:
                if isinstance(number, int) and not lowest <= number <= 65_536:
                    raise refuse(f"{f.name} holds {number}, outside {lowest}..65536")
        n = self.n_blocks
        if n < 1 or any(len(x) != n for x in (self.inner_widths, self.se_widths, self.cp_ranks, self.pools)):
            raise refuse("inner_widths, se_widths, cp_ranks and pools need one entry per block")
        if self.stem_kernel % 2 == 0 or self.kernel % 2 == 0:
            raise refuse("kernels must be odd")
        if any(m % self.filters_per_group for m in self.inner_widths):
            raise refuse(
                f"inner widths {self.inner_widths} are not multiples of {self.filters_per_group} per group"
            )
        if (self.residual == "concat") != (self.concat_order != ""):
            raise refuse("concat_order goes with residual concat, and only with it")
        for hidden, rank in zip(self.se_widths, self.cp_ranks, strict=True):
            if (hidden > 0) != (self.se != "none") or (rank > 0) != (self.se == "bilinear"):
                raise refuse("se_widths and cp_ranks do not go with the kind of SE gate")
        if self.se == "bilinear" and any(hidden < 2 for hidden in self.se_widths):
            raise refuse("a bilinear SE gate needs a hidden width of at least 2")
        if self.head == "scalar" and self.outputs != 1:
            raise refuse("a scalar head has one output")
        if self.head == "bases" and (self.outputs != 4 or any(pool != 1 for pool in self.pools)):
            raise refuse("a head of bases has four outputs at every position, and no block pools")
        if sum(_size(shape) for shape in self.shapes().values()) > MAX_ELEMENTS:
            raise refuse("more than 200 million elements; this is no LegNet")

    @property
    def n_blocks(self) -> int:
        return len(self.widths) - 1

    def mix_inputs(self, block: int) -> int:
        """Channels that enter the mixing convolution of a block."""
        return self.widths[block] * (2 if self.residual == "concat" else 1)

    def shapes(self) -> Shapes:
        """Name and shape of every array of a checkpoint; the names are those of `legscore.model.legnet`'s
        state."""
        shapes: Shapes = {}
        _conv_norm(shapes, "stem", (self.widths[0], self.in_channels, self.stem_kernel))
        for i in range(self.n_blocks):
            p, s, m = self.widths[i], self.widths[i + 1], self.inner_widths[i]
            at = f"blocks.{i}"
            _conv_norm(shapes, f"{at}.expand", (m, p, 1))
            _conv_norm(shapes, f"{at}.group", (m, self.filters_per_group, self.kernel))
            self._se_shapes(shapes, f"{at}.se", i)
            _conv_norm(shapes, f"{at}.project", (p, m, 1))
            _conv_norm(shapes, f"{at}.mix", (s, self.mix_inputs(i), self.kernel))
        last = self.widths[-1]
        if self.head != "scalar":
            _linear(shapes, "head.conv", (self.outputs, last, 1))
        else:
            hidden = 2 * last
            _norm(shapes, "head.norm", last)
            _linear(shapes, "head.conv", (hidden, last, 1))
            _linear(shapes, "head.hidden", (hidden, hidden))
            _norm(shapes, "head.hidden_norm", hidden)
            _linear(shapes, "head.out", (1, hidden))
        return shapes

    def _se_shapes(self, shapes: Shapes, at: str, block: int) -> None:
        hidden, inner, rank = self.se_widths[block], self.inner_widths[block], self.cp_ranks[block]
        if self.se == "none":
            return
        _linear(shapes, f"{at}.squeeze", (hidden, inner))
        if self.se == "plain":
            _linear(shapes, f"{at}.excite", (inner, hidden))
            return
        _linear(shapes, f"{at}.hidden", (hidden, hidden))
        shapes[f"{at}.bilinear.bias"] = (hidden // 2,)
        shapes[f"{at}.bilinear.weights"] = (rank,)
        shapes[f"{at}.bilinear.factor_0"] = (hidden, rank)
        shapes[f"{at}.bilinear.factor_1"] = (hidden, rank)
        shapes[f"{at}.bilinear.factor_2"] = (hidden // 2, rank)
        _linear(shapes, f"{at}.excite", (inner, hidden + hidden // 2))

    def n_parameters(self) -> int:
        """Trainable parameters (1,852,846 for the DREAM 2022 network, 2,129,602 for the optimised one)."""
        return sum(
            _size(s)
            for name, s in self.shapes().items()
            if not name.endswith(("running_mean", "running_var"))
        )

    def lengths(self, length: int) -> list[int]:
        """Length of the sequence axis in each block; ModelError when pooling leaves nothing."""
        lengths = []
        for pool in self.pools:
            lengths.append(length)
            length //= pool
        if length < 1:
            raise ModelError(
                f"architecture: pools {self.pools} leave nothing of a window of {lengths[0]} bases"
            )
        return lengths

    def multiply_adds(self, length: int) -> int:
        """Multiply-adds of convolutions and linear layers for one sequence of `length` bases."""
        shapes = self.shapes()
        lengths = self.lengths(length)
        total = 0
        for name, shape in shapes.items():
            if len(shape) == 3 and name.endswith("weight"):
                at = lengths[int(name.split(".")[1])] if name.startswith("blocks.") else length
                if name == "head.conv.weight":
                    at = lengths[-1] // self.pools[-1]
                total += _size(shape) * at
            elif len(shape) == 2:
                total += _size(shape)
        return total

    def to_json(self) -> dict[str, Any]:
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values}

    @classmethod
    def from_json(cls, data: Any) -> Architecture:
        """Read `to_json()`'s dictionary back; ModelError on anything missing, unknown or of a wrong type."""
        if not isinstance(data, dict):
            raise ModelError("architecture must be a JSON object")
        values: dict[str, Any] = {}
        known = {f.name: str(f.type) for f in fields(cls)}
        for name in data:
            if name not in known:
                raise ModelError(f"architecture has an unknown entry {name!r}")
        for name, kind in known.items():
            if name not in data:
                raise ModelError(f"architecture lacks {name!r}")
            value = data[name]
            if kind.startswith("tuple"):
                if not isinstance(value, list) or not all(type(n) is int for n in value) or len(value) > 64:
                    raise ModelError(f"architecture.{name} must be a list of at most 64 whole numbers")
                values[name] = tuple(value)
            else:
                if type(value) is not (int if kind == "int" else str):
                    raise ModelError(f"architecture.{name} is {value!r}, of the wrong type")
                values[name] = value
        return cls(**values)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _norm(shapes: Shapes, at: str, width: int) -> None:
    for part in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"{at}.{part}"] = (width,)


def _conv_norm(shapes: Shapes, at: str, shape: tuple[int, int, int]) -> None:
    shapes[f"{at}.conv.weight"] = shape
    _norm(shapes, f"{at}.norm", shape[0])


def _linear(shapes: Shapes, at: str, shape: tuple[int, ...]) -> None:
    shapes[f"{at}.weight"] = shape
    shapes[f"{at}.bias"] = (shape[0],)


def cp_rank(shape: tuple[int, ...], fraction: float = 0.5) -> int:
    """CP rank for a share of the full tensor's parameters, by TensorLy's rule (410 for 64×64×32 at 0.5)."""
    from tensorly.cp_tensor import validate_cp_rank

    return int(validate_cp_rank(shape, rank=fraction))
