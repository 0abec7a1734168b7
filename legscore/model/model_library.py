"""This user's models folder: each pulled model is a folder with a checkpoint and the record of its pull."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from legscore.errors import InputError
from legscore.system.checksum import sha256_of
from legscore.system.publish import sync_folder, writing

RECORD = "pulled.json"
STORED = ".safetensors"
PYTORCH_ENDINGS = (".pth", ".pt", ".ckpt")
"""How the names of files that legscore import reads end."""
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def models_folder() -> Path:
    """Where pulled models lie; LEGSCORE_MODELS moves it. Nothing is created here."""
    from platformdirs import user_data_dir

    asked = os.environ.get("LEGSCORE_MODELS")
    return Path(asked) if asked else Path(user_data_dir("legscore", appauthor=False)) / "models"


def check_model_name(name: str) -> str:
    """The name. InputError where it could be a path, hidden, or mistaken for a checkpoint."""
    if not MODEL_NAME.fullmatch(name) or name.lower().endswith((STORED, *PYTORCH_ENDINGS)):
        raise InputError(
            f"{name!r} is no name for a model, which has letters, digits, '.', '_' and '-', at most 64, the "
            "first a letter or digit; --as gives another"
        )
    return name


def pulled_folder(name: str) -> Path | None:
    """Folder of a pulled model; None where there is none of that name."""
    if not MODEL_NAME.fullmatch(name):
        return None
    folder = models_folder() / name
    return folder if (folder / RECORD).is_file() else None


def pulled_names() -> list[str]:
    """Names of all pulled models, sorted."""
    try:
        there = sorted(entry.name for entry in models_folder().iterdir())
    except OSError:  # nothing was pulled yet
        return []
    return [name for name in there if pulled_folder(name)]


def record_of_pull(folder: Path) -> dict[str, Any]:
    """What was kept about a pull: url, sha256, bytes, date; empty where it cannot be read."""
    try:
        found = json.loads((folder / RECORD).read_bytes()[: 1 << 20])
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def tidy(folder: Path) -> None:
    """Take away what a pull that was killed left beside `folder`, and put back what it was replacing. Only
    for who holds the name's lock."""
    left = re.compile(re.escape(f".{folder.name}.") + r"\d+\.[0-9a-f]{8}(\.old)?")
    for entry in sorted(folder.parent.glob(f".{folder.name}.*"), reverse=True):
        found = left.fullmatch(entry.name)
        if found and found[1] and not folder.exists():
            with writing(folder):
                os.rename(entry, folder)
        elif found:
            shutil.rmtree(entry, ignore_errors=True)


@contextlib.contextmanager
def put_in_place(folder: Path, record: Mapping[str, Any]) -> Iterator[Path]:
    """Yield where the checkpoint is to be written; on a clean exit it and the record are put in place by one
    rename, and what was there goes."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}")
    file = aside / f"{folder.name}{STORED}"
    with writing(aside):
        aside.mkdir(parents=True)
    try:
        yield file
        full = {**record, "checkpoint_sha256": sha256_of(file)}
        with writing(folder):
            (aside / RECORD).write_text(json.dumps(full, indent=1) + "\n")
            if folder.exists():
                old = aside.with_name(f"{aside.name}.old")
                os.rename(folder, old)
                os.rename(aside, folder)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.rename(aside, folder)
            sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
