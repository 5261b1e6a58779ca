"""Every row of the comparison is built, trained on tiny studies and judged; finished rows are kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from fake_dsa import write_fake_dsa

import napari_clipmed.cli.benchmark_accuracy  # noqa: F401 - adds the commands
from napari_clipmed.benchmark.accuracy import dsa
from napari_clipmed.benchmark.accuracy.contestants import FramePooling, TextClassifier
from napari_clipmed.benchmark.accuracy.dsa_rows import ROWS, rows_named
from napari_clipmed.benchmark.accuracy.dsa_table import _table, dsa_section
from napari_clipmed.benchmark.accuracy.dsa_training import compact_contest, paper_contest, train_and_judge
from napari_clipmed.benchmark.accuracy.encoders import ConvGRU
from napari_clipmed.benchmark.accuracy.ledger import Ledger, plain_settings
from napari_clipmed.cli._app import app
from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.training.metrics_classification import accuracy, macro_auc
from napari_clipmed.training.run_options import RunOptions

DSA = LabelSet.named("dsa")
CPU = RunOptions(device="cpu", threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_fake_dsa(tmp_path_factory.mktemp("data") / "dsa")


@pytest.mark.parametrize("key", ROWS)
def test_every_row_answers_with_three_heads_and_learns_in_its_encoder(key: str) -> None:
    torch.manual_seed(0)
    network = ROWS[key].build(DSA, "compact", 64, 6, False)
    runs = {name: torch.rand(2, 6, 3, 64, 64) for name in ("AP", "LA")}
    logits = network.logits(runs)
    assert list(logits) == ["AP", "LA", "both"]
    assert all(values.shape == (2, 5) for values in logits.values())
    network.loss(runs, torch.tensor([1, 4])).backward()
    first = next(p for p in network.parameters() if p.requires_grad and p.ndim > 3)
    assert first.grad is not None and bool(first.grad.any()), "the loss reaches the first convolution"
    only = network.logits({"LA": runs["LA"]})
    assert list(only) == ["LA"]


def test_agreement_of_the_views_enters_the_loss_of_its_rows_only() -> None:
    torch.manual_seed(0)
    with_it = ROWS["clip-dsa"].build(DSA, "compact", 64, 4, False)
    assert isinstance(with_it, TextClassifier)
    without = TextClassifier(with_it.network, DSA, "tpm", False)
    runs = {name: torch.rand(4, 4, 3, 64, 64) for name in ("AP", "LA")}
    labels = torch.tensor([0, 1, 2, 3])
    output = with_it.network(runs["AP"], runs["LA"])
    parts = with_it.objective(with_it.network, output, labels)
    three = torch.stack([parts[name] for name in ("ap", "la", "mv")])
    assert with_it.loss(runs, labels).item() == pytest.approx(
        ((three.sum() + parts["mc"]) / 4).item(), rel=1e-4
    )
    assert without.loss(runs, labels).item() == pytest.approx(three.mean().item(), rel=1e-4)


def test_poolings_by_hand() -> None:
    features = torch.tensor([[[1.0, 5.0], [3.0, 1.0]]])
    assert FramePooling("avg", 2)(features)[0].tolist() == [[2.0, 3.0]]
    assert FramePooling("max", 2)(features)[0].tolist() == [[3.0, 5.0]]
    for kind in ("lstm", "gru"):
        pooling = FramePooling(kind, 2)  # type: ignore[arg-type]
        pooled, weights = pooling(features)
        turned, _ = pooling(features.flip(1))
        assert pooled.shape == (1, 2) and weights.tolist() == [[0.5, 0.5]]
        assert not torch.allclose(pooled, turned), "the order of the frames matters"


def test_convolutional_unit_is_the_plain_one_where_maps_are_single_cells() -> None:
    torch.manual_seed(0)
    unit = ConvGRU(3, 2)
    maps = torch.rand(1, 4, 3, 1, 1)
    gates, candidate = (
        (conv.weight[:, :, 1, 1], conv.bias) for conv in (unit.gates, unit.candidate)
    )  # the centre of each kernel
    state = torch.zeros(2)
    for frame in maps[0, :, :, 0, 0]:
        reset, update = (gates[0] @ torch.cat([frame, state]) + gates[1]).sigmoid().chunk(2)
        new = (candidate[0] @ torch.cat([frame, reset * state]) + candidate[1]).tanh()
        state = (1 - update) * state + update * new
    assert torch.allclose(unit(maps)[0, :, 0, 0], state, atol=1e-6)


def test_rows_are_chosen_by_name_in_the_order_of_the_table() -> None:
    assert [row.key for row in rows_named("clip-dsa, resnet50")] == ["resnet50", "clip-dsa"]
    assert len(rows_named("all")) == len(ROWS) == 18
    with pytest.raises(ClipmedError, match="alexnet"):
        rows_named("alexnet")


def test_paper_contest_is_the_papers_recipe() -> None:
    contest = paper_contest(epochs=200)
    assert (contest.size, contest.frames, contest.batch, contest.learning_rate) == (224, 16, 16, 1e-4)
    assert contest.rate(0.0) == pytest.approx(1e-4, rel=1e-3) and contest.rate(1.0) == pytest.approx(1e-6)


def test_a_row_learns_what_can_be_learnt_and_judges_the_test_patients(data: Path, tmp_path: Path) -> None:
    splits = dsa.read_splits(data, DSA)
    contest = compact_contest(size=64, frames=4, epochs=10, batch=5, run=CPU)
    outcome = train_and_judge(ROWS["clip-mc"], contest, splits, DSA, 0, tmp_path / "row")
    truth = np.array([DSA.index(row.label) for row in splits["test"]])
    assert outcome.scores["both"].shape == (len(truth), 5)
    assert np.allclose(outcome.scores["both"].sum(axis=1), 1)
    assert macro_auc(outcome.scores["both"], truth) > 0.7
    assert outcome.studies_seen == 10 * len(splits["train"]) and outcome.epochs == 10
    assert not (tmp_path / "row").exists()


def test_finished_rows_are_not_trained_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = compact_contest(size=64, frames=4, epochs=1, batch=5, run=CPU)
    told: list[str] = []
    rows = rows_named("clip,clip-dsa")
    first = dsa.measure_dsa(data, tmp_path, rows[:1], [0], contest, on_result=lambda key, _: told.append(key))
    measured = dsa.measure_dsa(
        data, tmp_path, rows, [0, 1], contest, on_result=lambda key, _: told.append(key)
    )
    assert told == ["clip-0", "clip-dsa-0", "clip-1", "clip-dsa-1"]
    assert measured["rows"]["clip"][0] == first["rows"]["clip"][0]
    monkeypatch.setattr(dsa, "train_and_judge", lambda *_, **__: pytest.fail("trained again"))
    assert dsa.measure_dsa(data, tmp_path, rows, [0, 1], contest) == measured
    bounds = dsa.intervals(tmp_path, measured, data, rounds=20)
    low, high = bounds["clip"]["both"]["accuracy"]
    mean = np.mean([one["figures"]["both"]["accuracy"] for one in measured["rows"]["clip"]])
    assert low <= mean <= high
    text = dsa_section(measured, bounds, "benchmark accuracy dsa --x", "a machine", 0.5, "1 January")
    assert "fingerprint" in text and "CLIP-DSA: TPM, L_mc" in text and "Not run: resnet50" in text
    other = compact_contest(size=64, frames=4, epochs=2, batch=5, run=CPU)
    assert not Ledger(tmp_path, {"contest": plain_settings(other)}).results()


def test_differences_are_paired_and_seeds_averaged() -> None:
    truth = np.array([0, 1, 0, 1])
    right = np.eye(2)[truth]
    wrong = np.eye(2)[1 - truth]
    table = np.concatenate([right, wrong, right], axis=1)  # two seeds of theirs, one of ours
    assert dsa._differences(2, 1)["accuracy"](table, truth) == pytest.approx(0.5)
    assert dsa._averaged(2)["accuracy"](table[:, :4], truth) == accuracy(right, truth) / 2


def test_a_line_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, {"a": 1})
    ledger.add("one", {"x": 1})
    with ledger.path.open("a") as lines:
        lines.write('{"settings": "' + ledger.fingerprint)
    assert ledger.results() == {"one": {"x": 1}}
    ledger.add("two", {"x": 2})
    assert Ledger(tmp_path, {"a": 1}).results() == {"one": {"x": 1}, "two": {"x": 2}}
    assert not Ledger(tmp_path, {"a": 2}).results()


def test_patients_in_two_splits_are_refused(data: Path, tmp_path: Path) -> None:
    lines = (data / "studies.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    rows[-1]["patient"] = rows[0]["patient"]
    (tmp_path / "studies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ClipmedError, match="two splits"):
        dsa.read_splits(tmp_path, DSA)


def test_the_command_writes_its_table(data: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\nMine.\n")
    call = [
        "benchmark",
        "accuracy",
        "dsa",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "out"),
        "--rows",
        "clip",
    ]
    call += ["--epochs", "1", "--size", "64", "--frames", "4", "--batch", "5", "--device", "cpu"]
    call += ["--threads", "1", "--rounds", "10", "--json", "--write", str(page)]
    result = CliRunner().invoke(app, call, catch_exceptions=False)
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["rows"]["clip"][0]["figures"].keys() == {"AP", "LA", "both"}
    text = page.read_text()
    assert "Mine." in text and "<!-- accuracy dsa: begin -->" in text and "--rows clip" in text
    assert str(tmp_path) not in text
    with pytest.raises(ClipmedError, match="budget"):
        CliRunner().invoke(app, call[:7], catch_exceptions=False)


def test_a_row_that_diverged_is_named_and_gives_no_figures() -> None:
    figures = {"accuracy": 0.2, "macro_f1": 0.07, "auc_ovr": float("nan"), "auc_hard": 0.5}
    result = {
        "figures": {"both": figures, "AP": figures, "LA": figures},
        "parameters": 2e6,
        "studies_seen": 10,
    }
    head, _, line = _table(["s3d"], {"s3d": [result]}, {})
    assert line.count("|") == head.count("|")
    assert "diverged" in line
    assert "0.200" not in line
    assert line.endswith("| 2.0 M | 10 |")
