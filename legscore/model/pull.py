"""Models brought by name or address: downloaded, checked, imported, put into the user's models folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import re
import shutil
import struct
import tempfile
import time
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from legscore.errors import InputError, LegscoreError, OutputError
from legscore.model.checkpoint import Checkpoint, load_checkpoint
from legscore.model.importers import OpenQuestionsError, import_checkpoint
from legscore.model.model_library import (
    STORED,
    check_model_name,
    models_folder,
    put_in_place,
    record_of_pull,
    tidy,
)
from legscore.model.model_names import NAMES
from legscore.model.published import PUBLISHED, Published
from legscore.model.state_dict import MAX_FILE_BYTES
from legscore.system.caches import locked
from legscore.system.checksum import BLOCK_BYTES, sha256_of
from legscore.system.download import SCHEMES, StartBytes, check_address, download
from legscore.system.extras import MissingPackageError
from legscore.system.log import Say
from legscore.system.overwrite import check_apart
from legscore.system.publish import writing

DOWNLOADS = ".downloads"
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
)
"""What zipfile raises for an archive that is damaged, encrypted (RuntimeError) or packed in a way that it
does not know (NotImplementedError, a RuntimeError)."""


@dataclass(frozen=True)
class Pulled:
    """A model of the models folder. `is_new`: whether this call brought it; `is_checked`: whether its SHA-256
    was known beforehand."""

    name: str
    checkpoint: Checkpoint
    sha256: str
    nbytes: int
    is_new: bool
    is_checked: bool


@dataclass(frozen=True)
class PullOptions:
    """What to pull: a published name or an address, the name to keep it under, where to take it from instead,
    the SHA-256 that it must have, answers for the importer, and whether to replace what is there."""

    wanted: str
    keep_as: str | None = None
    source: str | None = None
    sha256: str | None = None
    options: Mapping[str, Any] | None = None
    force: bool = False


def pull(
    request: PullOptions,
    say: Say = lambda line: None,
    start: StartBytes = lambda total, done: lambda n: None,
) -> Pulled:
    """Bring one model into the models folder; a second process that pulls the same name waits.

    Args:
        say: told of waiting, resuming and broken connections. start: shows the progress of a download.

    Raises:
        InputError: unknown names, addresses or SHA-256s, files that cannot be fetched or are not those meant.
        ModelError: the file is no checkpoint that legscore imports, or needs answers.
        OutputError: another model of that name is there, or the folder cannot be written.
        MissingPackageError: the file is PyTorch's, and PyTorch is not installed.
    """
    name, published = _meant(request)
    sha256 = _hex(request.sha256) or published.sha256
    folder = models_folder()
    with locked(folder / f".{name}", lambda: say(f"another process pulls {name}; waiting for it")):
        before = folder / name
        tidy(before)
        if request.force:
            _check_beside(before, request)
        answers = json.loads(json.dumps(request.options or {}))
        if (there := _there(before, name, published, sha256, answers, request.force)) is not None:
            return there
        if request.force and sha256 is None:  # what was seen at first must not change unsaid
            record = record_of_pull(before)
            sha256 = record.get("sha256") if record.get("url") == published.url else None
        is_stored = Path(_file_name(published)).suffix == STORED
        _check_can_import(is_stored, request)
        with _file_of(request, published, sha256, say, start) as (path, found):
            record = {
                "name": name,
                "url": published.url,
                "from": request.source,
                "sha256": found,
                "bytes": path.stat().st_size,
                "doi": published.doi,
                "licence": published.licence,
                "answers": answers,
                "pulled": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            with put_in_place(before, record) as file:
                if is_stored:  # byte for byte, so that its hash stays the one that others know
                    load_checkpoint(path)
                    with writing(file):
                        shutil.copyfile(path, file)
                else:
                    _imported(path, published, request, record).save(file)
        checkpoint = load_checkpoint(before / f"{name}{STORED}")
        return Pulled(name, checkpoint, found, record["bytes"], True, sha256 is not None)


def _meant(request: PullOptions) -> tuple[str, Published]:
    """The name to keep a model under, and what it is."""
    wanted = request.wanted
    if wanted in PUBLISHED:
        return _free_name(wanted if request.keep_as is None else request.keep_as, wanted), PUBLISHED[wanted]
    if not _is_address(wanted):
        raise InputError(
            f"{wanted}: no published model of that name, and no address; known are {', '.join(PUBLISHED)} "
            "(legscore models list)"
        )
    check_address(wanted)
    stem = Path(urllib.parse.unquote(urllib.parse.urlsplit(wanted).path)).stem
    return _free_name(stem if request.keep_as is None else request.keep_as), Published(
        "from its address", wanted, "", None, ""
    )


def _is_address(text: str) -> bool:
    return text.partition("://")[0].lower() in SCHEMES


def _free_name(name: str, own: str = "") -> str:
    """The name, if it is not that of another model that legscore knows."""
    if check_model_name(name) != own and (name in PUBLISHED or name in NAMES):
        raise InputError(f"{name} is the name of a model that legscore knows; give another with --as")
    return name


def _file_name(published: Published) -> str:
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(published.url).path)).name


def _check_can_import(is_stored: bool, request: PullOptions) -> None:
    """Before anything is downloaded: whether the importer is here, and answers go to one who asks."""
    if is_stored and request.options:
        raise InputError(
            f"{', '.join(request.options)}: a checkpoint of legscore says everything about itself"
        )
    if not is_stored and find_spec("torch") is None:
        raise MissingPackageError(
            "torch is not installed, which reads PyTorch files; pip install 'legscore[train]' brings it",
            name="torch",
        )


def _hex(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    if len(sha256) != 64 or not set(sha256.lower()) <= set("0123456789abcdef"):
        raise InputError(f"{sha256!r} is no SHA-256: 64 digits 0-9 and a-f")
    return sha256.lower()


def _there(
    folder: Path,
    name: str,
    published: Published,
    sha256: str | None,
    answers: Mapping[str, Any],
    force: bool,
) -> Pulled | None:
    """The model of that name where it is already what is asked for. OutputError where it is another, or was
    imported with other answers than those given."""
    if not os.path.lexists(folder):
        return None
    record = record_of_pull(folder)
    if not record:
        raise OutputError(f"{folder} is there and was not pulled; move it away, or give another name (--as)")
    if force:
        return None
    with contextlib.suppress(LegscoreError):
        checkpoint = load_checkpoint(folder / f"{name}{STORED}")
        is_same = record.get("url") == published.url and sha256 in (None, record.get("sha256"))
        is_same &= not answers or record.get("answers") == answers
        if is_same and checkpoint.sha256 == record.get("checkpoint_sha256"):
            return Pulled(name, checkpoint, record["sha256"], record["bytes"], False, sha256 is not None)
    raise OutputError(
        f"{name} is there already, from {record.get('url')}, SHA-256 {record.get('sha256')}, and is not what "
        "is asked for, was imported with other answers, or is no longer what was pulled; --force replaces it"
    )


@contextlib.contextmanager
def _file_of(
    request: PullOptions, published: Published, sha256: str | None, say: Say, start: StartBytes
) -> Iterator[tuple[Path, str]]:
    """The file and its SHA-256: from `source`, else downloaded, and then removed once it was taken."""
    file_name, source = _file_name(published), request.source
    if source is not None and not _is_address(source):
        path = Path(source) / file_name if os.path.isdir(source) else Path(source)
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        yield path, _checked(path, sha256)
        return
    url = published.url
    if source is not None:
        url = source + urllib.parse.quote(file_name) if source.endswith("/") else source
    told = file_name if re.fullmatch(r"[A-Za-z0-9._=-]{1,100}", file_name) else "file"
    target = models_folder() / DOWNLOADS / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{told}"
    with locked(target, lambda: say("another process downloads the same file; waiting for it")):
        try:
            if target.is_file():  # of a pull whose import asked for something
                say("the file was downloaded before")
                found = _checked(target, sha256)
            else:
                found = download(url, target, sha256=sha256, start=start, say=say).sha256
            yield target, found
        except OpenQuestionsError:
            raise  # kept: the same command with the answers takes it
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        target.unlink(missing_ok=True)


def _check_beside(folder: Path, request: PullOptions) -> None:
    """OutputError where a file that is read lies in the model's folder, which is replaced as a whole."""
    read = [request.source, (request.options or {}).get("config")]
    local = [place for place in read if place is not None and not _is_address(place)]
    check_apart({"--as": f"{folder}/"}, local)


