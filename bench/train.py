"""How fast is training? Samples a second against the published way, same batch, same machine, in turn.

First checks that both ways give the same inputs, targets, loss and gradients in FP32, then times optimiser
steps: a DataLoader with row-by-row Python encoding in a worker process feeding the plain network in FP32, and
legscore's trainer in FP32 and in the precision it chooses. Expected on 2 cores with AVX512-BF16, original
network, batch 128: 75-85 samples/s for the plain loop, 170 for legscore (convolutions as channels-last bf16
products, grouped ones in blocks): ≥ 1.8 ×; time spent on getting batches under 1 %.

    python bench/train.py [--data FILE] [--preset noginet] [--batch 128] [--rounds 5] [--steps 3] [--save]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from machine import arguments, finish
from published import PublishedLegNet, PublishedRows
from torch import Tensor
from torch.utils.data import DataLoader

from legscore.dna.contract import BASES
from legscore.system.allocator import keep_freed_parts
from legscore.system.cores import usable_cores
from legscore.train.columns import DataOptions
from legscore.train.data import read_training_data
from legscore.train.loop import Trainer
from legscore.train.optim import make_optimizer
from legscore.train.presets import resolve
from legscore.train.soft_targets import soft_targets


def random_table(folder: Path, rows: int = 4000) -> Path:
    """80-bp inserts and expressions at random: speed does not depend on what they hold."""
    rng = np.random.default_rng(0)
    path = folder / "random.tsv"
    letters = rng.choice(list("ACGT"), (rows, 80))
    path.write_text(
        "sequence\texpression\n" + "".join(f"{''.join(row)}\t{rng.uniform(0, 17):.3f}\n" for row in letters)
    )
    return path


def check(trainer: Trainer, plain: PublishedLegNet, rows: PublishedRows) -> float:
    """Same inputs, targets, loss and gradients both ways; returns the largest relative error of a
    gradient."""
    picked, reverse, _ = trainer.sampler.draw(0)
    picked = trainer.train_rows[picked[:16]]
    x, target = (
        torch.stack(t)
        for t in zip(*(rows[int(2 * r + s)] for r, s in zip(picked, reverse[:16], strict=True)), strict=True)
    )
    ours_x, expression = trainer.batch(0)
    ours_target = soft_targets(expression[:16])
    if not torch.equal(ours_x[:16], x) or float((ours_target - target).abs().max()) > 1e-5:
        raise SystemExit("inputs or targets differ; no timing of wrong batches")
    trainer.network.train()
    plain.train()
    losses = []
    for forward in (trainer.network.logits, plain):
        loss = torch.nn.functional.kl_div(torch.log_softmax(forward(x), dim=1), target, reduction="batchmean")
        loss.backward()
        losses.append(float(loss.detach()))
    theirs = dict(plain.named_parameters())
    errors = []
    for name, parameter in trainer.network.named_parameters():
        assert parameter.grad is not None
        expected = theirs[name].grad
        assert expected is not None
        scale = float(expected.norm())
        if scale > 1e-7:
            errors.append(float((parameter.grad - expected).norm()) / scale)
    if abs(losses[0] - losses[1]) > 1e-4 * losses[1] or max(errors) > 1e-2:
        raise SystemExit(
            f"losses {losses} or gradients (relative error {max(errors):.1e}) differ; no timing of "
            "wrong steps"
        )
    trainer.network.zero_grad()
    plain.zero_grad()
    return max(errors)


def published_steps(
    plain: PublishedLegNet, rows: PublishedRows, recipe: object, batch: int
) -> Iterator[float]:
    """Optimiser steps of the plain loop, one at a time."""
    optimizer = make_optimizer(plain, recipe)  # type: ignore[arg-type]
    while True:
        loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            rows, batch, shuffle=True, num_workers=1, drop_last=True
        )
        for x, target in loader:
            loss = torch.nn.functional.kl_div(
                torch.log_softmax(plain(x), dim=1), target, reduction="batchmean"
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield float(loss.detach())


def main() -> None:
    options = arguments(__doc__ or "", data="", preset="noginet", batch=128, rounds=5, steps=3)
    keep_freed_parts()
    torch.set_num_threads(usable_cores())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = Path(options.data) if options.data else random_table(folder)
        settings = {"batch": options.batch, "rc": "both"}
        recipe = resolve(options.preset, options=settings)
        table = read_training_data(
            path, recipe.contract(), DataOptions(fold_column="hash", out_of_range="clip")
        )
        letters = np.frombuffer((BASES + "N").encode(), dtype=np.uint8)
        left = recipe.construct.length - len(recipe.construct.flank3) - 80
        inserts = [letters[codes[left : left + 80]].tobytes().decode() for codes in table.codes_NL]
        rows = PublishedRows(inserts, table.expression_N, recipe.contract())
        trainers = {
            f"legscore {precision}": Trainer(
                resolve(options.preset, options={**settings, "precision": precision}),
                recipe.contract(),
                table,
                (9,),
                1,
                folder / precision,
            )
            for precision in ("fp32", "auto")
        }
        plain = PublishedLegNet(recipe.architecture())
        plain.load_state_dict(trainers["legscore fp32"].network.state_dict(), strict=False)
        error = check(trainers["legscore fp32"], plain, rows)
        print(f"same inputs, targets and loss; largest relative error of a gradient {error:.1e} (FP32)")

        published = published_steps(plain, rows, recipe, options.batch)
        jobs = {"published, fp32": lambda: next(published)}
        for name, trainer in trainers.items():
            jobs[name] = lambda trainer=trainer: float(trainer.train_step())  # type: ignore[misc]
        times: dict[str, list[float]] = {name: [] for name in jobs}
        for job in jobs.values():
            job()
        for trainer in trainers.values():
            trainer.waited = 0.0
        for _ in range(options.rounds):
            for name, job in jobs.items():
                for _ in range(options.steps):
                    started = time.perf_counter()
                    job()
                    times[name].append(time.perf_counter() - started)
        published.close()  # type: ignore[attr-defined]
        rates = {name: options.batch / float(np.median(seconds)) for name, seconds in times.items()}
        chosen = trainers["legscore auto"]
        wait = chosen.waited / sum(times["legscore auto"])
    print(f"\n{options.preset}, batch {options.batch}, {recipe.architecture().n_parameters():,} parameters")
    for name, rate in rates.items():
        print(f"{name:18s} {rate:7.1f} samples/s  {rate / rates['published, fp32']:5.2f} ×")
    print(
        f"legscore auto is {str(chosen.dtype).removeprefix('torch.')}; getting batches takes {wait:.2%} of "
        "its time"
    )
    result = {
        "preset": options.preset, "batch": options.batch, "samples_per_s": rates,
        "ratio": rates["legscore auto"] / rates["published, fp32"], "data_wait": wait,
        "gradient_error": error, "precision": str(chosen.dtype), "rounds": options.rounds,
        "steps": options.steps,
    }  # fmt: skip
    finish(f"train_{options.preset}", result, options.save)


if __name__ == "__main__":
    main()
