"""The settings that upstream's training code leaves beside its weights, read for what tensors do not show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legscore.errors import ModelError
from legscore.system.small_files import parse_json, read_small

CONFIGS = ("config.json", "params.json")
"""Names under which the published training code leaves its settings."""
IGNORED_KEYS = ("resize_factor", "se_reduction")
"""Keys of a config that the published code reads and does not use: 4 in every network."""
SE_TYPES = {"simple": "plain", "complex": "bilinear", "none": "none"}


def is_upstream_config(path: Path) -> bool:
    """Whether a JSON file is one that upstream's code writes. ModelError where it cannot be read."""
    data = _content(path)
    return isinstance(data, dict) and ("model_cfg" in data or "ef_block_sizes" in data)


def read_config(path: Path, family: str) -> dict[str, Any]:
    """Answers in upstream's own config file, plus `expect`: shapes it claims, to be checked against the
    tensors."""
    try:
        return _read_config(_content(path), path, family)
    except (TypeError, AttributeError, KeyError) as error:
        raise ModelError(f"config file {path} holds something unexpected ({error})") from None


def _content(path: Path) -> Any:
    try:
        return parse_json(read_small(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"config file {path} cannot be read ({error})") from None


def _read_config(data: Any, path: Path, family: str) -> dict[str, Any]:
    if family == "F2" and isinstance(data, dict) and isinstance(data.get("model_cfg"), dict):
        model, training = data["model_cfg"], data.get("data_cfg", {})
        fifth = {(True, False): "is_reverse", (False, True): "is_singleton"}
        flags = (bool(model.get("use_reverse_channel")), bool(model.get("use_single_channel")))
        return {
            "ignored": _ignored(model),
            "final_activation": model.get("final_activation"),
            "concat_order": "fx,x" if model.get("res_block_type") == "concat" else None,
            "fifth_channel": fifth.get(flags),
            "rc_trained": training.get("reverse_augment"),
            "expect": {
                "widths": model.get("block_sizes"),
                "kernel": model.get("ks"),
                "residual": model.get("res_block_type"),
                "filters_per_group": model.get("filter_per_group"),
                "in_channels": 4 + sum(flags),
                "se": SE_TYPES[model["se_type"]] if "se_type" in model else None,
            },
        }
    if family == "F3" and isinstance(data, dict) and "ef_block_sizes" in data:
        return {
            "ignored": _ignored(data),
            "concat_order": "fx,x",
            "pools": None
            if data.get("pool_sizes") is None
            else tuple(_whole_number(size) for size in data["pool_sizes"]),
            "fifth_channel": "is_reverse" if data.get("use_reverse_channel") else None,
            "rc_trained": data.get("reverse_augment"),
            "expect": {
                "widths": [data.get("stem_ch"), *data["ef_block_sizes"]],
                "kernel": data.get("ef_ks"),
                "stem_kernel": data.get("stem_ks"),
                "in_channels": 4 + bool(data.get("use_reverse_channel")),
            },
        }
    raise ModelError(f"config file {path} is not one that the published code of family {family} writes")


def _ignored(config: Mapping[str, Any]) -> str:
    """Keys that the published code does not use, with their values, for people."""
    return ", ".join(f"{name} {config[name]!r}" for name in IGNORED_KEYS if name in config)


def _whole_number(value: Any) -> int:
    """The value, if it is an int; TypeError otherwise."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value
