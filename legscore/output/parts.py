"""What a run has done so far: the results of its finished parts, and a record of what they depend on, in a
folder beside the output.

A part file (`legscore.output.part_file`) holds the results of one part and nothing of the input: the columns
that are carried over are read again, from an input that the record pins. So the output is written once, while
scoring. Files are written aside, synced and renamed; what is damaged or another run's is not taken, and the
part is scored again.

    OUT.parts/record.json       what the bytes of the output depend on; its fingerprint stands for the run
    OUT.parts/part-00000012     results of part 12
    OUT.parts/output            the output while it is being written
    OUT.parts/files/            its files, where it is a folder of them
    OUT.parts/output-NAME.json  the checksum of a file once it is complete; what has another is not this run's
    OUT.parts/lock              held while a run is at work (legscore.system.lock)
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legscore.errors import OutputError
from legscore.output.part_file import DamagedPartError, Scored, packed, part_name, unpacked
from legscore.system.checksum import Checksum
from legscore.system.json_records import difference, fingerprint_of, parse_record
from legscore.system.lock import LOCK_NAME
from legscore.system.publish import publishing, writing
from legscore.system.storage import reason

SUFFIX = ".parts"
RECORD = "record.json"
REPLACED = "replaced"
"""Folder in OUT.parts for an earlier output, until the run that replaces it has ended."""
STAGED = "scores"
"""Folder in OUT.parts for the parts of a run that makes its table itself (`legscore run --fasta`)."""
NULL = "null_scores"
"""Folder in OUT.parts for the parts of shuffled inserts."""
STUDENT = "student_scores"
"""Folder in OUT.parts for the parts that a student scored (`legscore run --student`)."""
FILES = "files"
"""Folder in OUT.parts for the files of an output that is a folder (`legscore.run.dataset`)."""
OWN_FILES = re.compile(
    r"part-\d{8,}|record\.json|output(-.*\.json)?|_.*|\..+\.\d+\.[0-9a-f]{8}\.(part|probe)", re.DOTALL
)
"""Names of what a run keeps, also half-written; with `_` begin tables that it makes on its way."""


def parts_folder(output: str | Path) -> Path:
    """Where the parts of an output lie: beside the file that `output` stands for, through links."""
    return Path(os.path.realpath(output) + SUFFIX)


def check_parts_folder(folder: Path) -> None:
    """OutputError where the folder for the parts is there already and no run's: a run deletes what it keeps
    there."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{folder}, for the parts of this run, cannot be read: {reason(error)}") from error
    if {LOCK_NAME, RECORD} & set(names) or any(
        (folder / inner / name).exists() for inner in (STAGED, STUDENT) for name in (LOCK_NAME, RECORD)
    ):
        return
    if others := sorted(name for name in names if not OWN_FILES.fullmatch(name)):
        raise OutputError(
            f"{folder} is where this run would keep its parts, and holds {others[0]}, which is no run's; "
            "move it, or choose another -o"
        )


