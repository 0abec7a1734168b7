"""Published LegNet weights that legscore knows by name: where they are, and what their files do not say.

Addresses are pinned to a commit or a record. A SHA-256 that was never seen here is None: nothing is made up,
`legscore models pull` records the one that it finds. Sizes likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LEGNET = "https://github.com/autosome-ru/LegNet/raw/75b7bbf03c1408a09daebbfaa1a26cf5b72b5ecf/"
HUMAN = "https://zenodo.org/records/17863550/files/chorus_small_legnet.zip"
LEGNET_DOI, HUMAN_DOI = "10.1093/bioinformatics/btad457", "10.5281/zenodo.17863550"


@dataclass(frozen=True)
class Published:
    """One published network.

    Attributes:
        about: one line for people: data, medium or cell line.
        url: address of the file; `member` and `config`: what of it is taken, where it is a .zip.
        doi: of the paper, or of the record that holds the file. licence: None: not known.
        sha256, nbytes: of the file at `url`; None: not known.
        contract: what the model reads and gives, for people who have not pulled it yet.
        options: answers for `import_checkpoint`.
    """

    about: str
    url: str
    doi: str
    licence: str | None
    contract: str
    options: Mapping[str, Any] = field(default_factory=dict)
    member: str | None = None
    config: str | None = None
    sha256: str | None = None
    nbytes: int | None = None


YEAST_READS = "window of 150 bp, inserts of 80 bp in the published construct → mean sorting bin, 0-17"
COMPLEX, DEFINED = "complex medium (YPD)", "defined medium (SD-Ura)"


def _yeast(about: str, path: str, **options: Any) -> Published:
    return Published(about, LEGNET + path, LEGNET_DOI, "MIT", YEAST_READS, options)


def _human(cells: str) -> Published:
    return Published(
        about=f"human MPRA LegNet, one model of {cells} (Agarwal et al. 2025)",
        url=HUMAN,
        doi=HUMAN_DOI,
        licence=None,
        contract="window of 230 bp, inserts of 200 bp in the lentiMPRA construct → log2(RNA/DNA)",
        options={"alphabet": "AGCT", "n_value": 0.0, "origin": {"medium": cells}},
        member=f"LentiMPRA_{cells}/example/weights.ckpt",
        config=f"LentiMPRA_{cells}/config.json",
    )


PUBLISHED: dict[str, Published] = {
    "legnet-dream2022": _yeast(
        "LegNet of DREAM 2022 (family F1), chardonnay medium",
        "models/dream2022/model_80.pth",
        origin={"medium": "chardonnay"},
    ),
    "legnet-complex": _yeast(
        f"LegNet of the paper (F1), {COMPLEX}, 30.7 million sequences",
        "models/complex/model_300.pth",
        floor=4.0,
        origin={"medium": COMPLEX},
    ),
    "legnet-defined": _yeast(
        f"LegNet of the paper (F1), {DEFINED}, 20.6 million sequences",
        "models/defined/model_150.pth",
        floor=2.5,
        origin={"medium": DEFINED},
    ),
    "legnet-optimized": _yeast(
        "the optimised LegNet (F2), DREAM 2022 data, chardonnay medium",
        "models/optimized/lightning_logs/version_0/checkpoints/last_model-step%3D80000.ckpt",
        final_activation="none",
        concat_order="fx,x",
        origin={"medium": "chardonnay"},
    ),
    "legnet-generator": Published(
        "LegNet-Generator (F5), for legscore design",
        LEGNET + "diffusion/models/generator/model_200.pth",
        LEGNET_DOI,
        "MIT",
        "inserts of 80 bp and a wanted expression → bases",
    ),
    "human-hepg2": _human("HepG2"),
    "human-k562": _human("K562"),
    "human-wtc11": _human("WTC11"),
}
"""Name → network. All ninety human models of a cell line are in record 10.5281/zenodo.10558183."""
