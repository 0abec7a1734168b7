"""Whether a generator and predictors belong together: the same construct, length of insert and unit, and the
same organism, medium and assay where these are known."""

from __future__ import annotations

from legscore.dna.contract import ORIGIN, Contract


def unfit(generator: Contract, predictor: Contract) -> str:
    """Why a predictor cannot score the inserts of a generator, or an empty string."""
    if predictor.is_generator:
        return "is a generator; a predictor is needed"
    if not predictor.insert_min <= generator.length <= predictor.insert_max:
        takes = f"{predictor.insert_min}-{predictor.insert_max}"
        return f"it reads inserts of {takes} bases, the generator makes {generator.length}"
    for name in ("flank3", "adapter5", "adapter3"):
        mine, theirs = getattr(generator, name), getattr(predictor, name)
        if mine != theirs:
            return f"its construct is another: {name} is {theirs!r}, the generator's {mine!r}"
    needed = predictor.length - generator.length - len(predictor.flank3)
    if needed > 0 and generator.flank5[-needed:] != predictor.flank5[-needed:]:
        return (
            f"its construct is another: flank5 ends {predictor.flank5[-20:]!r}, the generator's "
            f"{generator.flank5[-20:]!r}"
        )
    if predictor.output.unit != generator.output.unit:
        return f"its scores are {predictor.output.unit!r}, the generator's targets {generator.output.unit!r}"
    for name in ORIGIN:
        mine, theirs = getattr(generator, name), getattr(predictor, name)
        if mine and theirs and mine != theirs:
            return f"its {name} is {theirs}, the generator's {mine}"
    return ""