def is_own(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder of parts is a run's."""
    if entry.is_dir(follow_symlinks=False):
        return entry.name in (FILES, NULL, REPLACED, STAGED, STUDENT) or entry.name.startswith("_")
    return OWN_FILES.fullmatch(entry.name) is not None


class PartFolder:
    """Parts in a folder that this run holds (`legscore.system.lock.locked_folder`) or, for single parts, that
    its driver holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self._record = folder / RECORD
        self._run: bytes | None = None

    @property
    def where(self) -> str:
        """For messages, and for a process elsewhere to open it."""
        return str(self.folder)

    def _within(self, name: str) -> PartFolder:
        """The parts of another run in a folder of this one."""
        return PartFolder(self.folder / name)

    def _names(self) -> list[str]:
        return [entry.name for entry in os.scandir(self.folder)]

    def _read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def _write(self, name: str, *pieces: bytes) -> None:
        """Whole or not at all; OutputError when the disk refuses."""
        path = self.folder / name
        with publishing(path) as temporary, writing(path), open(temporary, "wb") as stream:
            for piece in pieces:
                stream.write(piece)

    def _remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def _remove_unfinished(self) -> None:
        for stale in self.folder.glob(".part-*"):  # half-written when their run was killed
            stale.unlink(missing_ok=True)

    def begin(self, fingerprint: Mapping[str, Any], *, restart: bool) -> None:
        """Make the folder this run's: parts that an interrupted run with the same record left stay.

        Args:
            fingerprint: what the bytes of the output depend on (`legscore.run.resume.fingerprint`).
            restart: throw away what is there, whatever it belongs to.

        Raises:
            OutputError: what is there belongs to a run that differs; what differs is said.
        """
        now = json.loads(json.dumps(fingerprint))
        for inner, what in ((STUDENT, "with a student"), (STAGED, "on a genome")):
            if not restart and self._within(inner).is_begun():
                raise OutputError(
                    f"{self.where} holds an interrupted run {what}; go on with that, or add --restart to "
                    "begin anew"
                )
        if not restart and (before := self._read_record()) is not None:
            if found := difference(before, now):
                raise OutputError(
                    f"{self.where} holds an interrupted run that differs from this one: {found}. "
                    "Run what was run then to go on with it, or add --restart to begin anew"
                )
        else:
            self.clear()
        self._remove_unfinished()
        self._write(RECORD, (json.dumps(now, indent=1) + "\n").encode())
        self._run = fingerprint_of(now)

    @property
    def run(self) -> bytes:
        """The fingerprint of the run that these parts are of. OutputError where no run left its record."""
        if self._run is None:
            record = self._read_record()
            if record is None:
                raise OutputError(f"{self.where} holds no run")
            self._run = fingerprint_of(record)
        return self._run

    def check_begun(self, host: str) -> None:
        """OutputError unless the record of a run lies here: for who keeps parts in a folder that another
        process holds."""
        if not self.is_begun():
            raise OutputError(
                f"{self.where}, where the driver keeps parts, is not on {host}; put the output where all "
                "machines see it"
            )

    def is_begun(self) -> bool:
        """Whether a run left its record here."""
        return self._record.exists()

    def _read_record(self) -> dict[str, Any] | None:
        """The record of an earlier run; None when there is none (without it parts count for nothing)."""
        try:
            return parse_record(self._read(RECORD))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{self.where}/{RECORD} cannot be read ({reason(error)}); add --restart to begin anew"
            ) from error

    def numbers(self) -> set[int]:
        """Parts that are there (whether they are whole shows when they are loaded)."""
        names = [re.fullmatch(r"part-(\d{8,})", name) for name in self._names()]
        return {int(name[1]) for name in names if name}

    def save(self, number: int, scored: Scored) -> None:
        """Keep a part; it survives a loss of power once this returns. OutputError when the disk refuses."""
        self._write(part_name(number), *packed(scored, self.run, number))

    def load(self, number: int, rows: int) -> Scored | None:
        """A part, or None when it is not there.

        Raises:
            DamagedPartError: it is there, but cut short, changed, of another part or another run, or of
                another number of rows.
        """
        name = part_name(number)
        path = f"{self.where}/{name}"
        try:
            content = self._read(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedPartError(f"{path} cannot be read ({reason(error)})") from error
        return unpacked(content, self.run, number, rows, path)

    def note(self, name: str, found: Checksum, run: bytes | None = None) -> None:
        """Remember the checksum of a file that is about to get its name, under the fingerprint of the run."""
        text = json.dumps({"run": (run or self.run).hex(), "name": name, **found.to_json()})
        self._write(f"{name}.json", text.encode())

    def noted(self, name: str, run: bytes | None = None) -> Checksum | None:
        """What `note` remembered of this run; None when it did not, or the note is damaged."""
        try:
            record = parse_record(self._read(f"{name}.json"))
        except (OSError, ValueError):
            return None
        if record.get("run") != (run or self.run).hex() or record.get("name") != name:
            return None
        return Checksum.from_json(record)

    def tidy(self) -> None:
        """After a failure: the half-written output goes, and the record too when there are no parts."""
        with contextlib.suppress(OSError):  # the failure itself is the one to report
            self.output.unlink(missing_ok=True)
            if not self.numbers():
                self._remove(RECORD)
        with contextlib.suppress(OSError):  # not there, or with files that stay
            (self.folder / FILES).rmdir()

    def clear(self) -> None:
        """Delete what a run keeps, but the lock; the record first, so that what a kill leaves counts for
        nothing. What anybody else put there stays."""
        with writing(self.folder):
            self._record.unlink(missing_ok=True)
            for entry in filter(is_own, list(os.scandir(self.folder))):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
