"""Recipes, data, schedule, a whole tiny training, its export and its evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_dsa import LABELS, write_fake_dsa
from typer.testing import CliRunner

from napari_clipmed.errors import ClipmedError, UnreadableFileError
from napari_clipmed.inference.explain import METHODS
from napari_clipmed.models.backbones import create_clip
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.models.registry import load_network, load_tensors, read_entry
from napari_clipmed.training.clip_dsa import load_checkpoint, train
from napari_clipmed.training.clip_dsa_export import export, fit_temperature
from napari_clipmed.training.clip_dsa_recipe import Augmentation, ClipDSARecipe, Stage, read_recipe
from napari_clipmed.training.dsa_data import (
    TrainingStudies,
    WholeStudies,
    easy_first_weights,
    load_study,
    read_rows,
    stratified_frames,
)
from napari_clipmed.training.location import balanced_cross_entropy
from napari_clipmed.training.run_options import RunOptions

DSA = LabelSet.named("dsa")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_fake_dsa(tmp_path_factory.mktemp("data") / "dsa")


def tiny(**changes: object) -> ClipDSARecipe:
    return ClipDSARecipe(
        **{
            "id": "tiny",
            "title": "Tiny",
            "backbone": "clipmed-tiny",
            "targets": "prototype",
            "n_frames": 6,
            "epochs": 2,
            "learning_rate": 1e-3,
            "learning_rate_end": 1e-5,
            "weight_decay": 1e-2,
            "ema": 0.5,
            "run": RunOptions(device="cpu"),
            "stages": (
                Stage(until=0.5, crop=32, frames=2, batch=8, location=1.0, easy_first=0.5),
                Stage(until=1.0, frames=3, batch=8, location=0.5, frame_labels=0.5),
            ),
        }
        | changes
    )


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    train(folder, tiny(), out)
    return out


def test_shipped_recipes_are_valid_and_the_papers_is_the_papers() -> None:
    paper = read_recipe("clip_dsa_paper")
    assert (paper.learning_rate, paper.learning_rate_end, paper.weight_decay) == (1e-4, 1e-6, 1e-5)
    assert (paper.epochs, paper.n_frames, paper.stages[0].batch) == (200, 16, 16)
    assert (paper.targets, paper.mc_targets, paper.backbone) == ("paper", "instance", "RN50-quickgelu@openai")
    assert paper.rate(0.0) == pytest.approx(1e-4) and paper.rate(1.0) == pytest.approx(1e-6)
    assert read_recipe("clip_dsa_compact").stages[-1].until == 1.0


def test_recipe_errors_name_the_field(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("id: x\ntitle: x\nbackbone: clipmed-tiny\nepochs: 0\n")
    with pytest.raises(ClipmedError, match="epochs"):
        read_recipe(bad)
    with pytest.raises(ClipmedError, match="no training recipe"):
        read_recipe("nothing")


def test_schedule_walks_through_stages_and_rates() -> None:
    recipe = tiny(warm_up=0.1)
    assert recipe.stage(0.49).crop == 32 and recipe.stage(0.5).crop == 0 and recipe.stage(1.0).crop == 0
    assert recipe.rate(0.0) < recipe.rate(0.1) > recipe.rate(0.9)
    with pytest.raises(ValueError, match="stages must end"):
        tiny(stages=(Stage(until=0.5),))


def test_rows_are_split_by_patient_and_half_a_line_waits(folder: Path, tmp_path: Path) -> None:
    rows = read_rows(folder)
    splits = {s: {r.patient for r in rows if r.split == s} for s in ("train", "val", "test")}
    assert (
        all(splits.values()) and not splits["train"] & splits["val"] and not splits["train"] & splits["test"]
    )
    whole = (folder / "studies.jsonl").read_text()
    (tmp_path / "studies.jsonl").write_text(whole[:-20])
    assert len(read_rows(tmp_path)) == len(rows) - 1
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        load_study(read_rows(tmp_path)[0])
    with pytest.raises(ClipmedError, match="no labelled angiograms"):
        read_rows(tmp_path / "nowhere")


def test_stratified_frames_take_one_from_each_part() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        index = stratified_frames(10, 5, generator)
        assert (index // 2 == np.arange(5)).all()
    assert stratified_frames(2, 8, generator).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_whole_studies_are_as_at_inference(folder: Path) -> None:
    sample = WholeStudies(read_rows(folder), DSA, 64, 6)[1]
    stored = load_study(read_rows(folder)[1])["AP"].frames[[0, 2, 4, 5, 7, 9]]
    assert torch.allclose(sample["AP"], torch.from_numpy(stored).float() / 255)
    assert int(sample["label"]) == 1


def test_mask_follows_the_frames_through_every_change(folder: Path) -> None:
    amounts = Augmentation(
        flip_horizontal=0.5, rotation_degrees=20, shift=0.1, zoom=0.2, gain=0.3, noise=0.02
    )
    rows = [row for row in read_rows(folder) if row.label == "MMD"]
    for stage in (Stage(frames=8), Stage(frames=8, crop=32)):
        studies = TrainingStudies(rows, DSA, 64, stage, amounts)
        inside, outside = [], []
        for item in range(len(rows)):
            sample = studies[item]
            seen = sample["visible_AP"]
            lesion = sample["lesion_AP"] > 0.9
            inside += [
                f[m].mean() for f, m, s in zip(sample["AP"], lesion, seen, strict=True) if s and m.any()
            ]
            outside += [f[m].mean() for f, m, s in zip(sample["AP"], ~lesion, seen, strict=True) if s]
        assert inside and max(inside) < min(outside)


def test_easy_first_prefers_the_clearest_of_a_class(folder: Path) -> None:
    rows = [row for row in read_rows(folder, "train") if row.label == "IA"]
    weights = easy_first_weights(rows, 1.0)
    assert weights.argmax() == max(range(len(rows)), key=lambda i: rows[i].clarity)
    assert float(weights.max() / weights.min()) == pytest.approx(3.0)


def test_location_loss_counts_every_lesion_alike_and_ignores_hidden_ones() -> None:
    logits = torch.zeros(3, 5, 4, 4, requires_grad=True)
    cells = torch.zeros(3, 4, 4, dtype=torch.bool)
    cells[0, :2, :2], cells[1, 0, 0], cells[2, 3, 3] = True, True, True
    balanced_cross_entropy(logits, cells, torch.tensor([1, 2, 0])).backward()
    pull = logits.grad.abs().sum(dim=1)
    assert float(pull[0][cells[0]].sum()) == pytest.approx(float(pull[1][cells[1]].sum()))
    assert float(pull[2, 3, 3]) == 0.0
    assert float(pull[2, 0, 0]) > 0.0


def test_training_keeps_the_text_tower_and_moves_the_rest(trained: Path) -> None:
    network = load_checkpoint(trained / "checkpoints" / "best.ckpt", tiny(), DSA)
    torch.manual_seed(0)
    again = create_clip("clipmed-tiny")
    state = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(network.clip.token_embedding.weight, state["network.clip.token_embedding.weight"])
    assert not torch.equal(network.visual.conv1.weight, again.visual.conv1.weight)
    curves = (trained / "metrics.csv").read_text()
    assert "val_auc" in curves and "val_pair_MMD" in curves


def test_frozen_norms_keep_their_statistics(folder: Path, tmp_path: Path) -> None:
    recipe = tiny(epochs=1, freeze_batch_norm=True, ema=0.0, stages=(Stage(frames=2, batch=8),))
    network = load_checkpoint(train(folder, recipe, tmp_path), recipe, DSA)
    assert torch.equal(network.visual.bn1.running_mean, torch.zeros_like(network.visual.bn1.running_mean))
    assert not torch.equal(network.visual.bn1.weight, torch.ones_like(network.visual.bn1.weight))


def test_a_resumed_training_goes_on(trained: Path, folder: Path) -> None:
    before = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    train(folder, tiny(epochs=3), trained)
    after = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    assert after["epoch"] == before["epoch"] + 1
    assert after["elapsed"] > before["elapsed"] > 0
    assert "val_auc" in (trained / "metrics-1.csv").read_text(), "earlier curves are kept"


def test_export_is_a_loadable_calibrated_model(trained: Path, folder: Path, tmp_path: Path) -> None:
    checkpoint = trained / "checkpoints" / "best.ckpt"
    entry = export(checkpoint, tiny(), folder, tmp_path, command="train", rounds=20)
    network = load_network(read_entry(tmp_path / "tiny"))
    assert torch.equal(network.text_features, load_checkpoint(checkpoint, tiny(), DSA).text_features)
    card = entry.card
    assert set(card.calibration["temperature"]) == {"AP", "LA", "both"}
    assert card.calibration["ood_distance"] > 0
    assert any(name.startswith("ood.") for name in load_tensors(entry))
    assert LabelSet.from_content(card.label_set) == DSA
    assert card.metrics["test"]["n"] == 10 and card.metrics["test"]["pointing_game"]["n"] == 8
    assert "SIMULATED" in card.data and "Research use only, not for diagnosis." in card.limits


def test_evaluate_command_answers_in_json(trained: Path, folder: Path, clipmed_home: Path) -> None:
    from napari_clipmed.cli import evaluate, train  # noqa: F401
    from napari_clipmed.cli._app import app

    export(trained / "checkpoints" / "best.ckpt", tiny(), folder, clipmed_home / "models", rounds=0)
    arguments = ["evaluate", "clip-dsa", "--data", str(folder), "--model", "tiny", "--rounds", "10"]
    plots = clipmed_home / "plots"
    answer = CliRunner().invoke(app, [*arguments, "--json", "--plots", str(plots), "--pointing", "4"])
    assert answer.exit_code == 0, answer.output
    figures = json.loads(answer.stdout)
    certainty = figures["certainty"]
    assert certainty["sets"]["promised"] == 0.9 and 0 <= certainty["uncertain"] <= 1
    assert sum(row["n"] for row in certainty["reliability"]["calibrated"]) == 10
    assert "share that is right" in (plots / "reliability.svg").read_text()
    assert set(figures["localisation"]) == set(METHODS) and figures["pointing_game"]["n"] == 4
    for row in figures["localisation"].values():
        assert row["n"] == 4 and 0 <= row["energy"] <= 1 and 0 < row["even"] < 1
        low, high = row["ci95"]["energy"]
        assert low - 1e-3 <= row["energy"] <= high + 1e-3
    shown = CliRunner().invoke(app, [*arguments, "--pointing", "2"])
    assert "share uncertain" in shown.stdout and "hirescam" in shown.stdout
    assert figures["n"] == 10 and set(figures["auc_pairwise"]) == set(LABELS[1:])
    assert len(figures["ci95"]["auc_ovr"]) == 2 and "auc_hard" in figures


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, (4000, 5))
    odds = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(5, p=p) for p in odds])
    assert fit_temperature(3.0 * honest, truth) == pytest.approx(3.0, rel=0.1)
