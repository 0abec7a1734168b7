"""How large is an installation, and how long does it take?

Installs a checkout into a fresh environment, once for each set of extras: seconds, MiB on disk beside the
empty environment's, and the largest packages; then runs the command. Expected: a plain one ≤ 450 MiB.

    python bench/install.py [--extras ,all] [--before CHECKOUT] [--save]

Extras: sets with + inside and , between them; the empty one is a plain installation. --before: also a plain
installation of another checkout.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from machine import arguments, finish

MIB = 1 << 20
LARGEST = 8


def size_of(path: Path) -> int:
    """Bytes that a file or folder takes on disk; what has several names counts once."""
    seen = {}
    for entry in [path, *path.rglob("*")]:
        found = entry.lstat()
        seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def installed(checkout: Path, extras: str) -> dict[str, Any]:
    """One installation with these extras."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        empty, python = size_of(Path(folder)), f"{folder}/bin/python"
        started = time.perf_counter()
        what = f"{checkout}[{extras}]" if extras else str(checkout)
        subprocess.run([python, "-m", "pip", "install", "-q", what], check=True)
        seconds = time.perf_counter() - started
        subprocess.run([f"{folder}/bin/legscore", "--version"], check=True, capture_output=True)
        packages = next(Path(folder).glob("lib/python*/site-packages"))
        sizes = {entry.name: size_of(entry) / MIB for entry in packages.iterdir()}
        largest = sorted(sizes, key=lambda name: -sizes[name])[:LARGEST]
        return {
            "seconds": round(seconds, 1),
            "mib": round((size_of(Path(folder)) - empty) / MIB),
            "empty_environment_mib": round(empty / MIB),
            "largest_mib": {name: round(sizes[name]) for name in largest},
        }


def main() -> None:
    options = arguments(__doc__, extras=",all", before="")
    here, found = Path(__file__).resolve().parent.parent, {}
    plans = [("before", Path(options.before), "")] if options.before else []
    plans += [(extras or "plain", here, extras.replace("+", ",")) for extras in options.extras.split(",")]
    for name, checkout, extras in plans:
        found[name] = installed(checkout, extras)
        print(name, found[name], flush=True)
    finish("install", {"installations": found}, options.save)


if __name__ == "__main__":
    main()
