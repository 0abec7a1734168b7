"""How close an engine is to FP32, measured when it is built and carried with it.

2,048 random windows and 2,048 single-base changes in all (at least 64 + 64 for each member; seeded; forward
strand) are scored by the engine and by the OpenVINO FP32 engine on the rewritten form of the graph, whatever
form the CPU is given. Rank correlation of effects is the number to watch: it fails long before the scores do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.dna.contract import Contract
from legscore.errors import OutputError
from legscore.model.gpu_form import FP16_MAX
from legscore.system.caches import locked, private
from legscore.system.log import Say
from legscore.system.publish import publishing, writing
from legscore.system.rank_order import correlation, ranks

TOTAL = 2048
TOTAL_FP32 = 256
"""FP32 on another engine: errors are rounding, about 1e-6, which few windows show as well."""
LEAST = 64
SEED = 20230420
ROUNDING = 1 + 1e-9
"""What rounding may make of a correlation of 1, and of a mean error against the largest."""


@dataclass(frozen=True)
class Fidelity:
    """Agreement with FP32: errors in score units, correlations over the windows and changes measured."""

    reference: str
    windows: int
    changes: int
    score_max_error: float
    score_rmse: float
    score_pearson: float
    effect_spearman: float

    def __str__(self) -> str:
        return (
            f"score RMSE {self.score_rmse:.2g}, max {self.score_max_error:.2g}, Pearson "
            f"{self.score_pearson:.6f}, "
            f"effect Spearman {self.effect_spearman:.5f} against {self.reference}"
        )

    def shortfall(self, minimum: dict[str, Any]) -> str:
        """What falls below a recipe's threshold, or an empty string; NaN (constant predictions) falls
        short."""
        for name, measured in (
            ("score_pearson", self.score_pearson),
            ("effect_spearman", self.effect_spearman),
        ):
            if not measured >= minimum[f"{name}_min"]:
                return f"{name.replace('_', ' ')} {measured:.5f} is below {minimum[f'{name}_min']}"
        return ""


@dataclass(frozen=True)
class HalfFidelity(Fidelity):
    """Of an engine in FP16: also the largest absolute activation of any member on sequences that drive it
    hard (`legscore.model.headroom`)."""

    largest_activation: float

    def __str__(self) -> str:
        return f"{super().__str__()}; activations to {self.largest_activation:,.0f} of {FP16_MAX:,.0f}"

    def shortfall(self, minimum: dict[str, Any]) -> str:
        from legscore.model import headroom  # brings graphs, which not every run needs

        return headroom.shortfall([self.largest_activation]) or super().shortfall(minimum)


def probe(contract: Contract, n: int, member: int) -> Batch:
    """n windows around random inserts and one single-base change of each."""
    rng = np.random.default_rng([SEED, member])
    width = contract.insert_max
    end = contract.length - len(contract.flank3)
    codes = np.empty((n, contract.length), dtype=np.uint8)
    codes[:] = encode_text((contract.flank5 + "A" * width + contract.flank3)[-contract.length :])
    codes[:, end - width : end] = rng.integers(0, 4, (n, width), dtype=np.uint8)
    offset = rng.integers(end - width, end, n)
    present = codes[np.arange(n), offset]
    base = (present + rng.integers(1, 4, n, dtype=np.uint8)) % 4
    return Batch(codes, np.arange(n, dtype=np.int32), offset.astype(np.int16), base.astype(np.uint8))


def per_member(n_members: int, precision: str) -> int:
    """Windows measured for each member."""
    return max(LEAST, -(-(TOTAL_FP32 if precision == "fp32" else TOTAL) // n_members))


def compare(score_pairs: list[tuple[np.ndarray, np.ndarray]], reference: str) -> Fidelity:
    """Fidelity from (engine, FP32) scores of each member's probe: n windows, then their n changes."""
    ours, theirs = (np.stack([pair[i] for pair in score_pairs]).astype(np.float64) for i in (0, 1))
    half = ours.shape[1] // 2
    error = ours - theirs
    effects = [(s[:, half:] - s[:, :half]).ravel() for s in (ours, theirs)]
    return Fidelity(
        reference=reference,
        windows=ours[:, :half].size,
        changes=ours[:, half:].size,
        score_max_error=float(np.abs(error).max()),
        score_rmse=float(np.sqrt((error**2).mean())),
        score_pearson=correlation(ours.ravel(), theirs.ravel()),
        effect_spearman=correlation(ranks(effects[0]), ranks(effects[1])),
    )


def record_path(cache: Path, key: dict[str, Any]) -> Path:
    """File of a cached record; `key` holds everything the compiled engine depends on."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache / f"{digest[:32]}.json"


def load_record(
    path: Path, key: dict[str, Any], damaged: Callable[[], object] = lambda: None
) -> Fidelity | None:
    """The cached record; None where there is none, or it is damaged, in which case `damaged` is called."""
    try:
        text = path.read_text()
    except OSError:
        return None
    except ValueError:  # no UTF-8
        damaged()
        return None
    try:
        data = json.loads(text)
        kind = HalfFidelity if "largest_activation" in data["fidelity"] else Fidelity
        found = kind(**data["fidelity"])
        fits = (
            data["key"] == key
            and data["sha256"] == _checksum(data["key"], data["fidelity"])
            and _is_possible(found)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        fits = False
    if not fits:
        damaged()
        return None
    return found


def _checksum(key: Any, fidelity: Any) -> str:
    return hashlib.sha256(json.dumps([key, fidelity], sort_keys=True).encode()).hexdigest()


def _is_possible(found: Fidelity) -> bool:
    """Whether every figure is of its type and within what `compare` can give; NaN is no correlation at
    all."""
    errors = (found.score_max_error, found.score_rmse)
    correlations = (found.score_pearson, found.effect_spearman)
    if isinstance(found, HalfFidelity) and type(found.largest_activation) is not float:
        return False
    return (
        isinstance(found.reference, str)
        and all(type(n) is int and n > 0 for n in (found.windows, found.changes))
        and all(type(n) is float for n in (*errors, *correlations))
        and 0 <= found.score_rmse <= found.score_max_error * ROUNDING < math.inf
        and all(math.isnan(r) or -ROUNDING <= r <= ROUNDING for r in correlations)
    )


def save_record(path: Path, key: dict[str, Any], fidelity: Fidelity) -> None:
    """Keep a record, in a private folder. OutputError when that cannot be."""
    private(path.parent)
    with publishing(path) as temporary, writing(path):
        record = {"key": key, "fidelity": asdict(fidelity)}
        temporary.write_text(json.dumps({**record, "sha256": _checksum(*record.values())}, indent=1))


def remembered(
    path: Path, key: dict[str, Any], measure: Callable[[], Fidelity], say: Say
) -> tuple[Fidelity, bool]:
    """The record of a key, read or measured, and whether it was read. Of several processes one measures.

    Args:
        measure: measures it, which takes time.
        say: told of a damaged record, another process that is measuring, a folder that cannot be written.
    """
    with contextlib.ExitStack() as stack:
        found = None
        try:
            private(path.parent)
            found = load_record(path, key)
            if found is None:
                stack.enter_context(
                    locked(path, lambda: say("fidelity: another process is measuring it; waiting"))
                )
                found = load_record(
                    path, key, lambda: say(f"fidelity: the record {path.name} is damaged; measuring again")
                )
        except OutputError as error:
            say(f"fidelity: not remembered ({error})")
            return measure(), False
        if found is not None:
            return found, True
        found = measure()
        try:
            save_record(path, key, found)
        except OutputError as error:
            say(f"fidelity: not remembered ({error})")
        return found, False
