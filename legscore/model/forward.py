"""The network in numpy, written as it is published: what scores are verified with.

Nothing is shared with the engines: neither the graph and its rewrites, nor OpenVINO, nor the encoding of
sequences, nor a compiled network. A window of both strands takes some 25 ms of one core, which is too slow
for scoring and needs no building. The matrix library is held to one thread meanwhile: beside an engine that
uses every core its threads would wait for each other.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from legscore.dna.contract import BASES, N_CODE, Contract
from legscore.model.checkpoint import Checkpoint

EPSILON = np.float32(1e-5)
"""Of every BatchNorm."""
AT_ONCE = 2
"""Windows computed together: some 10 MB, which stay in cache."""
_one_at_a_time = threading.Lock()
"""The number of the matrix library's threads is the process's."""


class Forward:
    """One checkpoint's forward pass, float32. Arrays are the checkpoint's own."""

    def __init__(self, checkpoint: Checkpoint, *, both_strands: bool, is_singleton: bool) -> None:
        """
        Args:
            both_strands: average the two strands of a window.
            is_singleton: value of the is_singleton channel, where the model has one.
        """
        self.architecture, self.contract = checkpoint.architecture, checkpoint.contract
        self.arrays: Mapping[str, np.ndarray] = dict(checkpoint.arrays)
        self.both_strands, self.is_singleton = both_strands, is_singleton

    def score(self, codes_NL: np.ndarray, threads: int = 1) -> np.ndarray:
        """Scores of windows, uint8 [windows, length] → float32 [windows]."""
        pieces = [codes_NL[start : start + AT_ONCE] for start in range(0, len(codes_NL), AT_ONCE)]
        with one_matrix_thread():
            if min(threads, len(pieces)) > 1:
                with ThreadPoolExecutor(threads, thread_name_prefix="legscore-verify") as pool:
                    scores = list(pool.map(self._score, pieces))
            else:
                scores = list(map(self._score, pieces))
        return np.concatenate(scores) if scores else np.empty(0, np.float32)

    def _score(self, codes_NL: np.ndarray) -> np.ndarray:
        scores_N = self._score_strand(codes_NL, reverse=False)
        if not self.both_strands:
            return scores_N
        return (scores_N + self._score_strand(codes_NL, reverse=True)) * np.float32(0.5)

    def _score_strand(self, codes_NL: np.ndarray, *, reverse: bool) -> np.ndarray:
        x_CNL = channels(codes_NL, self.contract, reverse=reverse, is_singleton=self.is_singleton)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is compared, not warned of
            x_CNL = self._conv_norm(x_CNL, "stem")
            for block in range(self.architecture.n_blocks):
                x_CNL = self._block(x_CNL, block)
            return self._head(x_CNL)

    def _block(self, x_CNL: np.ndarray, block: int) -> np.ndarray:
        a, at = self.architecture, f"blocks.{block}"
        f_CNL = self._conv_norm(x_CNL, f"{at}.expand")
        f_CNL = self._conv_norm(f_CNL, f"{at}.group", groups=len(f_CNL) // a.filters_per_group)
        if a.se != "none":
            f_CNL = f_CNL * self._gate(f_CNL.mean(axis=2), f"{at}.se")[:, :, None]
        f_CNL = self._conv_norm(f_CNL, f"{at}.project")
        if a.residual == "concat":
            x_CNL = np.concatenate([x_CNL, f_CNL] if a.concat_order == "x,fx" else [f_CNL, x_CNL])
        else:
            x_CNL = x_CNL + f_CNL if a.residual == "add" else f_CNL
        x_CNL = self._conv_norm(x_CNL, f"{at}.mix")
        pool = a.pools[block]
        kept = x_CNL.shape[2] // pool * pool
        return x_CNL[:, :, :kept].reshape(*x_CNL.shape[:2], -1, pool).max(axis=3)

    def _gate(self, mean_CN: np.ndarray, at: str) -> np.ndarray:
        """Squeeze-and-excitation: the share of each channel that passes, [channels, N]."""
        y_CN = silu(self._linear(mean_CN, f"{at}.squeeze"))
        if self.architecture.se == "bilinear":
            y_CN = self._linear(y_CN, f"{at}.hidden")
            factors = [self.arrays[f"{at}.bilinear.factor_{i}"] for i in range(3)]
            pairs_RN = (factors[0].T @ y_CN) * (factors[1].T @ y_CN)
            pairs_RN *= self.arrays[f"{at}.bilinear.weights"][:, None]
            products_CN = factors[2] @ pairs_RN + self.arrays[f"{at}.bilinear.bias"][:, None]
            y_CN = silu(np.concatenate([y_CN, products_CN]))
        return sigmoid(self._linear(y_CN, f"{at}.excite"))

    def _head(self, x_CNL: np.ndarray) -> np.ndarray:
        a = self.architecture
        if a.head == "scalar":
            x_CNL = self._norm(x_CNL, "head.norm")
        x_CNL = (
            convolve(x_CNL, self.arrays["head.conv.weight"]) + self.arrays["head.conv.bias"][:, None, None]
        )
        y_CN = (silu(x_CNL) if a.final_activation == "silu" else x_CNL).mean(axis=2)
        if a.head == "scalar":
            y_CN = silu(self._norm(self._linear(y_CN, "head.hidden"), "head.hidden_norm"))
            return np.asarray(self._linear(y_CN, "head.out")[0])
        weights_CN = np.exp(y_CN - y_CN.max(axis=0))
        bins_C = np.arange(a.outputs, dtype=np.float32)
        return np.asarray(bins_C @ (weights_CN / weights_CN.sum(axis=0)))

    def _conv_norm(self, x_CNL: np.ndarray, at: str, groups: int = 1) -> np.ndarray:
        """Convolution without bias, BatchNorm, SiLU."""
        return silu(self._norm(convolve(x_CNL, self.arrays[f"{at}.conv.weight"], groups), f"{at}.norm"))

    def _norm(self, x: np.ndarray, at: str) -> np.ndarray:
        """BatchNorm over the first axis with the statistics of training, in place."""
        shape = (-1,) + (1,) * (x.ndim - 1)
        leaves = ("weight", "bias", "running_mean", "running_var")
        weight, bias, mean, variance = (self.arrays[f"{at}.{leaf}"].reshape(shape) for leaf in leaves)
        x -= mean
        x *= weight / np.sqrt(variance + EPSILON)
        x += bias
        return x

    def _linear(self, x_CN: np.ndarray, at: str) -> np.ndarray:
        return np.asarray(self.arrays[f"{at}.weight"] @ x_CN + self.arrays[f"{at}.bias"][:, None])


@contextlib.contextmanager
def one_matrix_thread() -> Iterator[None]:
    """Within, numpy's matrix products use one thread."""
    from threadpoolctl import ThreadpoolController

    with _one_at_a_time, ThreadpoolController().limit(limits=1, user_api="blas"):
        yield


