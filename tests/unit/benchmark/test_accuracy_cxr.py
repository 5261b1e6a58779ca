"""Every row of the comparison of masks answers and learns; decorations mislead where they should."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from qata_folder import make_qata

import napari_clipmed.cli.benchmark_accuracy  # noqa: F401 - adds the commands
from napari_clipmed.benchmark.accuracy import cxr
from napari_clipmed.benchmark.accuracy.cxr_data import films_of_phantoms, films_of_qata
from napari_clipmed.benchmark.accuracy.cxr_rows import ROWS, build, rows_named
from napari_clipmed.benchmark.accuracy.cxr_table import cxr_section
from napari_clipmed.benchmark.accuracy.segmenters import Ours
from napari_clipmed.cli._app import app
from napari_clipmed.errors import ClipmedError
from napari_clipmed.progress import Progress
from napari_clipmed.training.run_options import RunOptions
from napari_clipmed.training.segmentation_config import Augmentation

CPU = RunOptions(device="cpu", threads=1)
LEFT = "Unilateral pulmonary infection, one infected area, lower left lung."
RIGHT = "Unilateral pulmonary infection, one infected area, upper right lung."


@pytest.fixture(scope="module")
def qata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_qata(tmp_path_factory.mktemp("data") / "qata", {"Train": 12, "Val": 6})


@pytest.mark.parametrize("key", ROWS)
def test_every_row_answers_at_full_size_and_hears_what_it_should(key: str) -> None:
    torch.manual_seed(0)
    net = build(ROWS[key], "compact", 64)
    x = torch.rand(2, 3, 64, 64)
    masks = (torch.rand(2, 1, 64, 64) > 0.8).float()
    loss = net.loss(x, [LEFT, RIGHT], masks)
    loss.backward()
    first = next(p for p in net.parameters() if p.ndim > 3)
    assert first.grad is not None and bool(first.grad.any())
    net.eval()
    with torch.no_grad():
        one, other = net.logits(x, [LEFT, LEFT]), net.logits(x, [RIGHT, RIGHT])
    assert one.shape == (2, 1, 64, 64)
    assert torch.equal(one, other) != ROWS[key].text


def test_without_causal_module_all_features_go_on() -> None:
    torch.manual_seed(0)
    plain = build(ROWS["plain"], "compact", 64)
    assert isinstance(plain, Ours) and plain.objective.adversary == "off"
    causal, confounder = plain.network.separate(torch.rand(1, 3, 64, 64))
    assert causal.abs().sum() > 0
    nothing = plain.network.neck.aggregate(torch.zeros(1, 3 * causal.shape[1], 4, 4))
    assert torch.allclose(confounder, nothing, atol=1e-5)
    assert build(ROWS["printed"], "compact", 64).objective.adversary == "paper"
    assert build(ROWS["ours"], "compact", 64).objective.adversary == "grl"


def test_patients_of_a_test_are_never_learned_from(qata: Path) -> None:
    films = films_of_qata(qata, None, None)
    people = [
        {item.patient for item in part} for part in (films.train, films.selection, *films.tests.values())
    ]
    assert all(people) and not (people[0] & people[1]) and not ((people[0] | people[1]) & people[2])
    assert len(films_of_qata(qata, None, 3).train) == 3


def test_decorations_follow_infection_in_training_and_not_in_the_reversed_test(tmp_path: Path) -> None:
    films = films_of_phantoms(tmp_path, 8, 1, 64, Progress())
    assert len(films.train) == 8 and list(films.tests) == ["simulated", "simulated, decorations reversed"]
    again = films_of_phantoms(tmp_path, 8, 1, 64, Progress(lambda _: pytest.fail("drawn again")))
    assert again == films
    everyone = [
        item.patient for part in (films.train, films.selection, *films.tests.values()) for item in part
    ]
    assert len(set(everyone)) == len(everyone)


def test_finished_rows_are_kept_and_compared_on_the_same_films(
    qata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = films_of_qata(qata, None, None)
    contest = cxr.MaskContest(size=64, epochs=1, batch=4, run=CPU, augmentation=Augmentation())
    told: list[str] = []
    rows = rows_named("unet,ours")
    measured = cxr.measure_cxr(films, tmp_path, rows, [0], contest, on_result=lambda key, _: told.append(key))
    assert told == ["unet-0", "ours-0"]
    monkeypatch.setattr(cxr, "_measure", lambda *_: pytest.fail("trained again"))
    assert cxr.measure_cxr(films, tmp_path, rows, [0], contest) == measured
    figures = measured["rows"]["unet"][0]["figures"]["QaTa Val"]
    low, high = measured["ci95"]["unet"]["QaTa Val"]["dice_mean"]
    assert low - 1e-4 <= figures["dice_mean"] <= high + 1e-4
    assert "difference" in measured["ci95"]["unet"]["QaTa Val"]
    assert "difference" not in measured["ci95"]["ours"]["QaTa Val"]
    text = cxr_section(measured, "benchmark accuracy cxr --x", "a machine", 0.5, "1 January")
    assert "QaTa Val: comparison" in text and "Not run: unetpp" in text
    with pytest.raises(ClipmedError, match="segnet"):
        rows_named("segnet")


@pytest.mark.parametrize("key", ["unet", "cris"])
def test_a_row_learns_what_it_is_shown(key: str) -> None:
    torch.manual_seed(0)
    net = build(ROWS[key], "compact", 64)
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, 8:40, 8:24] = masks[1, :, 30:60, 40:60] = 1.0
    x = (masks + 0.3 * torch.rand(2, 1, 64, 64)).expand(2, 3, 64, 64)
    steps = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        losses.append(net.loss(x, [LEFT, RIGHT], masks))
        steps.zero_grad()
        losses[-1].backward()
        steps.step()
    assert losses[-1].item() < 0.7 * losses[0].item()


def test_the_command_writes_its_table(qata: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    call = ["benchmark", "accuracy", "cxr", "--data", str(qata), "--out", str(tmp_path / "out")]
    call += ["--rows", "unet", "--epochs", "1", "--size", "64", "--batch", "4", "--device", "cpu"]
    result = CliRunner().invoke(app, [*call, "--threads", "1", "--json", "--write", str(page)])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"]["unet"][0]["films_seen"] > 0
    text = page.read_text()
    assert "<!-- accuracy cxr qata: begin -->" in text and "--rows unet" in text and str(tmp_path) not in text
    with pytest.raises(ClipmedError, match="multiple of 32"):
        CliRunner().invoke(app, [*call, "--size", "100"], catch_exceptions=False)
