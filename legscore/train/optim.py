"""Optimisers, schedules and initial weights of the published recipes.

AdamW and OneCycleLR are torch's. Lion comes from the lion-pytorch package. Initial weights are
EfficientNetV2's as published: convolutions N(0, √(2 / (kernel · outputs))), BatchNorm 1 and 0, linear layers
N(0, 0.001) with zero bias, bilinear factors such that the composed tensor has SD 0.00075.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from legscore.errors import LegscoreError
from legscore.model.legnet import Bilinear, LegNet
from legscore.train.fine_tune import FineTune
from legscore.train.recipe import Recipe

BILINEAR_SD = 0.00075
LINEAR_SD = 0.001


def initialise(network: LegNet, generator: torch.Generator) -> None:
    """Set every weight anew, from the generator alone."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d):
            kernel, outputs = module.kernel_size[0], module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / (kernel * outputs)), generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, LINEAR_SD, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Bilinear):
            # a sum over R of products of three N(0, s) has SD s³·√R
            factor_sd = (BILINEAR_SD / math.sqrt(len(module.weights))) ** (1 / 3)
            nn.init.ones_(module.weights)
            for factor in (module.factor_0, module.factor_1, module.factor_2):
                nn.init.normal_(factor, 0.0, factor_sd, generator=generator)
            nn.init.zeros_(module.bias)


def make_optimizer(network: LegNet, recipe: Recipe, start: FineTune | None = None) -> torch.optim.Optimizer:
    """AdamW or Lion (betas 0.9, 0.99) with the recipe's rate and decay; the rates of a start's parts."""
    groups = start.groups(network, recipe.max_lr) if start else [{"params": list(network.parameters())}]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.max_lr, weight_decay=recipe.weight_decay)
    try:
        from lion_pytorch import Lion
    except ImportError:
        raise LegscoreError(
            "optimizer lion needs the lion-pytorch package: pip install 'legscore[train]'"
        ) from None
    lion: torch.optim.Optimizer = Lion(
        groups, lr=recipe.max_lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.99)
    )
    return lion


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """One-cycle (two phases, cosine), plateau (patience 5, factor 0.1, higher is better) or constant.

    With the recipe's `cycle_momentum` the optimiser's first beta runs against the rate, 0.95 → 0.85 → 0.95,
    as in the original's training script (torch's default); without it beta stays what it is.

    A plateau schedule is stepped once an epoch with the validation Pearson, the others once a step.
    """
    if recipe.schedule == "onecycle":
        if abs(recipe.pct_start * steps - 1) < 1e-9:  # torch divides by the length of the first phase
            raise LegscoreError(
                f"a one-cycle schedule with pct_start {recipe.pct_start:g} needs more than {steps} steps"
            )
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            total_steps=steps,
            pct_start=recipe.pct_start,
            div_factor=recipe.lr_div,
            cycle_momentum=recipe.cycle_momentum,
            three_phase=False,
            anneal_strategy="cos",
        )
    if recipe.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.1, patience=5)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=1)
