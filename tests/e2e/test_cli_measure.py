"""The commands measure and curve as a person types them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_clipmed.cli.measure import app
from napari_clipmed.errors import ClipmedError
from napari_clipmed.phantoms.dsa import sample_study


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_study("Control", tmp_path_factory.mktemp("measure"), 128)


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_lengths_and_stenosis_as_json(case: Path) -> None:
    lines = ("--line", "10,10,10,60", "--stenosis", "60,20,60,24", "--distal", "70,20,70,30")
    answer = run("measure", case, "--view", "LA", "--frame", 7, *lines, "--json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert told["synthetic"] and "PHANTOM" not in answer.stdout
    distance = told["measured"][0]
    assert (distance["kind"], distance["view"], distance["frame"]) == ("distance", "LA", 7)
    assert distance["unit"] == "mm" and "magnification" in distance["calibration"]
    assert distance["by_hand"] == pytest.approx(50 * 1.64, rel=0.05)
    assert told["stenosis"]["LA"]["reference"] == "distal"
    assert told["stenosis"]["LA"]["by_hand"] == pytest.approx(60, abs=0.1)


def test_lengths_as_words(case: Path) -> None:
    answer = run("measure", case, "--line", "10,10,10,60")
    assert "AP frame 1: distance" in answer.output and "SIMULATED" in answer.output
    assert "not for diagnosis" in answer.output


def test_curves_of_both_views_and_their_table(case: Path, tmp_path: Path) -> None:
    table = tmp_path / "curves.csv"
    regions = ("--roi", "AP:ellipse:95,55,120,85", "--roi", "LA:90,55,110,80")
    answer = run("curve", case, *regions, "--csv", table, "--json")
    assert answer.exit_code == 0, answer.output
    curves = json.loads(answer.stdout)["curves"]
    assert [curve["view"] for curve in curves] == ["AP", "LA"]
    for curve in curves:
        assert 1.0 < curve["arrival"] < curve["time_to_peak"] < 5.0 and curve["unit"] == "s"
    rows = [line for line in table.read_text().splitlines() if not line.startswith("#")]
    assert len(list(csv.DictReader(rows))) == 2 * 16
    assert table.read_text().startswith("# SIMULATED")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("measure", "--line", "1,2,3"), "four numbers"),
        (("measure",), "nothing to measure"),
        (("measure", "--line", "1,1,5,5", "--frame", "99"), "no frame 99"),
        (("measure", "--line", "1,1,5,5", "--view", "PA"), "no view"),
        (("curve", "--roi", "AP"), "no region"),
        (("curve", "--roi", "AP:500,500,510,510"), "no pixel"),
    ],
)
def test_wrong_calls_get_a_sentence(case: Path, arguments: tuple[str, ...], says: str) -> None:
    answer = run(arguments[0], case, *arguments[1:])
    assert isinstance(answer.exception, ClipmedError) and says in answer.exception.message
