"""One trained model in one file: safetensors arrays and a manifest under the metadata key `legscore`.

The manifest is JSON: `format, family, architecture{}, contract{}, training{}, source{}`. Loading checks all
of it, every array's name, shape, type and finiteness, and that nothing else is in the file. A model's hash is
the sha256 of the file. Checkpoints are data: reading one never runs code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from legscore.dna.contract import Contract
from legscore.errors import ModelError, shorten
from legscore.model.architecture import Architecture
from legscore.model.manifest import FORMAT, METADATA_KEY, read_manifest
from legscore.model.model_library import PYTORCH_ENDINGS
from legscore.model.model_names import locate_models
from legscore.model.stored import StoredArrays
from legscore.system.log import Say
from legscore.system.publish import publishing, writing

MAX_BYTES = 1 << 30
MAX_MEMBERS = 256
MAX_LOADED_MEMBERS = 5
"""Ensembles up to this size keep their arrays until the engine has them. Those of larger ones are read again,
one network at a time, if networks have to be built."""
ARRAY_TYPES = {"F16": "<f2", "F32": "<f4"}
BESIDE, HEAD = "sd_", "head."
"""What the names of a second head begin with: `sd_head.conv.weight` beside `head.conv.weight`."""


@dataclass(frozen=True, repr=False)
class Checkpoint:
    """A validated model. `arrays` are float32, named as `architecture.shapes()`, and as `sd_shapes()` where a
    student has a head beside; `sha256` is that of the file (empty before it was written)."""

    family: str
    architecture: Architecture
    contract: Contract
    arrays: Mapping[str, np.ndarray]
    training: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    path: str = ""

    def __post_init__(self) -> None:
        _check_consistent(self.architecture, self.contract)
        _check_arrays(self.architecture, self.arrays)

    def __repr__(self) -> str:
        return f"<Checkpoint {self.name}: {self.family}, {self.contract.describe()}>"

    def release(self) -> None:
        """Let go of the arrays of a file; they are read again when somebody asks for them."""
        if isinstance(self.arrays, StoredArrays):
            self.arrays.release()

    @property
    def name(self) -> str:
        """The file's stem, for messages and column names."""
        return Path(self.path).stem if self.path else "model"

    def manifest(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "family": self.family,
            "architecture": self.architecture.to_json(),
            "contract": self.contract.to_json(),
            "training": self.training,
            "source": self.source,
        }

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write the file by rename.

        Args:
            half: store weights as FP16 (half the size; reading widens them again), normalisation as FP32
                either way.

        Raises:
            ModelError: a weight is too large for FP16.
            OutputError: the disk refuses.
        """
        from safetensors.numpy import save

        metadata = {METADATA_KEY: json.dumps(self.manifest(), sort_keys=True)}
        arrays = {}
        for name, array in self.arrays.items():
            narrow = half and "norm" not in name
            if narrow and np.abs(array).max() > np.finfo(np.float16).max:
                raise ModelError(f"array {name} does not fit FP16; store it as FP32")
            arrays[name] = np.ascontiguousarray(array, dtype=np.float16 if narrow else np.float32)
        with publishing(Path(path)) as temporary, writing(path):
            temporary.write_bytes(save(arrays, metadata))


def _check_consistent(architecture: Architecture, contract: Contract) -> None:
    if architecture.in_channels != len(contract.channels):
        raise ModelError(
            f"the first convolution has {architecture.in_channels} channels, the contract names "
            f"{len(contract.channels)} ({' '.join(contract.channels)})"
        )
    if architecture.head != contract.output.kind:
        raise ModelError(f"the head is {architecture.head!r}, the contract's output {contract.output.kind!r}")
    if architecture.head == "bins" and contract.output.max != architecture.outputs - 1:
        raise ModelError(
            f"the head has {architecture.outputs} bins, the contract's highest is {contract.output.max}"
        )
    architecture.lengths(contract.length)


def sd_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Arrays of a second head, of the first one's shapes: it tells how much the members of the ensemble that
    a student stands for differ (`model.student.sd_networks`)."""
    shapes = architecture.shapes()
    return {f"{BESIDE}{name}": shape for name, shape in shapes.items() if name.startswith(HEAD)}


