"""Published checkpoint families: how to tell them apart and what they call each array.

    F1  LegNet of DREAM 2022 (class SeqNN), a bare state dict: `seqextractor.blc0.0.weight`, `trl`, `bins`
    F2  the optimised LegNet and its ablations, Lightning, prefix `model.`: `stem_block.block.0.weight`
    F3  human MPRA LegNet, Lightning, prefix `model.`: `stem.block.0.weight` with `head.3.weight`
    F5  LegNet-Generator: F1's keys without `bins`, `mapper.0.weight` of 4 outputs

F1 and F5 are also taken with the prefix and F2 without it; where a form is not the published one, what the
published code answers is asked for instead. Everything that merely looks like one of these is refused with
the keys that gave it away: relatives share module names but differ in alphabet, gate, output or meaning.
"""

from __future__ import annotations

from collections.abc import Iterable

from legscore.errors import ModelError, shorten

BLOCK_PARTS = {
    "expand.conv": "0",
    "expand.norm": "1",
    "group.conv": "3",
    "group.norm": "4",
    "se.squeeze": "6.fc.0",
    "project.conv": "7",
    "project.norm": "8",
}
BILINEAR_LEAVES = {
    "bias": "bias",
    "weights": "weight.weights",
    "factor_0": "weight.factors.factor_0",
    "factor_1": "weight.factors.factor_1",
    "factor_2": "weight.factors.factor_2",
}

OUTER_PARTS = {
    "F1": {"stem.conv": "seqextractor.blc0.0", "stem.norm": "seqextractor.blc0.1", "head.conv": "mapper.0"},
    "F2": {
        "stem.conv": "stem_block.block.0",
        "stem.norm": "stem_block.block.1",
        "head.conv": "mapper.block.0",
    },
    "F3": {
        "stem.conv": "stem.block.0",
        "stem.norm": "stem.block.1",
        "head.norm": "mapper.block.0",
        "head.conv": "mapper.block.1",
        "head.hidden": "head.0",
        "head.hidden_norm": "head.1",
        "head.out": "head.3",
    },
}
OUTER_PARTS["F5"] = OUTER_PARTS["F1"]
LIGHTNING = "model."
"""Prefix of all keys of a module that Lightning trained."""
PREFIX = {"F1": "", "F2": LIGHTNING, "F3": LIGHTNING, "F5": ""}
"""Prefix of a family's keys in its published form."""


def upstream_name(family: str, name: str, *, wrapped: bool, bilinear: bool) -> str:
    """The upstream key (without prefix) of one of legscore's array names.

    Args:
        wrapped: F2/F3: whether the block sits in a residual module (`.fn`); it does not with residual "none".
        bilinear: whether the SE gate is the bilinear one, whose last linear layer has another index.
    """
    part, leaf = name.rsplit(".", 1)
    if not part.startswith("blocks."):
        return f"{OUTER_PARTS[family][part]}.{leaf}"
    _, block, inside = part.split(".", 2)
    if family in ("F1", "F5"):
        body, mix = f"seqextractor.inv_res_blc{block}", f"seqextractor.resize_blc{block}"
    else:
        body = f"main.{block}.0.fn.block" if wrapped else f"main.{block}.0.block"
        mix = f"main.{block}.1.block"
    if inside == "mix.conv":
        return f"{mix}.0.{leaf}"
    if inside == "mix.norm":
        return f"{mix}.1.{leaf}"
    if inside == "se.bilinear":
        return f"{body}.6.fc.3.mod.trl.{BILINEAR_LEAVES[leaf]}"
    if inside == "se.hidden":
        return f"{body}.6.fc.2.{leaf}"
    if inside == "se.excite":
        return f"{body}.6.fc.{5 if bilinear else 2}.{leaf}"
    return f"{body}.{BLOCK_PARTS[inside]}.{leaf}"


def detect_family(keys: Iterable[str]) -> tuple[str, str]:
    """F1, F2, F3 or F5 from the keys of a state dict, and the prefix of all keys ("" or "model.").

    Raises:
        ModelError: a look-alike or something unknown, with the keys that gave it away.
    """
    present = set(keys)
    prefixed = {key for key in present if key.startswith(LIGHTNING)}
    if prefixed and prefixed != present:
        odd = sorted(present - prefixed)
        raise ModelError(
            f'only some keys have the prefix "model." ({shorten(odd, 3)} have not); mixed up or damaged'
        )
    prefix = LIGHTNING if prefixed else ""
    names = {key.removeprefix(LIGHTNING) for key in present}

    def has(*beginnings: str) -> list[str]:
        return sorted(name for name in names if name.startswith(beginnings))

    if found := has("first.block", "core.seqextractor", "final.mapper", "final.bins"):
        raise _refusal(
            "the Prix Fixe (DREAM) re-implementation, F4", found, "its SE gate and head differ from LegNet's"
        )
    if found := has("pwmlike_layer"):
        raise _refusal("mex_legnet, F7", found, "its output is a classifier's logit, not expression")
    if has("seqextractor."):
        if found := has("linear."):
            raise _refusal("PARADE, F8", found, "it reads untranslated regions with another alphabet")
        if not any(".mod.trl.weight" in name for name in names):
            raise _refusal(
                "a relative of F1", has("seqextractor.inv_res_blc0.6"), "it has no bilinear SE gate"
            )
        return "F1" if "bins" in names else "F5", prefix
    if "stem_block.block.0.weight" in names:
        return "F2", prefix
    if "stem.block.0.weight" not in names or "head.3.weight" not in names:
        raise ModelError(f"is no LegNet checkpoint known here; its keys begin {shorten(sorted(present), 4)}")
    if not prefixed:
        raise _refusal(
            'F3 without its "model." prefix',
            has("stem"),
            "third-party copies (F6) read ACGT and keep their own rules",
        )
    return "F3", prefix


def _refusal(what: str, keys: list[str], why: str) -> ModelError:
    return ModelError(
        f"looks like {what} (keys {shorten(keys, 3)}): {why}; legscore imports F1, F2, F3 and F5 only"
    )
