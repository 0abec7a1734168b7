"""Published PyTorch files → checkpoint files: one into one, several or a folder into a folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from legscore.dna.contract import ORIGIN
from legscore.errors import ModelError
from legscore.model.checkpoint import Checkpoint
from legscore.model.import_set import Found, find_set, import_members
from legscore.model.importers import import_checkpoint
from legscore.system.overwrite import check_files, check_outputs
from legscore.system.publish import sync_folder, writing

CONSTRUCT = ("length", "flank5", "flank3", "adapter5", "adapter3", "insert_min", "insert_max")


@dataclass(frozen=True)
class Imported:
    """A file that was written, and the member of a set that it was (None for a single file)."""

    path: Path
    member: Found | None = None


def import_files(
    files: Sequence[str],
    output: str,
    *,
    config: str | None = None,
    pool_sizes: str | Sequence[int] | None = None,
    note: str | None = None,
    force: bool = False,
    **given: Any,
) -> list[Imported]:
    """Convert and write: all files, or none.

    Args:
        files: a PyTorch file; or several, or a folder of them.
        output: a checkpoint (*.safetensors), or the folder that a set becomes.
        config: upstream's own config; those beside the files when None.
        pool_sizes: max-pooling after each block, numbers or text with commas.
        note: a sentence about the models, shown whenever they are used.
        force: replace what is there already.
        given: answers as `import_checkpoint` takes them; parts of construct and origin by their own names.

    Returns:
        What was written, a set in the order of its names.

    Raises:
        ModelError: as `import_checkpoint`; members of a set whose contracts differ.
        OutputError: the output is there already, or is an input.
    """
    options = import_answers(pool_sizes, given)
    if len(files) > 1 or Path(files[0]).is_dir():
        return _import_set(files, Path(output), config, options, note, force)
    target = Path(output)
    if target.suffix != ".safetensors":
        raise ModelError(f"{output}: a checkpoint's name ends in .safetensors")
    check_files({"-o": output}, [*files, config], force=force)
    checkpoint = _noted(import_checkpoint(files[0], config=config, **options), note)
    checkpoint.save(target)
    return [Imported(target)]


def import_answers(pool_sizes: str | Sequence[int] | None, given: dict[str, Any]) -> dict[str, Any]:
    """What `import_checkpoint` takes."""
    construct = {key: value for key in CONSTRUCT if (value := given.pop(key, None)) is not None}
    origin = {name: value for name in ORIGIN if (value := given.pop(name, None)) is not None}
    pools = None
    if pool_sizes is not None:
        sizes = pool_sizes.split(",") if isinstance(pool_sizes, str) else pool_sizes
        try:
            pools = tuple(int(size) for size in sizes)
        except (TypeError, ValueError):
            raise ModelError(
                f"--pool-sizes {pool_sizes}: whole numbers with commas, such as 2,2,2,2"
            ) from None
    return {**given, "construct": construct, "origin": origin, "pools": pools}


def _import_set(
    files: Sequence[str],
    folder: Path,
    config: str | None,
    options: dict[str, Any],
    note: str | None,
    force: bool,
) -> list[Imported]:
    """Convert a set into a folder aside, on the disk that it is for; move it when all of it is there."""
    if folder.suffix == ".safetensors":
        raise ModelError(f"{folder}: a folder or several files go into a folder; give -o FOLDER/")
    found = find_set(files, config)
    targets = [folder / f"{member.name}.safetensors" for member in found]
    configs = {member.config for member in found if member.config}
    check_outputs({"-o": targets}, [*files, *(member.path for member in found), *configs], force=force)
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    with contextlib.ExitStack() as stack:
        with writing(folder):
            aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".legscore-", dir=there)))
        for target, checkpoint in zip(targets, import_members(found, **options), strict=True):
            _noted(checkpoint, note).save(aside / target.name)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for target in targets:
                os.replace(aside / target.name, target)
            sync_folder(folder)
    return [Imported(target, member) for target, member in zip(targets, found, strict=True)]


def _noted(checkpoint: Checkpoint, note: str | None) -> Checkpoint:
    return replace(checkpoint, training={**checkpoint.training, "note": note}) if note else checkpoint
