"""Training: targets, folds, data and sampling against hand-computed values; determinism, resume, bad
input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import human_contract, measured, yeast_contract
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs legscore[train]")
mmh3 = pytest.importorskip("mmh3")

from legscore.dna.folds import folds_of_rows  # noqa: E402
from legscore.dna.one_hot import one_hot  # noqa: E402
from legscore.errors import InputError, LegscoreError, OutputError  # noqa: E402
from legscore.model.legnet import LegNet  # noqa: E402
from legscore.train.construct import construct_file  # noqa: E402
from legscore.train.data import DataOptions, read_training_data  # noqa: E402
from legscore.train.inputs import codes_of, encode, shift  # noqa: E402
from legscore.train.optim import initialise, make_optimizer, make_schedule  # noqa: E402
from legscore.train.presets import PRESETS, resolve  # noqa: E402
from legscore.train.sampler import Sampler  # noqa: E402
from legscore.train.soft_targets import adaptive_sd, is_singleton, soft_targets  # noqa: E402

YEAST = yeast_contract()
TINY = {"widths": (16, 16, 16), "epochs": 2, "steps_per_epoch": 6, "batch": 16, "kernel": 3}


def phi(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


@pytest.mark.parametrize("e", [0.0, 0.3, 4.0, 8.5, 11.27, 16.9, 17.0])
def test_soft_targets_by_hand(e: float) -> None:
    """Bin i holds P(i <= N(e + 0.5, 0.5) < i + 1); the ends are open."""
    cdf = [phi((edge - (e + 0.5)) / 0.5) for edge in range(1, 18)]
    expected = [cdf[0], *(cdf[i] - cdf[i - 1] for i in range(1, 17)), 1 - cdf[16]]
    got = soft_targets(torch.tensor([e]))[0]
    assert np.allclose(got, expected, atol=1e-6)
    assert float(got.sum()) == pytest.approx(1)


def test_soft_targets_mean_and_variants() -> None:
    bins = torch.arange(18, dtype=torch.float32)
    means = (soft_targets(torch.tensor([0.0, 8.5, 17.0])) * bins).sum(1)
    assert np.allclose(means, [0.16, 8.5, 16.84], atol=0.005)
    assert soft_targets(torch.tensor([3.0]), bins=12, shift=0.0, sd=1.5).shape == (1, 12)
    wide = soft_targets(torch.tensor([8.0, 8.0]), sd=torch.tensor([0.5, 2.0]))
    assert wide[1].max() < wide[0].max()
    assert adaptive_sd(torch.tensor([10.0])).item() == pytest.approx(1.4087)
    assert is_singleton(torch.tensor([3.0, 3.5, -2.0])).tolist() == [True, False, True]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_folds_equal_mmh3(length: int, n: int, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(0, 256, (n, length), dtype=np.uint8)
    found = folds_of_rows(rows, 7, seed)
    assert found.tolist() == [mmh3.hash(row.tobytes(), seed, signed=False) % 7 for row in rows]
    assert folds_of_rows(rows).tolist() == [mmh3.hash(row.tobytes(), 42, signed=False) % 10 for row in rows]


def test_data_windows_folds_and_singletons(table: Path, tmp_path: Path) -> None:
    data = read_training_data(table, YEAST, DataOptions())
    rows = pq.read_table(table).to_pylist()
    assert len(data) == 400
    letters = np.frombuffer(b"AGCTN", np.uint8)
    for i in (0, 7, 399):
        window = YEAST.window(rows[i]["sequence"][17:-13])
        assert letters[data.codes_NL[i]].tobytes().decode() == window
        assert data.fold_N[i] == mmh3.hash(rows[i]["sequence"], 42, signed=False) % 10
        assert data.singleton_N[i] == (rows[i]["expression"] == round(rows[i]["expression"]))
        assert data.expression_N[i] == np.float32(rows[i]["expression"])
    padded = read_training_data(table, YEAST, DataOptions(fold_on="padded"))
    assert padded.fold_N[3] == mmh3.hash(YEAST.window(rows[3]["sequence"][17:-13]), 42, signed=False) % 10
    assert padded.sha256 != data.sha256
    (tmp_path / "challenge.txt").write_text("".join(f"{r['sequence']}\t{r['expression']!r}\n" for r in rows))
    headerless = read_training_data(tmp_path / "challenge.txt", YEAST, DataOptions())
    assert headerless.sha256 == data.sha256


def test_data_in_parts_and_on_disk(table: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = read_training_data(table, YEAST, DataOptions(weight_column="reads"))
    monkeypatch.setattr("legscore.train.data.PART_ROWS", 33)
    monkeypatch.setattr("legscore.train.data.MEMORY_BYTES", 1000)
    cut = read_training_data(table, YEAST, DataOptions(weight_column="reads"), tmp_path)
    assert isinstance(cut.codes_NL, np.memmap)
    assert (cut.codes_NL == whole.codes_NL).all()
    assert (cut.fold_N == whole.fold_N).all()
    assert cut.weight_N is not None
    assert (cut.weight_N == whole.weight_N).all()
    assert cut.sha256 == whole.sha256, "the hash does not depend on how the file was cut"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("column", "values", "options", "message"),
    [
        (
            "expression",
            [18.5, 3.0, -1.0],
            {},
            r"expression outside 0..17 in rows 1 \(18.5\), 3 \(-1\); pass --out-of-range",
        ),
        ("expression", ["a", "b", "c"], {}, "column 'expression' must hold numbers"),
        ("expression", [float("nan")] * 3, {}, "no row is usable for training"),
        ("reads", [-1, 1, 1], {"weight_column": "reads"}, "must hold weights of at least 0"),
        ("reads", [1, 1, 1], {"weight_column": "count"}, "has no column 'count'"),
        ("reads", [1.5, 1, 1], {"fold_column": "reads"}, "must hold whole fold numbers"),
        ("reads", [None, 1, 1], {"fold_column": "reads"}, "must hold whole fold numbers"),
        ("reads", [-1, 1, 1], {"fold_column": "reads"}, "must hold whole fold numbers, 0 or more"),
        ("reads", [0, 1, 1], {"split_column": "reads"}, "it must hold text such as train and valid"),
        ("reads", [0, 1, 1], {"split_column": "part"}, "has no column 'part'"),
        ("reads", [0, 1, 1], {"where": (("medium", "x"),)}, "has no column 'medium' for --where"),
        ("level", [1.0, 2.0, 3.0], {}, r"has no expression column .*Name it with --expression"),
    ],
)
def test_bad_data(
    tmp_path: Path, column: str, values: list[Any], options: dict[str, Any], message: str
) -> None:
    t = measured(3)
    t = (
        t.set_column(t.column_names.index(column), column, pa.array(values))
        if column in t.column_names
        else t.drop_columns(["expression"]).append_column(column, pa.array(values))
    )
    pq.write_table(t, tmp_path / "t.parquet")
    with pytest.raises(InputError, match=message):
        read_training_data(tmp_path / "t.parquet", YEAST, DataOptions(**options))


def test_fold_column_overrides_hashing(tmp_path: Path) -> None:
    t = measured(4).append_column("part", pa.array([0, 9, 3, 9]))
    pq.write_table(t, tmp_path / "t.parquet")
    assert read_training_data(
        tmp_path / "t.parquet", YEAST, DataOptions(fold_column="part")
    ).fold_N.tolist() == [0, 9, 3, 9]


def test_out_of_range_and_dropped_rows_are_counted(tmp_path: Path) -> None:
    t = measured(6)
    texts = t["sequence"].to_pylist()
    texts[1], texts[2] = None, "AX"
    t = t.set_column(0, "sequence", pa.array(texts)).set_column(
        1, "expression", pa.array([20.0, 1.0, 2.0, float("inf"), 5.5, 6.0])
    )
    pq.write_table(t, tmp_path / "t.parquet")
    dropped = read_training_data(tmp_path / "t.parquet", YEAST, DataOptions(out_of_range="drop"))
    assert dropped.report == {
        "rows": 6,
        "null_sequence": 1,
        "invalid_base": 1,
        "nonfinite_expression": 1,
        "out_of_range": 1,
        "duplicate_windows": 0,
        "singletons": 1,
        "used": 2,
    }
    clipped = read_training_data(tmp_path / "t.parquet", YEAST, DataOptions(out_of_range="clip"))
    assert clipped.expression_N.tolist() == [17.0, 5.5, 6.0]
    t = t.set_column(1, "expression", pa.array([20.5, 1.0, 2.0, -3.5, 5.5, 6.0]))
    pq.write_table(t, tmp_path / "t.parquet")
    clipped = read_training_data(tmp_path / "t.parquet", YEAST, DataOptions(out_of_range="clip"))
    assert clipped.expression_N.tolist() == [17.0, 0.0, 5.5, 6.0]
    assert clipped.singleton_N.tolist() == [False, False, False, True], "clipping makes no singletons"


@pytest.mark.parametrize("rc", ["both", "random", "none"])
def test_sampler_is_a_function_of_seed_and_step(rc: str) -> None:
    sampler = Sampler(50, 16, 3, rc)
    size = 100 if rc == "both" else 50
    draws = [sampler.draw(step) for step in range(30)]
    rows = np.concatenate([r for r, _, _ in draws])
    assert (np.bincount(rows[:size], minlength=50) == size // 50).all(), (
        "each pass holds every row once (or on both strands)"
    )
    if rc == "both":
        both = {
            (int(r), bool(s))
            for r, s in zip(rows[:100], np.concatenate([s for _, s, _ in draws])[:100], strict=True)
        }
        assert len(both) == 100
    again = Sampler(50, 16, 3, rc)
    for step in (29, 0, 13):
        assert all((a == b).all() for a, b in zip(again.draw(step), draws[step], strict=True))
    assert any((Sampler(50, 16, 4, rc).draw(0)[0] != draws[0][0]).tolist())
    reverse = np.concatenate([s for _, s, _ in draws])
    assert reverse.any() == (rc != "none")


def test_weighted_sampling_follows_the_weights() -> None:
    weights = np.array([0.0, 1.0, 3.0])
    rows = np.concatenate([Sampler(3, 1000, 0, "none", weights).draw(step)[0] for step in range(20)])
    share = np.bincount(rows, minlength=3) / len(rows)
    assert share[0] == 0
    assert share[2] == pytest.approx(0.75, abs=0.02)


def test_encode_equals_its_numpy_twin() -> None:
    codes = np.random.default_rng(0).integers(0, 5, (6, 150), dtype=np.uint8)
    reverse, single = np.array([0, 1, 0, 1, 1, 0], bool), np.array([1, 0, 0, 1, 0, 0], bool)
    got = encode(torch.from_numpy(codes), torch.from_numpy(reverse), torch.from_numpy(single), YEAST).numpy()
    from legscore.dna.contract import reverse_complement

    for i in range(6):
        expected = np.empty((1, 6, 150), np.float32)
        row = reverse_complement(codes[i : i + 1]) if reverse[i] else codes[i : i + 1]
        one_hot(row, YEAST, is_reverse=bool(reverse[i]), is_singleton=bool(single[i]), out=expected)
        assert (got[i] == expected[0]).all()


def test_presets_are_the_published_networks() -> None:
    assert PRESETS["noginet"].architecture().n_parameters() == 1_852_846
    assert PRESETS["optimized"].architecture().n_parameters() == 2_129_602
    assert PRESETS["noginet"].architecture().cp_ranks == (410, 102, 102, 26, 26, 26)


def test_initialisation_and_optimisers() -> None:
    network = LegNet(resolve("noginet").architecture())
    initialise(network, torch.Generator().manual_seed(0))
    conv = network.blocks[0].mix.conv.weight
    assert float(conv.detach().std()) == pytest.approx(math.sqrt(2 / (7 * 128)), rel=0.02)
    assert float(network.blocks[0].se.bilinear.composed().detach().std()) == pytest.approx(0.00075, rel=0.15)
    assert float(network.blocks[0].se.squeeze.weight.detach().std()) == pytest.approx(0.001, rel=0.05)
    recipe = resolve("optimized", options={"steps_per_epoch": 10, "epochs": 10})
    network = LegNet(resolve("optimized", options=TINY).architecture())
    optimizer = make_optimizer(network, recipe)
    assert (type(optimizer).__name__, optimizer.param_groups[0]["weight_decay"]) == ("Lion", 0.1)
    make_schedule(optimizer, recipe, 100)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0005 / 25)


@pytest.mark.parametrize(("preset", "cycles"), [("noginet", True), ("optimized", False), ("human", False)])
def test_one_cycle_moves_the_momentum_as_torch_does(preset: str, cycles: bool) -> None:
    """The first beta goes 0.95 → 0.85 → 0.95 against the rate in the original's recipe, and stays elsewhere."""
    steps = 40
    recipe = resolve(preset, options={**TINY, "pools": (), "steps_per_epoch": steps, "epochs": 1})
    assert recipe.cycle_momentum is cycles
    optimizer = make_optimizer(LegNet(recipe.architecture()), recipe)
    still = optimizer.param_groups[0]["betas"]
    schedule = make_schedule(optimizer, recipe, steps)
    judged = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=recipe.max_lr)
    judge = torch.optim.lr_scheduler.OneCycleLR(judged, recipe.max_lr, total_steps=steps)
    path = []
    for _ in range(steps - 1):
        group, other = optimizer.param_groups[0], judged.param_groups[0]
        assert group["lr"] == pytest.approx(other["lr"])
        assert group["betas"] == (other["betas"] if cycles else still)
        path.append(group["betas"][0])
        for stepped in (optimizer, judged, schedule, judge):
            stepped.step()
    if cycles:
        assert (path[0], min(path), max(path)) == pytest.approx((0.95, 0.85, 0.95), abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimiser": "lion"}, r"unknown setting 'optimiser' \(did you mean \"optimizer\"\?\)"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; known are adamw, lion"),
        ({"epochs": "5"}, "epochs is '5', of the wrong type"),
        ({"batch": 1}, "batch is 1; it must be at least 2"),
        ({"target_sd_rule": "adaptive", "bins": 21}, "adaptive has no width above 20 bins; bins is 21"),
        ({"max_lr": 0.0}, "must be above 0"),
        ({"widths": [1.5]}, "of the wrong type"),
    ],
)
def test_recipes_refuse(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LegscoreError, match=message):
        resolve("noginet", options=options)