def take_matrix_buffer() -> None:
    """Let the matrix library take its working memory now: it does not survive being refused it later."""
    square = np.ones((256, 256), np.float32)
    with one_matrix_thread():
        np.matmul(square, square)


def channels(codes_NL: np.ndarray, contract: Contract, *, reverse: bool, is_singleton: bool) -> np.ndarray:
    """What a network reads of windows, in its own order of channels: uint8 [N, L] → float32 [channels, N, L].

    Args:
        reverse: read the other strand.
    """
    x_CNL = np.zeros((len(contract.channels), *codes_NL.shape), np.float32)
    for row_NL, name in zip(x_CNL, contract.channels, strict=True):
        if name in BASES:
            row_NL[codes_NL == BASES.index(name)] = 1.0
            row_NL[codes_NL == N_CODE] = contract.n_value
        else:
            row_NL[:] = {"is_reverse": reverse, "is_singleton": is_singleton}[name]
    if not reverse:
        return x_CNL
    other = {"A": "T", "C": "G", "G": "C", "T": "A"}
    order = [contract.channels.index(other.get(name, name)) for name in contract.channels]
    return x_CNL[order, :, ::-1]


def convolve(x_CNL: np.ndarray, weight_OIK: np.ndarray, groups: int = 1) -> np.ndarray:
    """Convolution over the length, zeros beyond both ends: [inputs, N, L] → [outputs, N, L]."""
    outputs, inputs, taps = weight_OIK.shape
    n_channels, n, length = x_CNL.shape
    columns_CKNL = np.zeros((n_channels, taps, n, length), np.float32)
    for tap in range(taps):
        shift = tap - taps // 2
        to, of = slice(max(0, -shift), length - max(0, shift)), slice(max(0, shift), length + min(0, shift))
        columns_CKNL[:, tap, :, to] = x_CNL[:, :, of]
    columns = columns_CKNL.reshape(groups, inputs * taps, n * length)
    weights = weight_OIK.reshape(groups, outputs // groups, inputs * taps)
    return np.matmul(weights, columns).reshape(outputs, n, length)


def sigmoid(x: np.ndarray) -> np.ndarray:
    y = np.negative(x)
    np.exp(y, out=y)
    y += 1
    return np.asarray(np.reciprocal(y, out=y))


def silu(x: np.ndarray) -> np.ndarray:
    y = sigmoid(x)
    y *= x
    return y
