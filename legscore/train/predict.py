"""Scores of windows while training: validation, test sets, ablations. Scoring for users is `legscore run`."""

from __future__ import annotations

import numpy as np
import torch

from legscore.dna.contract import Contract
from legscore.model.legnet import LegNet
from legscore.system.rank_order import correlation, ranks
from legscore.train.inputs import encode

BATCH = 1024


def predict(
    network: LegNet,
    codes_NL: np.ndarray,
    contract: Contract,
    device: torch.device,
    dtype: torch.dtype,
    *,
    both: bool,
) -> np.ndarray:
    """Scores float64 [N] of windows uint8 [N, L]: forward strand, or with `both` the mean of both;
    is_singleton 0."""
    network.eval()
    scores = []
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        for start in range(0, len(codes_NL), BATCH):
            codes = torch.from_numpy(np.ascontiguousarray(codes_NL[start : start + BATCH])).to(device)
            off = torch.zeros(len(codes), dtype=torch.bool, device=device)
            flags = (off, ~off) if both else (off,)
            strands = [network(encode(codes, reverse, off, contract)).float() for reverse in flags]
            scores.append(torch.stack(strands).mean(dim=0).cpu().numpy())
    return np.concatenate(scores).astype(np.float64)


def correlations(predicted_N: np.ndarray, measured_N: np.ndarray) -> tuple[float, float]:
    """Pearson and Spearman (ties averaged)."""
    measured = measured_N.astype(np.float64)
    return correlation(predicted_N, measured), correlation(ranks(predicted_N), ranks(measured))