def test_split_column_and_where(tmp_path: Path) -> None:
    """train is fold 0, validation fold 1, other rows stay out and are counted; a fold column beside it must
    be chosen."""
    t = measured(8).append_column(
        "split", pa.array(["train", "valid", "test", None, "Train", "val", "validation", "train"])
    )
    t = t.append_column("medium", pa.array(["a", "a", "a", "a", "b", "a", "a", "a"])).append_column(
        "batch", pa.array(range(8))
    )
    pq.write_table(t, tmp_path / "t.parquet")
    data = read_training_data(tmp_path / "t.parquet", YEAST, DataOptions(where=(("medium", "a"),)))
    assert data.fold_N.tolist() == [0, 1, 1, 1, 0]
    assert data.folds == {"by": "split", "column": "split"}
    assert (data.report["left_out_by_where"], data.report["in_no_split"], data.report["used"]) == (1, 2, 5)
    assert (
        len(
            read_training_data(
                tmp_path / "t.parquet", YEAST, DataOptions(where=(("batch", "3"),), fold_column="hash")
            )
        )
        == 1
    )
    hashed = read_training_data(tmp_path / "t.parquet", YEAST, DataOptions(fold_column="hash"))
    assert hashed.folds == {
        "by": "mmh3",
        "fold_on": "given",
        "n_folds": 10,
        "seed": 42,
        "sequence_is": "oligo",
    }
    pq.write_table(t.append_column("fold", pa.array(range(8))), tmp_path / "both.parquet")
    with pytest.raises(InputError, match="has a split and a fold column; choose"):
        read_training_data(tmp_path / "both.parquet", YEAST, DataOptions())
    assert read_training_data(
        tmp_path / "both.parquet", YEAST, DataOptions(fold_column="fold")
    ).fold_N.tolist() == list(range(8))


