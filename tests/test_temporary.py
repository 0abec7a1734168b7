"""Private folders in the temporary folder: what others put there is neither used nor touched."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from legscore.errors import OutputError
from legscore.system import temporary
from legscore.system.cores import cores_folder
from legscore.system.temporary import private_temporary


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_one_folder_for_all_processes_of_a_user(base: Path) -> None:
    folder = private_temporary("legscore-x")
    assert folder == base / "legscore-x"
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "kept").touch()
    assert private_temporary("legscore-x") == folder
    assert (folder / "kept").exists()
    assert cores_folder() == base / f"legscore-cores-{os.getuid()}"


@pytest.mark.parametrize("how", ["writable by others", "a link", "a file", "another user's"])
def test_what_others_may_have_made_is_left_alone(
    base: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = base / "legscore-x"
    if how == "a link":
        (base / "elsewhere").mkdir()
        planted.symlink_to(base / "elsewhere")
    elif how == "a file":
        planted.write_text("planted")
    else:
        planted.mkdir()
        (planted / "output").write_text("planted")
        if how == "writable by others":
            planted.chmod(0o777)
        else:
            real = os.lstat

            def lstat(path: Path) -> os.stat_result:
                found = list(real(path))
                if path == planted:
                    found[4] = os.geteuid() + 1
                return os.stat_result(found)

            monkeypatch.setattr(temporary.os, "lstat", lstat)
    before = planted.lstat().st_mtime_ns
    assert private_temporary("legscore-x") == base / "legscore-x-1"
    assert private_temporary("legscore-x") == base / "legscore-x-1"
    assert planted.lstat().st_mtime_ns == before


def test_a_temporary_folder_full_of_planted_names_is_refused(base: Path) -> None:
    for number in range(temporary.ATTEMPTS):
        (base / ("legscore-x" + (f"-{number}" if number else ""))).touch()
    with pytest.raises(OutputError, match="belong to others; choose another folder with TMPDIR"):
        private_temporary("legscore-x")