def _checked(path: Path, sha256: str | None) -> str:
    """The SHA-256 of a file. InputError where it is not the one that was asked for."""
    found = sha256_of(path)
    if sha256 is not None and found != sha256:
        raise InputError(f"{path}: its SHA-256 is {found}, not {sha256}; it is damaged, or not the one meant")
    return found


def _imported(
    path: Path, published: Published, request: PullOptions, record: Mapping[str, Any]
) -> Checkpoint:
    """The checkpoint of a PyTorch file, with where it came from in its manifest."""
    options: dict[str, Any] = {**published.options}
    for key, value in (
        request.options or {}
    ).items():  # one part of the origin leaves the others as published
        options[key] = {**options.get(key, {}), **value} if isinstance(value, Mapping) else value
    with _members(path, published) as (weights, config):
        checkpoint = import_checkpoint(weights, **{"config": config, **options})
    origin = {key: record[key] for key in ("url", "sha256", "doi", "licence") if record[key]}
    file = published.member or _file_name(published)
    return replace(checkpoint, source={**checkpoint.source, "file": file, "pulled": origin})


@contextlib.contextmanager
def _members(path: Path, published: Published) -> Iterator[tuple[Path, Path | None]]:
    """Weights and config file: the file itself, or those two members of an archive and nothing else of it."""
    if published.member is None:
        yield path, None
        return
    with tempfile.TemporaryDirectory(prefix="legscore-") as folder:
        found = []
        try:
            with zipfile.ZipFile(path) as archive:
                for asked, name in ((published.member, "weights.ckpt"), (published.config, "config.json")):
                    if asked is not None:
                        found.append(_unpack(archive, asked, Path(folder) / name))
        except UNREADABLE as error:
            raise InputError(f"{path}: no ZIP archive that can be read ({error})") from error
        yield found[0], found[1] if len(found) > 1 else None


def _unpack(archive: zipfile.ZipFile, asked: str, target: Path) -> Path:
    names = [name for name in archive.namelist() if name == asked or name.endswith(f"/{asked}")]
    if len(names) != 1:
        raise InputError(f"{archive.filename}: holds {len(names)} files {asked}, not one; it is another file")
    with archive.open(names[0]) as stream, writing(target), open(target, "wb") as out:
        while block := _block(stream):
            if out.tell() + len(block) > MAX_FILE_BYTES:
                raise InputError(f"{archive.filename}: {asked} is larger than any model")
            out.write(block)
    return target


def _block(stream: IO[bytes]) -> bytes:
    """The next bytes of a member. bzip2 says of damage by an OSError, which would be taken for the disk's."""
    try:
        return stream.read(BLOCK_BYTES)
    except OSError as error:
        raise zipfile.BadZipFile(str(error)) from error