def test_duplicates_are_counted(tmp_path: Path) -> None:
    t = measured(5)
    pq.write_table(pa.concat_tables([t, t.slice(0, 2), t.slice(0, 1)]), tmp_path / "t.parquet")
    assert read_training_data(tmp_path / "t.parquet", YEAST, DataOptions()).report["duplicate_windows"] == 3


def test_singletons_by_value_frequency(tmp_path: Path) -> None:
    """Values, not reads: those that occur at least N times are flagged, whole or not."""
    values = [2.5, 2.5, 2.5, 4.0, 4.0, 7.25]
    t = measured(6).set_column(1, "expression", pa.array(values))
    pq.write_table(t, tmp_path / "t.parquet")
    data = read_training_data(
        tmp_path / "t.parquet", YEAST, DataOptions(singletons="frequency", singleton_min=3)
    )
    assert data.singleton_N.tolist() == [True, True, True, False, False, False]
    whole = read_training_data(tmp_path / "t.parquet", YEAST, DataOptions())
    assert whole.singleton_N.tolist() == [False, False, False, True, True, False]


def test_shift_moves_windows_along_the_vector() -> None:
    """Shift s drops s bases on the left and gains s of what follows in the vector, as text."""
    recipe = PRESETS["human"]
    rng = np.random.default_rng(0)
    window = "".join(rng.choice(list("ACGT"), 230))
    letters = np.frombuffer(b"AGCTN", np.uint8)
    codes = codes_of(window).expand(3, -1)
    moved = shift(codes, torch.tensor([0, 5, 21]), codes_of(recipe.construct.downstream)).numpy()
    for row, s in zip(moved, (0, 5, 21), strict=True):
        assert letters[row].tobytes().decode() == window[s:] + "CACTAGAGGGTATATAATGGAAGCTCGACTTCC"[:s]
    drawn = np.concatenate([Sampler(50, 16, 3, "random", None, 21).draw(step)[2] for step in range(60)])
    assert (drawn.min(), drawn.max()) == (0, 21)
    assert np.bincount(drawn).std() / np.bincount(drawn).mean() < 0.3