def _check_arrays(architecture: Architecture, arrays: Mapping[str, np.ndarray]) -> None:
    expected = architecture.shapes()
    if any(name.startswith(f"{BESIDE}{HEAD}") for name in arrays):
        expected = {**expected, **sd_shapes(architecture)}
    missing = [name for name in expected if name not in arrays]
    unknown = [name for name in arrays if name not in expected]
    if missing:
        raise ModelError(f"arrays are missing: {shorten(missing)}")
    if unknown:
        raise ModelError(f"unknown arrays: {shorten(unknown)}")
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape:
            raise ModelError(f"array {name} has shape {array.shape}; the architecture says {shape}")
        if not np.isfinite(array).all():
            raise ModelError(
                f"array {name} holds NaN or infinity; the file is damaged or its training diverged"
            )
        if name.endswith("running_var") and (array < 0).any():
            raise ModelError(f"array {name} holds a negative variance; the file is damaged")


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read and validate one checkpoint. ModelError names the file, what is wrong and the way out."""
    path = Path(path)
    try:
        return _load(path)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _again(path: Path, sha256: str) -> Mapping[str, np.ndarray]:
    """The arrays of a file that was read before. ModelError when it has changed."""
    try:
        loaded = _load(path)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if loaded.sha256 != sha256:
        raise ModelError(f"{path}: the file has changed since this run began; start again")
    return dict(loaded.arrays)


def _load(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, deserialize

    try:
        size = path.stat().st_size  # first: it says why nothing is there
        if not path.is_file():
            raise ModelError("is not a regular file")
        if size > MAX_BYTES:
            raise ModelError(f"{size:,} bytes; a checkpoint has at most {MAX_BYTES:,}")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}") from error
    try:
        stored = {name: (view["dtype"], view["shape"], view["data"]) for name, view in deserialize(content)}
        header_bytes = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + header_bytes]).get("__metadata__") or {}
        sha256 = hashlib.sha256(content).hexdigest()
    except (SafetensorError, ValueError, RecursionError) as error:
        # only now: a header's length may begin with these bytes too
        if content[:2] == b"PK" or content[:1] == b"\x80":
            raise ModelError(
                f"is a PyTorch file, not a legscore checkpoint; convert it once: "
                f"legscore import {path.name} -o {path.stem}.safetensors"
            ) from None
        raise ModelError(f"is not a safetensors file ({error})") from error
    manifest = read_manifest(metadata)
    architecture = Architecture.from_json(manifest["architecture"])
    contract = Contract.from_json(manifest["contract"])
    expected = {*architecture.shapes(), *sd_shapes(architecture)}
    arrays = {}
    del content  # a model is in memory twice at most
    for name in list(stored):
        kind, shape, data = stored.pop(name)
        if name not in expected:
            raise ModelError(f"unknown array {name}; the manifest's architecture has none of that name")
        if kind not in ARRAY_TYPES:
            raise ModelError(f"array {name} is {kind}; checkpoints hold {' or '.join(ARRAY_TYPES)}")
        arrays[name] = np.frombuffer(data, dtype=ARRAY_TYPES[kind]).reshape(shape).astype(np.float32)
    return Checkpoint(
        family=manifest["family"],
        architecture=architecture,
        contract=contract,
        arrays=StoredArrays(arrays, lambda: _again(path, sha256)),
        training=manifest["training"],
        source=manifest["source"],
        sha256=sha256,
        path=str(path),
    )


def find_checkpoints(paths: Sequence[str | Path], say: Say = lambda line: None) -> list[Path]:
    """Files of an ensemble in order: as given, a directory as its *.safetensors sorted by name. Hidden files
    and what lies in folders inside are left out."""
    found: list[Path] = []
    for path in locate_models(paths, say):
        if path.is_dir():
            # hidden files are notes of a file manager or of an editor, never models
            try:
                there = sorted(p for p in path.iterdir() if not p.name.startswith("."))
            except OSError as error:
                raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
            inside = [p for p in there if p.suffix == ".safetensors"]
            if not inside:
                others = [p.name for p in there if p.suffix in PYTORCH_ENDINGS]
                hint = f" (PyTorch files such as {others[0]} need legscore import first)" if others else ""
                raise ModelError(f"{path}: no *.safetensors in this directory{hint}")
            found += inside
        else:
            found.append(path)
    if not found:
        raise ModelError("no model given; -m takes checkpoints (*.safetensors) or a directory of them")
    if len(found) > MAX_MEMBERS:
        raise ModelError(f"{len(found)} models; an ensemble has at most {MAX_MEMBERS}")
    return found


def load_generator(path: str | Path) -> Checkpoint:
    """Read a generator. ModelError also for a predictor."""
    checkpoint = load_checkpoint(path)
    if not checkpoint.contract.is_generator:
        raise ModelError(
            f"{path} is a predictor: it scores sequences and makes none. Pass it with -m, and a generator "
            "with -g"
        )
    return checkpoint


def load_members(
    paths: Sequence[str | Path], *, allow_duplicates: bool = False, say: Say = lambda line: None
) -> list[Checkpoint]:
    """Load an ensemble of 1-256 members sharing one contract.

    Args:
        paths: checkpoints, directories or names (`legscore.model.model_names`); order is kept, a directory's
            files are sorted by name.
        allow_duplicates: accept the same file content twice (it then weighs twice in the mean).
        say: told when a path hides a name.

    Raises:
        ModelError: naming the file that is unreadable, differs in contract, or stands twice.
    """
    found = find_checkpoints(paths, say)
    members = []
    for path in found:
        members.append(load_checkpoint(path))
        if len(found) > MAX_LOADED_MEMBERS:
            members[-1].release()
    first = members[0]
    seen: dict[str, str] = {}
    for member in members:
        if member.contract.is_generator:
            raise ModelError(
                f"{member.path} is a generator: it makes sequences and scores none. Pass it to legscore "
                "design -g"
            )
        if difference := first.contract.difference(member.contract):
            raise ModelError(
                f"{member.path}: its sequence contract differs from that of {first.path}: {difference}. "
                "Members of an ensemble must read the same windows and mean the same; score them in separate "
                "runs"
            )
        if member.sha256 in seen and not allow_duplicates:
            raise ModelError(
                f"{member.path} is the same model as {seen[member.sha256]}; it would weigh twice in the "
                "mean. Leave one out; legscore run takes both with --allow-duplicates"
            )
        seen[member.sha256] = member.path
    return members
