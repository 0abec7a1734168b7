"""An atlas that is there already: whether all of it is, and whether nothing else lies in its folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from legscore.atlas.contents import FORMAT, MANIFEST, open_contents
from legscore.errors import InputError, OutputError
from legscore.run.own_files import check_own, names_in_record
from legscore.system.json_records import parse_record

NAMES = re.compile(
    r"manifest\.json|tiles\.parquet|scores/(\d{4,}-\d{12,}\.parquet)?|atlas\.(vcf|tsv)\.gz(\.(tbi|csi))?"
)
"""Files of an atlas, and its folder of scores where that is empty."""


def check_whole(output: str) -> None:
    """OutputError unless every file that the manifest of a finished atlas names is there with its size."""
    advice = f"{output} is not whole; add --force to make it again, or choose another -o"
    try:
        contents = open_contents(output, piece=True)
    except InputError as error:
        raise OutputError(f"{error}; add --force to make it again, or choose another -o") from error
    for name, known in contents.files.items():
        path = contents.folder / name
        if not path.is_file():
            raise OutputError(f"{path} is not there, so {advice}")
        if (size := path.stat().st_size) != known["bytes"]:
            raise OutputError(f"{path} has {size:,} bytes instead of {known['bytes']:,}, so {advice}")


def check_replaced(output: str) -> None:
    """OutputError where the folder that --force would replace is no atlas, or holds other files too."""
    check_own(output, _own_names(output))


def _own_names(output: str) -> Callable[[str], bool]:
    """Which names are an atlas's; none where neither a manifest nor the record says that it is one."""
    made = _is_manifest(Path(output) / MANIFEST) or MANIFEST in names_in_record(output)
    return lambda name: made and NAMES.fullmatch(name) is not None


def _is_manifest(path: Path) -> bool:
    """Whether a file is the manifest of an atlas, of whatever version."""
    try:
        said = parse_record(path.read_bytes()).get("format")
    except (OSError, ValueError):
        return False
    return isinstance(said, str) and said.startswith(FORMAT.rstrip("0123456789"))