def test_human_preset_is_the_published_network() -> None:
    recipe = PRESETS["human"]
    assert recipe.architecture().n_parameters() == 857_825
    contract = recipe.contract()
    assert contract.n_value == 0
    assert (contract.output.kind, contract.output.min, contract.output.max) == ("scalar", None, None)
    assert (contract.flank5, contract.insert_max) == (human_contract().flank5, 200)
    assert recipe.steps_in_epoch(3000) == 3, "an epoch is one pass"


def test_constructs_of_other_assays(tmp_path: Path) -> None:
    text = (
        'length = 60\nflank5 = "ACGTACGTAC"\nflank3 = "GGGG"\nadapter5 = "GTAC"\nadapter3 = "GG"\n'
        'insert_min = 46\ninsert_max = 50\nunit = "counts"\n'
    )
    (tmp_path / "c.toml").write_text(text)
    recipe = resolve("noginet", options={"construct": construct_file(tmp_path / "c.toml"), "bins": 12})
    contract = recipe.contract()
    assert (contract.length, contract.adapter5, contract.output.unit, contract.output.max) == (
        60,
        "GTAC",
        "counts",
        11.0,
    )
    assert contract.window("A" * 50) == "ACGTAC" + "A" * 50 + "GGGG"
    (tmp_path / "r.toml").write_text("bins = 9\n[construct]\n" + text)
    assert resolve("noginet", tmp_path / "r.toml").contract().length == 60
    for wrong, message in (
        (text + "flank4 = 1\n", "unknown setting 'flank4'"),
        (text.replace("length = 60", 'length = "60"'), "length is '60'; it must be a number"),
        (text.replace("insert_min = 46\n", ""), "lacks insert_min"),
        ("length = ", "cannot be read"),
    ):
        (tmp_path / "c.toml").write_text(wrong)
        with pytest.raises(LegscoreError, match=message):
            construct_file(tmp_path / "c.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "scalar"}, "loss kl compares distributions over bins"),
        ({"shift_max": 5}, "the construct has 0 bases downstream"),
        ({"rc": "none"}, "reverse_channel needs training on both strands"),
        ({"pools": [2]}, "pools one less than widths"),
        ({"pct_start": 1.0}, "must be between 0 and 1"),
        ({"se_divisor": 100}, "leaves the SE gate no hidden units"),
        ({"max_lr": 1e38}, "no network trains above 100"),
        ({"construct": "mouse"}, "construct 'mouse' is unknown"),
    ],
)
def test_recipes_refuse_what_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LegscoreError, match=message):
        resolve("noginet", options=options)


