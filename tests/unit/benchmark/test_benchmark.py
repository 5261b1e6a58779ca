"""The arithmetic of the tables, the counters against known work, and the commands on what is quick."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))

from small_models import add_diagnosis_model, add_segmentation_model

from napari_clipmed.benchmark import latency, scaling
from napari_clipmed.benchmark.latency import NAMES, Latency, sentence
from napari_clipmed.benchmark.measure import count_work, time_job
from napari_clipmed.benchmark.report import (
    duration,
    latency_section,
    scaling_section,
    window_section,
    write_section,
)
from napari_clipmed.benchmark.rows import Ceilings, Growth, Row, Timing, fit_exponent
from napari_clipmed.benchmark.store_filling import fill_store
from napari_clipmed.benchmark.subjects import Models, noise_run, noise_study
from napari_clipmed.cli import benchmark as command
from napari_clipmed.cli._app import app
from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.prompts import normalise
from napari_clipmed.models.registry import Registry
from napari_clipmed.records import Store

ROW = Row(
    "study", "ours", "theirs", Timing((0.5, 0.4, 0.6)), Timing((2.0, 2.5)), flops=10**9, bytes_moved=10**8
)


def test_ratio_and_spread_are_of_medians() -> None:
    assert ROW.ratio == pytest.approx(4.5)
    written = ROW.to_json(Ceilings(4e9, 1e9))
    assert {"name", "seconds", "baseline_seconds", "ratio", "spread"} <= written.keys()
    assert written["seconds"] == 0.5
    assert written["baseline_seconds"] == 2.25
    assert written["spread"] == pytest.approx(0.4)
    assert written["share_of_matrix_ceiling"] == pytest.approx(0.5)
    assert written["share_of_memory_ceiling"] == pytest.approx(0.2)
    assert Timing((1.0, 3.0)).times(20).seconds == (20.0, 60.0)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_the_power(exponent: float) -> None:
    sizes = [10, 100, 1000, 10_000]
    assert fit_exponent(sizes, [3 * size**exponent for size in sizes]) == pytest.approx(exponent, abs=1e-9)


def test_operations_and_bytes_of_a_product_are_counted_backward_too() -> None:
    left, right = torch.zeros(8, 16), torch.zeros(16, 4)
    flops, moved = count_work(lambda: left @ right)
    assert flops == 2 * 8 * 16 * 4
    assert moved == 4 * (8 * 16 + 16 * 4 + 8 * 4)
    leaf = torch.zeros(8, 16, requires_grad=True)
    assert count_work(lambda: torch.autograd.grad((leaf @ right).sum(), leaf))[0] == 2 * flops


def test_a_job_is_timed_as_often_as_asked_and_its_memory_is_seen() -> None:
    calls: list[str] = []

    def job() -> None:
        calls.append("job")
        block = np.ones(40 * 2**20, np.uint8)
        torch.from_numpy(block).sum()

    timing = time_job(job, 3, before=lambda: calls.append("before"))
    assert calls == ["before", "job"] * 4
    assert len(timing.seconds) == 3
    assert timing.peak_bytes > 20 * 2**20


def test_sentences_differ_and_are_understood() -> None:
    read = {normalise(sentence(number)).sentence for number in range(150)}
    assert len(read) == 150


def test_noise_is_another_for_another_seed() -> None:
    assert noise_run(1, 3, 100).shape == (3, 100, 100)
    assert noise_study(1).image_hash == noise_study(1).image_hash != noise_study(2).image_hash


def test_a_store_is_filled_with_cases_that_it_can_read(tmp_path: Path) -> None:
    with Store.open(tmp_path / "workspace") as store:
        fill_store(store, 7)
        assert len(store.cases()) == len(store.current_labels()) == 7
        assert all(len(case.views) == 2 for case in store.cases())


def test_a_section_replaces_what_is_between_its_markers_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    write_section(path, "latency", "first")
    write_section(path, "scaling", "other")
    path.write_text(path.read_text().replace("# Performance", "# Performance\n\nWords of a person."))
    write_section(path, "latency", "second")
    text = path.read_text()
    assert "first" not in text
    assert "Words of a person." in text
    assert "<!-- latency: begin -->\nsecond\n<!-- latency: end -->" in text
    assert "<!-- scaling: begin -->\nother\n<!-- scaling: end -->" in text
    before = path.read_text()
    write_section(path, "latency", "second")
    assert path.read_text() == before


def test_sections_say_machine_models_ratios_and_exponents() -> None:
    table = Latency("cpu, bf16, 2 threads", "random weights", Ceilings(4e9, 1e9), [ROW])
    text = latency_section(table, "2 cores of X", 0.3, date(2026, 1, 2))
    for part in (
        "2 cores of X",
        "load average before the start 0.3",
        "| `study` | 500 ms |",
        "**4.5×**",
        "50 %",
    ):
        assert part in text
    growth = Growth("Frames", "classify", "frames", (10, 100), (Timing((1.0,)), Timing((10.0,))))
    text = scaling_section([growth], "cpu", "2 cores of X", 0.3, date(2026, 1, 2))
    assert "Exponent 1.00" in text
    assert "| frames | 10 | 100 |" in text
    assert [duration(s) for s in (0.0000123, 0.0123, 1.234, 4321.0)] == [
        "12.3 µs",
        "12.3 ms",
        "1.23 s",
        "4,321 s",
    ]


@pytest.fixture
def tiny_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of the other tests in place of those of the papers' size."""
    registry = Registry([tmp_path / "models"])
    models = Models(add_diagnosis_model(registry), add_segmentation_model(registry), "tiny, random weights")
    for module in (latency, scaling):
        monkeypatch.setattr(module, "subject_models", lambda choice: nullcontext(models))


