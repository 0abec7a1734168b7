"""Labels that other distillations of the same models have kept: no window is labelled twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legscore.distill.labels import PLAN, Labels, read_plan
from legscore.dna.codes import unique_rows
from legscore.errors import LegscoreError
from legscore.system.json_records import difference

SAME = ("models", "engine")
"""What the scores of a window depend on, of what a plan says."""


class KeptLabels:
    """Folders that `keep_labels` left, `STUDENT.safetensors.distill`. They are read, never written."""

    def __init__(self, folders: Sequence[str], plan: Mapping[str, Any], into: Path) -> None:
        """
        Args:
            plan: what the labels that are wanted depend on. into: the folder where they will lie.

        Raises:
            LegscoreError: a folder holds no labels, or those of other models or of another engine.
        """
        self.folders = [Path(folder) for folder in folders]
        for folder in self.folders:
            if folder.resolve() == into.resolve():
                raise LegscoreError(f"--labels-from {folder}: this distillation's own labels are used anyway")
            try:
                before = read_plan(folder)
            except LegscoreError as error:
                raise LegscoreError(f"--labels-from {folder}: {error}") from None
            if before is None:
                raise LegscoreError(f"--labels-from {folder}: no labels are kept there ({PLAN} is not there)")
            was, wanted = ({key: one.get(key) for key in SAME} for one in (before, plan))
            if found := difference(was, wanted, words=("are", "would be")):
                raise LegscoreError(
                    f"--labels-from {folder}: its labels are of other models or another engine ({found})"
                )

    def find(self, kind: str, inserts_NL: np.ndarray, members: int) -> tuple[np.ndarray, np.ndarray]:
        """What is known of these windows: bool [N], and the scores of those, float32 [members, N]."""
        known_N = np.zeros(len(inserts_NL), dtype=bool)
        scores_MN = np.zeros((members, len(inserts_NL)), dtype=np.float32)
        for folder in self.folders:
            labels = Labels(folder)
            windows_KL = labels.windows(kind)
            if windows_KL is None or windows_KL.shape[1] != inserts_NL.shape[1]:
                continue
            kept_K = np.zeros(len(windows_KL), dtype=bool)
            kept_MK = np.zeros((members, len(windows_KL)), dtype=np.float32)
            for rows, piece in labels.pieces(kind, members, len(windows_KL)):
                kept_K[rows], kept_MK[:, rows] = True, piece
            n_kept = np.count_nonzero(kept_K)
            first, inverse = unique_rows(np.concatenate([windows_KL[kept_K], inserts_NL]))
            at_N = first[inverse[n_kept:]]  # where each window first appears: among the kept, or itself
            new_N = (at_N < n_kept) & ~known_N
            scores_MN[:, new_N] = kept_MK[:, kept_K][:, at_N[new_N]]
            known_N |= new_N
        return known_N, scores_MN