def test_a_disk_without_room_for_large_sets(
    table: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Room is reserved before windows are mapped: a disk that fills later would end the process without a
    word."""
    monkeypatch.setattr("legscore.train.data.MEMORY_BYTES", 1000)

    def full(handle: int, start: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OutputError, match=r"has no room for 0.0 GiB of windows: No space left on device"):
        read_training_data(table, YEAST, DataOptions(), tmp_path)


def test_human_tables_as_published(tmp_path: Path) -> None:
    """seq_id, seq, mean_value, fold_num, rev: folds are followed, the reversed copies left out and
    counted."""
    contract = PRESETS["human"].contract()
    rng = np.random.default_rng(0)
    texts = ["AGGACCGGATCAACT" + "".join(rng.choice(list("ACGT"), 200)) + "CATTGCGTGAACCGA" for _ in range(4)]
    t = pa.table(
        {"seq": texts, "mean_value": [-0.5, 1.0, 2.0, 0.25], "fold_num": [1, 2, 3, 3], "rev": [0, 0, 1, 0]}
    )
    pq.write_table(t, tmp_path / "h.parquet")
    data = read_training_data(tmp_path / "h.parquet", contract, DataOptions())
    assert data.fold_N.tolist() == [1, 2, 3]
    assert data.report["reverse_copies_left_out"] == 1
    assert data.folds == {"by": "fold", "column": "fold_num"}


def test_a_preset_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('preset = "human"\nepochs = 3\n')
    assert resolve(None, tmp_path / "r.toml").preset == "human"
    with pytest.raises(LegscoreError, match="says preset 'human', the command line 'optimized'"):
        resolve("optimized", tmp_path / "r.toml")