@pytest.mark.usefixtures("tiny_subjects")
def test_the_command_answers_with_the_agreed_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "REPEATS", 2)
    monkeypatch.setattr(latency, "BASELINE_REPEATS", 1)
    document = tmp_path / "performance.md"
    names = [name for name in NAMES if name not in ("first_frame", "full_decode", "head_finetune")]
    only = [part for name in names for part in ("--only", name)]
    arguments = ["benchmark", "latency", "--json", "--device", "cpu", "--write", str(document)]
    answer = CliRunner().invoke(app, [*arguments, *only])
    assert answer.exit_code == 0, answer.output
    content = json.loads(answer.stdout)
    assert content["device"].startswith("cpu")
    assert [row["name"] for row in content["rows"]] == names
    for row in content["rows"]:
        assert row["ratio"] == pytest.approx(row["baseline_seconds"] / row["seconds"])
        assert row["seconds"] > 0
        assert row["spread"] >= 0
    assert "`new_prompt`" in document.read_text()


@pytest.mark.usefixtures("tiny_subjects")
def test_scaling_answers_with_an_exponent_for_each_table(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"classes": (2, 4), "prompts": (1, 2), "cases": (5, 10), "frames": (2, 4), "matrix": (64, 96)}
    monkeypatch.setattr(scaling, "SIZES", small)
    monkeypatch.setattr(scaling, "REPEATS", 1)
    answer = CliRunner().invoke(app, ["benchmark", "scaling", "--json", "--device", "cpu"])
    assert answer.exit_code == 0, answer.output
    tables = json.loads(answer.stdout)["tables"]
    names = [table["name"] for table in tables]
    cases = ["Cases: open one", "Cases: record", "Cases: list"]
    assert names == ["Classes", "Prompts", *cases, "Frames", "Matrix size"]
    assert all(np.isfinite(table["exponent"]) for table in tables)


def test_an_unknown_row_is_a_sentence() -> None:
    assert command._chosen(None, NAMES) == NAMES
    assert command._chosen(["full_decode", "study"], NAMES) == ("study", "full_decode")
    with pytest.raises(ClipmedError, match="nothing called 'speed'"):
        command._chosen(["speed"], NAMES)


def test_the_window_section_says_what_was_measured() -> None:
    row = {"name": "ping: open", "n": 11, "median_ms": 1.5, "p95_ms": 42.0, "p99_ms": 68.6, "worst_ms": 75.8}
    cine = {"name": "cine 512²", "seconds": 60.0, "due_fps": 30.3, "shown_fps": 24.3, "dropped": 0.198}
    text = window_section([row], cine | {"drift_ms": -0.56}, "two cores", 0.5, date(2026, 11, 25))
    assert "| ping: open | 11 | 1.5 | 42.0 | 68.6 | 75.8 |" in text
    assert "24.3 of 30.3 frames a second shown in 60 s, 19.8% dropped to stay on time, drift -0.6 ms." in text
