"""Whole sets of published checkpoints: a folder or several files at once, each with the config beside it.

A set's members are named after their files, or after their folders where those tell them apart (the published
human set has a folder for each of its 90 networks). Names such as `model_3_7` and `best_model_test7_val3` say
which folds a network did not see; they go into its training record, so that `--out-of-fold` can be used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from legscore.errors import ModelError
from legscore.model.checkpoint import MAX_MEMBERS, Checkpoint
from legscore.model.importers import import_checkpoint
from legscore.model.model_library import PYTORCH_ENDINGS
from legscore.model.upstream_config import CONFIGS, is_upstream_config
from legscore.system.overwrite import named_twice

FOLDS = (
    re.compile(r"model_(?P<valid>\d+)_(?P<test>\d+)"),
    re.compile(r"test_?(?P<test>\d+)_?val(id)?_?(?P<valid>\d+)"),
)
"""How human_legnet names folders, and files of the published notebook, by validation and test fold."""
FOLD_RULE = {"by": "fold", "column": "fold_num"}
"""Where those folds stand in the published tables."""


@dataclass(frozen=True)
class Found:
    """A file of a set: the member's name, its config (None without one), the folds it did not see."""

    path: Path
    name: str
    config: Path | None
    folds: tuple[int, ...]


def find_set(paths: Sequence[str | Path], config: str | Path | None = None) -> list[Found]:
    """The files of a set, in the order of their names.

    Args:
        paths: files and folders; folders are searched to their ends, hidden ones left out.
        config: one config for all, instead of those beside them.

    Raises:
        ModelError: no such file, nothing in a folder, a file named twice, two files of one name, more than
            an ensemble holds.
    """
    files: list[tuple[Path, Path]] = []
    for given in map(Path, paths):
        if not given.is_dir():
            files.append((given, given.parent))
            continue
        inside = sorted(_checkpoints(given))
        if not inside:
            raise ModelError(f"{given}: no {', '.join(PYTORCH_ENDINGS)} in it")
        files += [(path, given) for path in inside]
    if twice := named_twice(path for path, _ in files):
        raise ModelError(f"{twice} is named twice: the same weights would be two members; name it once")
    if len(files) > MAX_MEMBERS:
        raise ModelError(f"{len(files)} files; an ensemble has at most {MAX_MEMBERS}")
    names = _names([path for path, _ in files])
    found = [
        Found(path, name, Path(config) if config else _config(path, root), folds_of(name))
        for (path, root), name in zip(files, names, strict=True)
    ]
    return sorted(found, key=lambda member: member.name)


def import_members(found: Sequence[Found], **options: Any) -> Iterator[Checkpoint]:
    """Convert the files one after another.

    Args:
        options: as for `import_checkpoint`, but for `config`.

    Yields:
        The checkpoint of each, not yet written.

    Raises:
        ModelError: as `import_checkpoint`; members whose contracts differ, which no ensemble could hold.
    """
    first: tuple[Path, Checkpoint] | None = None
    for member in found:
        checkpoint = import_checkpoint(member.path, config=member.config, **options)
        if member.folds:
            training = checkpoint.training | {"folds_held_out": list(member.folds), "folds": FOLD_RULE}
            checkpoint = replace(checkpoint, training=training)
        first = first or (member.path, checkpoint)
        if checkpoint.contract != first[1].contract:
            raise ModelError(
                f"{member.path}: its contract ({checkpoint.contract.describe()}) is not that of {first[0]} "
                f"({first[1].contract.describe()}); import them into sets of their own"
            )
        yield checkpoint


def folds_of(name: str) -> tuple[int, ...]:
    """Validation and test fold that a published name tells; () where it tells none."""
    for pattern in FOLDS:
        if found := pattern.search(name):
            return (int(found["valid"]), int(found["test"]))
    return ()


def _checkpoints(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        if (
            path.suffix in PYTORCH_ENDINGS
            and path.is_file()
            and not any(part.startswith(".") for part in inside)
        ):
            yield path


def _config(path: Path, root: Path) -> Path | None:
    """The config nearest to a file, in its folder or above it up to `root`; another program's is none."""
    for folder in (path.parent, *path.parent.parents):
        for name in CONFIGS:
            if (folder / name).is_file() and is_upstream_config(folder / name):
                return folder / name
        if folder == root:
            break
    return None


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its own, or its folder's where several folders hold files of one name, or the
    folders name the folds."""
    stems = [path.stem for path in paths]
    folders = [path.parent.name for path in paths]
    use_folders = len(set(folders)) == len(paths) > 1 and (
        len(set(stems)) < len(paths) or all(folds_of(name) for name in folders)
    )
    names = folders if use_folders else stems
    for name in names:
        if names.count(name) > 1:
            twins = [path for path, other in zip(paths, names, strict=True) if other == name]
            both = f"{twins[0]} and {twins[1]} would both become {name}.safetensors"
            if beside := [path.name for path in paths if path.parent == twins[0].parent and path != twins[0]]:
                raise ModelError(
                    f"{both}. {beside[0]} lies beside the first: name the file of each folder that is to be "
                    "a member, such as K562/*/pearson*.ckpt, with --config where it lies elsewhere"
                )
            raise ModelError(f"{both}; rename one")
    return names
