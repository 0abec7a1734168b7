"""Parts of a run whose output lies in an object store: beside it, as OUT.parts/record.json and
OUT.parts/part-00000012.

So any machine can go on with the run, and workers need no disk in common. A store has no locks: on one
machine two runs exclude each other by a lock in the temporary folder; two machines that run the same command
write the same bytes twice, and a different run is refused by its record. The output is built in the temporary
folder of this machine and uploaded when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from legscore.errors import OutputError
from legscore.output.parts import OWN_FILES, RECORD, SUFFIX, PartFolder, check_parts_folder
from legscore.system.lock import locked_folder
from legscore.system.publish import writing
from legscore.system.storage import Remote, is_remote, reason
from legscore.system.temporary import private_temporary


class RemoteParts(PartFolder):
    """As PartFolder, in a store. `stage` is a folder of this machine for the unfinished output."""

    def __init__(self, place: Remote, stage: Path) -> None:
        super().__init__(stage)
        self.place = place

    @property
    def where(self) -> str:
        return str(self.place)

    def is_begun(self) -> bool:
        return RECORD in self._names()

    def _within(self, name: str) -> PartFolder:
        return RemoteParts(self.place.child(name), self.folder)

    def _names(self) -> list[str]:
        try:
            return self.place.names()
        except OSError as error:
            raise OutputError(f"{self.place} cannot be read: {reason(error)}") from error

    def _read(self, name: str) -> bytes:
        return self.place.child(name).read()

    def _write(self, name: str, *pieces: bytes) -> None:
        with writing(str(self.place.child(name))):
            self.place.child(name).put(b"".join(pieces))

    def _remove(self, name: str) -> None:
        with writing(str(self.place.child(name))):
            self.place.child(name).delete()

    def _remove_unfinished(self) -> None:
        """Nothing: an object is there whole or not at all."""

    def clear(self) -> None:
        """Delete what a run keeps; the record first, so that what a kill leaves counts for nothing. What
        anybody else put there stays."""
        self._remove(RECORD)
        with writing(str(self.place)):
            names = self.place.names_below()
            own = [name for name in names if "/" not in name and OWN_FILES.fullmatch(name)]
            if len(own) == len(names):
                self.place.delete_below()  # a thousand in one request
            else:
                for name in own:
                    self.place.child(name).delete()
        self.output.unlink(missing_ok=True)


def stage_name(place: str) -> str:
    """Name of the folder of this machine for a run whose parts lie at `place`."""
    return f"legscore-{os.getuid()}-{hashlib.sha256(place.encode()).hexdigest()[:16]}"


def open_store(place: str) -> PartFolder:
    """The parts at `place`, which another process holds."""
    if not is_remote(place):
        return PartFolder(Path(place))
    return RemoteParts(Remote(place), Path(tempfile.gettempdir()) / stage_name(place))


@contextlib.contextmanager
def locked_parts(output: str, folder: str | None, usual: Path) -> Iterator[PartFolder]:
    """The parts of `output`, held by this process.

    Args:
        folder: where they lie, if not beside the output; usual: beside it, on a disk.
    """
    place = folder or (output.rstrip("/") + SUFFIX if is_remote(output) else str(usual))
    if not is_remote(place):
        check_parts_folder(Path(place))
        with locked_folder(Path(place), output) as held:
            yield PartFolder(held)
        return
    with locked_folder(private_temporary(stage_name(place)), output, mode=0o700) as held:
        yield RemoteParts(Remote(place), held)
