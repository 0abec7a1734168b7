"""Published models: `legscore import` as a function."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from legscore.api.calls import Paths, listed, text_of
from legscore.errors import InputError
from legscore.run.python_words import speaks_python


@speaks_python
def import_model(
    files: Paths,
    output: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | None = None,
    entry: str | None = None,
    final_activation: str | None = None,
    concat_order: str | None = None,
    fifth_channel: str | None = None,
    alphabet: str | None = None,
    n_value: float | None = None,
    pool_sizes: Sequence[int] | None = None,
    rc_trained: bool | None = None,
    floor: float | None = None,
    unit: str | None = None,
    organism: str | None = None,
    medium: str | None = None,
    assay: str | None = None,
    flank5: str | None = None,
    flank3: str | None = None,
    adapter5: str | None = None,
    adapter3: str | None = None,
    length: int | None = None,
    insert_min: int | None = None,
    insert_max: int | None = None,
    note: str | None = None,
    force: bool = False,
) -> list[Path]:
    """Convert published PyTorch checkpoints: `legscore import` as a function (needs `legscore[train]`).

    Reads the DREAM 2022 LegNet, the optimised LegNet and its ablations, the human MPRA LegNet and the
    LegNet-Generator, also inside what training scripts wrap around them. What tensors do not show is asked
    for, never guessed: the error names the argument.

    Args:
        files: a PyTorch file (.pth, .pt, .ckpt); or several, or a folder of them, which become a folder.
        output: checkpoint to write (*.safetensors), or the folder.
        config: upstream's own config: params.json or config.json; those beside the files when None.
        entry: which entry of the file holds the network, such as `ema`.
        final_activation: between the head's 1×1 convolution and the mean: `silu` or `none`.
        concat_order: which half of the residual concatenation comes first: `fx,x` or `x,fx`.
        fifth_channel: meaning of the fifth of five input channels: `is_reverse` or `is_singleton`.
        alphabet: order of the base channels: AGCT in the published code, ACGT in some re-trained copies.
        n_value: what base channels hold at an N: 0.25 or 0.
        pool_sizes: max-pooling after each block (human_legnet).
        rc_trained: whether training saw both strands.
        floor: prediction floor, kept in the contract (complex medium about 4, defined about 2.5).
        unit: what the score is, when it is not the published assay's.
        organism: species that was measured, when it is not the published assay's.
        medium: what its cells grew in, or the cell line.
        assay: the experiment, when it is not the published one.
        flank5: fixed DNA before the insert, when it is not the published construct's.
        flank3: fixed DNA after the insert.
        adapter5: the end of flank5 that an oligo carries.
        adapter3: the start of flank3 that an oligo carries.
        length: bases of the window the model reads.
        insert_min: shortest insert.
        insert_max: longest insert.
        note: a sentence about the model, shown whenever it is used.
        force: replace what is there already.

    Returns:
        The files written, in order.

    Raises:
        ModelError: unreadable, unsafe, unknown or look-alike files; open questions, with the arguments that
            answer them.
        OutputError: the output is there already, or is an input.
    """
    given = {name: value for name, value in locals().items() if name not in ("files", "output", "config")}
    from legscore.model.import_files import import_files

    paths = listed(files)
    if not paths:
        raise InputError("files is empty (a pattern that matched nothing?); name checkpoints or a folder")
    done = import_files(paths, os.fspath(output), config=text_of(config), **given)
    return [one.path for one in done]
