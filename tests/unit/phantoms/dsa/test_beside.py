"""The page of real beside simulated strips, with simulated DICOM in the place of the real."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_clipmed.cli.phantom import app
from napari_clipmed.errors import ClipmedError
from napari_clipmed.phantoms.dsa.beside import SHOWN, beside_page, look_of, real_strips
from napari_clipmed.phantoms.dsa.writer import write_dsa_phantoms


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_dsa_phantoms(1, 5, folder / "made", "dicom", size=64, preset="sample", split="test")
    found = {path.stem: path for path in folder.rglob("*.dcm")}
    for view in ("AP", "LA"):
        found[view].rename(folder / f"MMD-{view}.dcm")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_names_of_files_tell_class_and_view(runs: Path) -> None:
    strips = real_strips(runs)
    assert [(strip.label, strip.view, strip.real) for strip in strips] == [
        ("MMD", "AP", True),
        ("MMD", "LA", True),
    ]
    assert all(len(strip.frames) == SHOWN and strip.frames.dtype == np.uint8 for strip in strips)


def test_every_real_run_stands_above_simulated_ones_of_its_class_and_view(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "deep" / "page.html"
    groups = beside_page(runs, page, n=2, seed=1, size=64)
    assert [len(simulated) for _, simulated in groups] == [2, 2]
    for real, simulated in groups:
        assert {(one.label, one.view) for one in simulated} == {(real.label, real.view)}
        assert not any(one.real for one in simulated)
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 6 and text.count("SIMULATED MMD") == 4
    assert "stays on this machine" in text and "http" not in text and str(tmp_path) not in text


def test_figures_of_a_strip_made_by_hand() -> None:
    frames = np.full((4, 104, 104), 200, np.uint8)
    frames[2:, 10:30, 10:30] = 20  # ink from the third frame
    frames[3, 60:70, 60:70] = 255  # a bright edge
    look = look_of(frames)
    assert look.background == pytest.approx(200 / 255)
    assert look.ink == pytest.approx(400 / 104**2) and look.first == 3
    assert look.bright == pytest.approx(100 / 104**2) and look.grain == 0


def test_the_command_tells_the_figures(runs: Path, tmp_path: Path) -> None:
    call = [
        "phantom",
        "dsa",
        "--beside",
        str(runs),
        "--out",
        str(tmp_path / "page.html"),
        "--n",
        "1",
        "--size",
        "64",
    ]
    answer = json.loads(CliRunner().invoke(app, [*call, "--json"], catch_exceptions=False).stdout)
    assert [strip["real"] for strip in answer["strips"]] == [True, False, True, False]
    with pytest.raises(ClipmedError, match="no angiogram"):
        beside_page(tmp_path, tmp_path / "page.html")
