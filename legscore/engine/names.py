"""What --engine and --precision take. Importing this module is light."""

from __future__ import annotations

ENGINES = ("auto", "openvino", "native", "torch", "tensorrt", "null")
PRECISION_CHOICES = ("auto", "fp32", "bf16", "fp16")
