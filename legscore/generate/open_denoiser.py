"""Which engine runs a generator, and how close it is to FP32; nothing falls back in silence.

The engines are those of scoring (`legscore.engine.choose`) and chosen by the same rules. Agreement with
OpenVINO FP32 is measured on random inputs when the engine is built: a generator's output is fed back a
hundred times, so a reduced precision that moves probabilities or arg max by more than the limits here is
given up, which is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legscore.engine.choose import Request, check_device, choose_engine, choose_recipe, why_native_first
from legscore.engine.fit import choose_devices
from legscore.engine.recipe import Recipe, load_recipe
from legscore.errors import EngineError
from legscore.generate.draws import start_codes
from legscore.generate.sample import Denoiser, one_hot_bases
from legscore.model.checkpoint import Checkpoint
from legscore.system.log import Say

PROBES = 128
RMSE_MAX, SAME_MIN = 0.02, 0.98


@dataclass(frozen=True)
class Agreement:
    """Probabilities of one step against OpenVINO FP32 on PROBES random inputs: RMSE, and the share of
    positions with the same most probable base."""

    rmse: float
    same: float

    def __str__(self) -> str:
        return (
            f"probabilities RMSE {self.rmse:.2g}, same base at {self.same:.2%} of positions, against "
            "openvino fp32"
        )

    @property
    def shortfall(self) -> str:
        """What is out of limits, or an empty string."""
        if not self.rmse <= RMSE_MAX:
            return f"probabilities RMSE {self.rmse:.3f} is above {RMSE_MAX}"
        return f"the same base at {self.same:.2%} of positions only" if not self.same >= SAME_MIN else ""


def open_denoiser(
    checkpoint: Checkpoint, request: Request, say: Say = lambda line: None
) -> tuple[Denoiser, Agreement | None]:
    """Build the engine of a generator.

    Returns:
        The denoiser and its agreement with FP32 (None where it is the reference itself).

    Raises:
        EngineError: what was asked for cannot be served here.
    """
    name, reason = choose_engine(request.engine)
    if name == "null":
        raise EngineError("engine null computes nothing; a generator cannot run on it")
    check_device(name, reason, request.device)
    if first := why_native_first(request, name, reason):
        native = _native_if_good(checkpoint, request, first, say)
        if native is not None:
            return native
    recipe, why = choose_recipe(request, name, reason)
    say(f"generator: engine {name} ({reason}), precision {recipe.precision} ({why})")
    denoiser, agreement = _measured(name, checkpoint, recipe, request, say)
    if agreement is None or not agreement.shortfall:
        if agreement:
            say(f"generator: {agreement}")
        return denoiser, agreement
    denoiser.close()
    if request.precision != "auto" or request.recipe or recipe.precision == "fp32" or name == "native":
        raise EngineError(
            f"precision {recipe.precision} is too far from fp32 for this generator: {agreement.shortfall}"
        )
    say(f"generator: precision fp32 instead of {recipe.precision} ({agreement.shortfall})")
    return _measured(name, checkpoint, load_recipe("fp32"), request, say)


def _native_if_good(
    checkpoint: Checkpoint, request: Request, reason: str, say: Say
) -> tuple[Denoiser, Agreement | None] | None:
    """The native engine and its agreement, or None where it does not cover the generator or is too far from
    FP32, which is said."""
    recipe, why = choose_recipe(request, "native", reason)
    say(f"generator: engine native ({reason}), precision {recipe.precision} ({why})")
    try:
        denoiser, agreement = _measured("native", checkpoint, recipe, request, say)
    except EngineError as error:
        say(f"generator: openvino instead of native ({error})")
        return None
    assert agreement is not None  # only OpenVINO's FP32 is not compared
    if not agreement.shortfall:
        say(f"generator: {agreement}")
        return denoiser, agreement
    denoiser.close()
    say(f"generator: openvino instead of native ({agreement.shortfall})")
    return None


def _measured(
    name: str, checkpoint: Checkpoint, recipe: Recipe, request: Request, say: Say
) -> tuple[Denoiser, Agreement | None]:
    denoiser = _build(name, checkpoint, recipe, request, say)
    try:
        if name == "openvino" and recipe.precision == "fp32":
            return denoiser, None
        return denoiser, agreement_of(denoiser, checkpoint)
    except BaseException:
        denoiser.close()
        raise


def _build(name: str, checkpoint: Checkpoint, recipe: Recipe, request: Request, say: Say) -> Denoiser:
    if name == "tensorrt":
        from legscore.cuda.libcuda import find_gpus
        from legscore.generate.tensorrt_denoiser import TensorRTDenoiser

        gpus, _ = find_gpus()
        numbers = choose_devices(request.device, [gpu.name for gpu in gpus])
        if len(numbers) > 1:
            say(f"generator: on GPU {numbers[0]} alone; its loop uses one")
        return TensorRTDenoiser(checkpoint, recipe, gpus[numbers[0]], say)
    if name == "native":
        from legscore.generate.native_denoiser import NativeDenoiser

        return NativeDenoiser(checkpoint, recipe)
    if name == "openvino":
        from legscore.generate.openvino_denoiser import OpenVINODenoiser

        return OpenVINODenoiser(checkpoint, recipe)
    import torch

    from legscore.engine.torch_devices import best_device, gpu_names
    from legscore.generate.torch_denoiser import TorchDenoiser
    from legscore.model.legnet import from_checkpoint

    kind, number = best_device(), ""
    if kind == "cuda":
        numbers = choose_devices(request.device, gpu_names())
        if len(numbers) > 1:
            say(f"generator: on GPU {numbers[0]} alone; its loop uses one")
        number = f":{numbers[0]}"
    device = torch.device(kind + number)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(recipe.precision, torch.float32)
    return TorchDenoiser(from_checkpoint(checkpoint).to(device), checkpoint.contract, device, dtype)


def agreement_of(denoiser: Denoiser, checkpoint: Checkpoint) -> Agreement:
    """One step of PROBES designs on this engine and on OpenVINO FP32: random sequences, targets over the
    contract's range, a number of mutations halfway through the published loop."""
    from legscore.generate.openvino_denoiser import OpenVINODenoiser

    output, seeds = checkpoint.contract.output, np.arange(PROBES)
    assert output.min is not None and output.max is not None  # noqa: PT018 (a generator's contract has both)
    targets = np.linspace(output.min, output.max, PROBES, dtype=np.float32)
    bases = one_hot_bases(start_codes(seeds, checkpoint.contract.length))
    reference, found = OpenVINODenoiser(checkpoint, load_recipe("fp32")), []
    try:
        for engine in (denoiser, reference):
            engine.begin(bases, targets, seeds)
            engine.step(1, 50, 80)
            found.append(engine.bases().astype(np.float64))
    finally:
        reference.close()
    same = found[0].argmax(axis=1) == found[1].argmax(axis=1)
    return Agreement(float(np.sqrt(((found[0] - found[1]) ** 2).mean())), float(same.mean()))
