"""Ensembles among threads and processes, in notebooks, and as text: pickled, shared, shown, listed."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading
import types
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import random_dna

import legscore
from legscore.errors import ModelError
from legscore.system import notebook

RNG = np.random.default_rng(3)
TEXTS = [random_dna(RNG, int(n)) for n in RNG.integers(60, 100, 60)]


@pytest.fixture(scope="module")
def ensemble(toy_models: Path) -> Any:
    with legscore.load_ensemble(toy_models, engine="openvino", precision="fp32", rows_at_once=16) as loaded:
        yield loaded


def test_many_threads_score_at_once_with_right_results(ensemble: Any) -> None:
    """Twelve threads with rows of their own, each by another method, on one engine."""
    chunks = [TEXTS[start : start + 20] for start in range(41)] * 2
    expected = dict(zip(TEXTS, ensemble.score(TEXTS), strict=True))
    barrier = threading.Barrier(12)

    def score(number: int) -> bool:
        if number < 12:
            barrier.wait()  # they do begin together
        rows = chunks[number]
        wanted = np.array([expected[text] for text in rows])
        if number % 4 == 0:
            found = ensemble.score(rows)
        elif number % 4 == 1:
            found = ensemble.effects(rows, rows[::-1], invalid="nan").ref_score
            wanted = np.where(np.isnan(found), np.nan, wanted)  # a row that is its own alternative
        elif number % 4 == 2:
            found = np.array(
                ensemble.score_table(pa.table({"sequence": rows}), part_rows=7).read_all()["score"]
            )
        else:
            found = ensemble.saturate(rows[:2]).ref_score
            wanted = wanted[:2]
        return np.array_equal(found, wanted.astype(np.float32), equal_nan=True)

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(score, range(len(chunks))))


def test_an_ensemble_is_pickled_as_what_loads_it(ensemble: Any, toy_models: Path, tmp_path: Path) -> None:
    written = pickle.dumps(ensemble)
    assert len(written) < 4096
    for again in (pickle.loads(written), copy.deepcopy(ensemble)):
        with again:
            assert (again.score(TEXTS) == ensemble.score(TEXTS)).all()
            assert again.engine == ensemble.engine
    for thing in (ensemble.contract, ensemble.fidelity, ensemble.effects(TEXTS[:1], TEXTS[1:2])):
        assert repr(pickle.loads(pickle.dumps(thing))) == repr(thing)
    member = pickle.loads(pickle.dumps(ensemble.members[0]))
    assert all((member.arrays[name] == array).all() for name, array in ensemble.members[0].arrays.items())
    model = tmp_path / "m.safetensors"
    model.write_bytes((toy_models / "member0.safetensors").read_bytes())
    with legscore.load_ensemble(model, engine="null") as single:
        written = pickle.dumps(single)
    model.write_bytes((toy_models / "member1.safetensors").read_bytes())
    with pytest.raises(ModelError, match="has changed since the ensemble was pickled; load it anew"):
        pickle.loads(written)


def in_another_process(ensemble: Any) -> np.ndarray:
    with ensemble:
        return ensemble.score(TEXTS[:5])


def test_an_ensemble_goes_to_another_process(ensemble: Any) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(in_another_process, ensemble).result()
    assert (found == ensemble.score(TEXTS[:5])).all()


def test_an_engine_says_why_it_is_not_pickled(ensemble: Any) -> None:
    with pytest.raises(TypeError, match=r"an engine cannot be pickled.* Pickle the legscore.Ensemble"):
        pickle.dumps(ensemble._engine)


def test_what_things_are_shown_as(ensemble: Any) -> None:
    """One line as text; a table as HTML, in which names cannot be markup."""
    assert repr(ensemble).startswith("<Ensemble of 3 models on openvino (fp32): ")
    assert "member0, member1, member2" in ensemble._repr_html_()
    assert repr(ensemble.contract).startswith("<Contract: ")
    assert "flank5" in ensemble.contract._repr_html_()
    assert repr(ensemble.members[0]).startswith("<Checkpoint member0: ")
    effects = ensemble.effects(TEXTS[:30], TEXTS[30:])
    assert repr(effects).startswith("Effects of 30 rows (30 ok; effect ")
    html = effects._repr_html_()
    assert html.count("<tr>") == 12
    assert html.count("⋮") == 5
    empty = ensemble.effects([], [])
    assert repr(empty) == "Effects of 0 rows (none)"
    assert "<tbody></tbody>" in empty._repr_html_()
    table = pa.table({"sequence": TEXTS[:2], "name": ["<b>", "b"]})
    maps = ensemble.saturate(table)
    assert "&lt;b&gt;" in maps._repr_html_()
    assert repr(maps).startswith("SaturationMaps of 2 sequences (2 ok; effect ")
    assert [one.name for one in maps] == ["<b>", "b"]


def test_dir_lists_the_public_names() -> None:
    assert set(legscore.__all__) <= set(dir(legscore))
    assert not [name for name in dir(legscore) if name not in legscore.__all__ and not name.startswith("__")]
    for name in legscore.__all__:
        assert getattr(legscore, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'scores'"):
        _ = legscore.scores


def bars(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What bars were shown, with what they counted."""
    shown: list[dict[str, Any]] = []

    class Bar:
        def __init__(self, **settings: Any) -> None:
            self.n = 0
            shown.append(self.__dict__ | settings)
            self.about = shown[-1]

        def update(self, n: int) -> None:
            self.n += n
            self.about["n"] = self.n

        def close(self) -> None:
            self.about["closed"] = True

    monkeypatch.setattr(notebook, "_tqdm", lambda **settings: Bar(**settings))
    return shown


def test_bars_in_notebooks_and_where_asked_for(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On by default in a kernel, elsewhere when asked for; each counts all rows and is closed."""
    shown = bars(monkeypatch)
    (tmp_path / "s.csv").write_text("sequence\n" + "ACGT\n" * 100)
    table = pa.table({"sequence": ["ACGT"] * 100})

    def all_of_them(**more: Any) -> None:
        legscore.score_file(
            tmp_path / "s.csv", tmp_path / "o.csv", models=toy_model, engine="null", force=True, **more
        )
        legscore.score_table(table, models=toy_model, engine="null", part_rows=30, **more).read_all()
        with legscore.load_ensemble(toy_model, engine="null", rows_at_once=30, **more) as ensemble:
            ensemble.score(table)

    all_of_them()
    assert shown == []
    all_of_them(progress=True)
    assert [(bar["total"], bar["n"], bar["closed"]) for bar in shown] == [(100, 100, True)] * 3
    shown.clear()
    kernel = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: kernel))
    all_of_them()
    assert len(shown) == 3
    shown.clear()
    all_of_them(progress=False)
    assert shown == []
    with pytest.raises(ZeroDivisionError), notebook.progress_bar(True, "a", 1):
        raise ZeroDivisionError
    assert shown[-1]["closed"]


def test_importing_takes_no_time() -> None:
    """Nothing but the standard library's own is imported: the least of five is below 50 ms."""
    code = (
        "import time; began = time.perf_counter(); import legscore; took = time.perf_counter() - began\n"
        "dir(legscore); import sys; print(took, *[m for m in sys.modules if m.startswith('legscore')])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(5)
    ]
    assert min(float(run[0]) for run in runs) < 0.05
    assert set(runs[0][1:]) == {"legscore", "legscore.version"}
