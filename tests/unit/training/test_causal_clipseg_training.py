"""Training CausalCLIPSeg, tiny: from folders over the command line to a registered, measured model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from qata_folder import make_qata
from typer.testing import CliRunner

from napari_clipmed.cli.evaluate import evaluate_app
from napari_clipmed.cli.phantom import phantom
from napari_clipmed.cli.train import train_app
from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.prompts import GENERIC, parse
from napari_clipmed.models.registry import Registry, load_network
from napari_clipmed.training.causal_clipseg import size_at, split_by_patient, update_average
from napari_clipmed.training.causal_clipseg_evaluate import worded
from napari_clipmed.training.qata_data import load_split
from napari_clipmed.training.segmentation_batches import QaTaDataset, augment
from napari_clipmed.training.segmentation_config import (
    Augmentation,
    Optimisation,
    learning_rate_factor,
    read_config,
)
from napari_clipmed.training.segmentation_export import centre
from napari_clipmed.training.sentence_variation import VariationConfig, vary

CONFIG = {
    "id": "tiny-seg",
    "title": "Tiny",
    "model": {
        "clip": {
            "embed_dim": 64,
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": 64,
                "layers": [1, 1, 1, 1],
                "width": 8,
                "patch_size": None,
                "head_width": 64,
            },
            "text_cfg": {"context_length": 20, "vocab_size": 16, "width": 32, "heads": 2, "layers": 1},
        },
        "upsampling": [2, 2],
        "masker_channels": 16,
        "decoder_channels": 32,
        "context_length": 20,
        "words": ["upper", "middle", "lower", "all", "left", "right", "lung", "and", ",", "."],
    },
    "preprocessing": {"size": 64, "fit": "squash"},
    "objective": {"dice": 1.0},
    "optimisation": {"optimiser": "adamw", "lr": 3e-3, "batch_size": 8, "max_epochs": 2, "average": 0.9},
    "selection": 0.2,
    "run": {"threads": 1, "device": "cpu"},
    "seed": 3,
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def test_from_folder_to_registered_model_and_its_figures(tmp_path, config_file, clipmed_home):
    data = make_qata(tmp_path / "data", {"Train": 32, "Val": 6})
    out, root = tmp_path / "out", clipmed_home / "models"
    arguments = [
        "--data",
        str(data),
        "--config",
        str(config_file),
        "--out",
        str(out),
        "--register",
        str(root),
    ]
    answer = CliRunner().invoke(train_app, ["causal-clipseg", *arguments], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    entry = Registry([root]).get("tiny-seg")
    card = entry.card
    assert "NC-SA" in card.licence and "Research use" in card.limits[0]
    assert "2 were left out because their patients appear" in card.data
    assert str(tmp_path) not in card.model_dump_json()
    assert set(card.metrics["dice_mean_by_wording"]) >= {"full", "generic", "mirrored"}
    assert np.isfinite(card.metrics["dice_mean"]) and card.metrics["n"] == 6
    assert card.calibration["threshold"] == 0.5 and "bias_shift" in card.calibration
    log = (out / "metrics.csv").read_text().splitlines()
    assert len([line for line in log if line]) >= 3

    question = ["causal-clipseg", "--data", str(data), "--model", "tiny-seg", "--json", "--native"]
    answer = CliRunner().invoke(evaluate_app, question, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    figures = json.loads(answer.stdout)
    for key in ("dice_mean", "dice_pooled", "miou_mean", "miou_pooled", "n"):
        assert figures[key] == pytest.approx(card.metrics[key]), key
        assert figures["native"][key] == pytest.approx(figures[key]), "the files have the model's size"
    assert figures["threshold"] == 0.5 and "empty" in figures["empty_masks"]
    assert figures["unseen_patients"]["n"] == 4


def test_it_learns_to_listen(tmp_path):
    """Six blobs in each picture, one named: only a network that reads finds the right one."""
    torch.manual_seed(0)
    network = CausalCLIPSeg.from_config(CONFIG["model"])
    network.train()
    items = load_split(make_qata(tmp_path, {"Train": 16}), "Train")
    data = QaTaDataset(items, Preprocessing(size=64, fit="squash"))
    batch = [data[i] for i in range(16)]
    x = torch.stack([b["image"] for b in batch]).expand(-1, 3, -1, -1) / 255 - 0.5
    target = torch.stack([b["mask"] for b in batch]).float()
    tokens = network.tokenize([b["sentence"] for b in batch])
    from napari_clipmed.models.causal_clipseg_loss import ObjectiveConfig, adversarial_losses

    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = adversarial_losses(network, x, tokens, target, ObjectiveConfig(dice=1.0))
        losses.append(loss.causal.item())
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
    assert losses[-1] < 0.7 * losses[0]


def test_patients_of_val_and_of_the_selection_are_not_learned_from(tmp_path, config_file):
    data = make_qata(tmp_path / "data", {"Train": 60, "Val": 6})
    splits = split_by_patient(data, read_config(config_file), None)
    groups = [{item.patient for item in part} for part in (splits.train, splits.selection)]
    val = {item.patient for item in load_split(data, "Val")}
    assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & val
    assert splits.left_out == 2
    assert len(splits.train) + len(splits.selection) == 58
    assert 2 <= len(splits.selection) < 30
    again = split_by_patient(data, read_config(config_file), None)
    assert [i.id for i in again.selection] == [i.id for i in splits.selection]


def test_simulated_films_beside_are_learned_from_but_never_judged_on(tmp_path, config_file, clipmed_home):
    data = make_qata(tmp_path / "data", {"Train": 32, "Val": 6})
    beside = tmp_path / "films"
    films = ["cxr", "--out", beside, "--n", "10", "--seed", "6", "--format", "qata"]
    films += ["--size", "96", "--split", "train", "--subset", "1"]
    answer = CliRunner().invoke(phantom, [str(word) for word in films], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    rows = [json.loads(line) for line in (beside / "studies.jsonl").read_text().splitlines()]
    infected = {row["id"] for row in rows if row["locations"]}
    assert 0 < len(infected) < 10, "some films have nothing to name"
    splits = split_by_patient(data, read_config(config_file), None, [beside])
    learned, chosen = (
        {item.id for item in part} & {row["id"] for row in rows} for part in (splits.train, splits.selection)
    )
    assert learned | chosen == infected and not learned & chosen

    words = ["--data", data, "--beside", beside, "--config", config_file, "--out", tmp_path / "out"]
    root = clipmed_home / "models"
    words += ["--register", root, "--epochs", "1"]
    answer = CliRunner().invoke(train_app, ["causal-clipseg", *map(str, words)], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    card = Registry([root]).get("tiny-seg").card
    assert f"beside them {len(learned)} films of other folders" in card.data
    assert "--beside DIR" in card.command and str(tmp_path) not in card.model_dump_json()
    assert card.metrics["n"] == 6


def test_a_training_with_the_fine_scale_begins_with_one_without(tmp_path, config_file, clipmed_home):
    data = make_qata(tmp_path / "data", {"Train": 16, "Val": 4})
    content = CONFIG | {
        "model": CONFIG["model"] | {"fine_channels": 6},
        "preprocessing": CONFIG["preprocessing"] | {"both_ways": True},
    }
    finer = tmp_path / "finer.yaml"
    finer.write_text(yaml.safe_dump(content))
    words = ["causal-clipseg", "--data", data, "--epochs", "1"]
    first = [*words, "--config", config_file, "--out", tmp_path / "first"]
    then = [*words, "--config", finer, "--out", tmp_path / "then", "--register", clipmed_home / "models"]
    then += ["--start", tmp_path / "first" / "checkpoints" / "best.ckpt"]
    for arguments in (first, then):
        answer = CliRunner().invoke(train_app, [str(word) for word in arguments], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
    card = Registry([clipmed_home / "models"]).get("tiny-seg").card
    assert card.config["fine_channels"] == 6 and card.preprocessing["both_ways"]
    back = [*words, "--config", config_file, "--out", tmp_path / "back"]
    back += ["--start", tmp_path / "then" / "checkpoints" / "best.ckpt"]
    answer = CliRunner().invoke(train_app, [str(word) for word in back])
    assert answer.exit_code != 0 and "another configuration" in str(answer.exception or answer.output)


def test_too_few_patients_is_said(tmp_path, config_file):
    data = make_qata(tmp_path / "data", {"Train": 2, "Val": 2})
    with pytest.raises(ClipmedError, match="too few patients"):
        split_by_patient(data, read_config(config_file), None)


def test_a_mirrored_picture_gets_a_mirrored_sentence(tmp_path):
    items = load_split(make_qata(tmp_path, {"Train": 10}), "Train")
    plain = QaTaDataset(items, Preprocessing(size=64, fit="squash"))
    flipped = QaTaDataset(items, Preprocessing(size=64, fit="squash"), flip=1.0)
    for index in range(10):
        a, b = plain[index], flipped[index]
        assert torch.equal(a["image"].flip(-1), b["image"]) and torch.equal(a["mask"].flip(-1), b["mask"])
        side = parse(b["sentence"]).places[0].side
        centre = b["mask"][0].nonzero()[:, 1].float().mean()
        assert (side == "left") == (centre < 32), "the sentence names the side of the picture"


def test_pictures_are_windowed_as_for_inference(tmp_path):
    items = load_split(make_qata(tmp_path, {"Train": 1}), "Train")
    image = QaTaDataset(items, Preprocessing(size=64, fit="squash"))[0]["image"]
    assert image.min() == 0 and image.max() == 255


def test_augmentation_of_nothing_is_nothing():
    images, masks = torch.rand(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    same, same_masks = augment(images, masks, 8, Augmentation())
    torch.testing.assert_close(same, images.clamp_min(1e-4), atol=1e-5, rtol=0)
    assert torch.equal(same_masks, masks)


def test_augmentation_moves_picture_and_mask_alike():
    torch.manual_seed(1)
    images = torch.zeros(4, 1, 64, 64)
    images[..., 20:40, 24:36] = 1
    moved, masks = augment(images, images.clone(), 48, Augmentation(degrees=15, scale=0.2, shift=0.1))
    assert moved.shape == masks.shape == (4, 1, 48, 48)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert ((moved >= 0.5).float() - masks).abs().mean() < 0.01
    assert not torch.equal(masks[0], masks[1])


def test_sentences_are_said_otherwise():
    finding = parse("bilateral pulmonary infection, two infected areas, lower left lung and all right lung.")
    rng = np.random.default_rng(0)

    def said(**chances: float) -> str:
        return vary(finding, VariationConfig(**chances), rng)

    assert said() == finding.sentence
    assert said(no_number=1.0) == "bilateral pulmonary infection, lower left lung and all right lung."
    assert said(places_only=1.0) == "lower left lung and all right lung."
    assert said(side_only=1.0) == "left lung and right lung."
    assert said(generic=1.0) == GENERIC
    garbled = {said(unknown_words=1.0) for _ in range(20)}
    assert all("lower left" in s and "all right" in s for s in garbled) and len(garbled) > 5


def test_the_best_threshold_becomes_one_half():
    torch.manual_seed(0)
    network = CausalCLIPSeg.from_config(CONFIG["model"]).eval()
    x, tokens = torch.randn(1, 3, 64, 64), network.tokenize(["left lung."])
    with torch.no_grad():
        before = network(x, tokens)[0].sigmoid() >= 0.35
        shift = centre(network, 0.35)
        after = network(x, tokens)[0].sigmoid() >= 0.5
    assert shift > 0 and (before == after).float().mean() > 0.999


def test_wordings_of_the_evaluation():
    sentence = "Unilateral pulmonary infection, one infected area, lower left lung."
    assert worded(sentence, "full") == sentence.lower()
    assert worded(sentence, "mirrored").endswith("lower right lung.")
    assert worded(sentence, "sides-only") == "left lung."
    assert worded("find it", "mirrored") == GENERIC


def test_schedules():
    assert learning_rate_factor(0.0, 0.1) == 0.01
    assert learning_rate_factor(0.05, 0.1) == pytest.approx(0.5)
    assert learning_rate_factor(0.1, 0.1) == pytest.approx(1.0)
    assert learning_rate_factor(0.55, 0.1) == pytest.approx(0.5)
    assert learning_rate_factor(1.0, 0.1) == pytest.approx(0.0)
    settings = Optimisation(sizes=((0.0, 128), (0.5, 160), (0.8, 224)))
    assert [size_at(f, settings, 224) for f in (0, 0.49, 0.5, 0.79, 0.8, 1)] == [128, 128, 160, 160, 224, 224]
    assert size_at(0.3, Optimisation(), 224) == 224


def test_the_averaged_network_answers():
    """A mean over the text tower's mask of -inf would be NaN, and every mask empty."""
    torch.manual_seed(0)
    network, average = (CausalCLIPSeg.from_config(CONFIG["model"]).eval() for _ in range(2))
    before = average.connect[0].weight.detach().clone()
    update_average(average, network, 0.9, step=1000)
    expected = 0.9 * before + 0.1 * network.connect[0].weight
    torch.testing.assert_close(average.connect[0].weight, expected)
    tokens = average.tokenize(["lower left lung."])
    assert average(torch.randn(1, 3, 64, 64), tokens)[0].isfinite().all()
    update_average(average, network, 0.9, step=0)
    assert (average.connect[0].weight - network.connect[0].weight).abs().max() < 0.2 * before.abs().max()


@pytest.mark.parametrize(
    "name",
    [
        "causal_clipseg_compact",
        "causal_clipseg_compact_finish",
        "causal_clipseg_compact_fine",
        "causal_clipseg_paper",
    ],
)
def test_shipped_configurations_are_read(name):
    config = read_config(name)
    if name.endswith("paper"):
        assert (config.optimisation.lr, config.run.patience, config.optimisation.max_epochs) == (
            3e-5,
            100,
            2000,
        )
        assert config.objective.adversary == "paper" and config.objective.weight == 0.05
        assert config.model["context_length"] == 20 and config.objective.dice == 0


def test_configuration_errors_name_the_entry(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "optimisation": {"lr": "fast"}}))
    with pytest.raises(ClipmedError, match=r"optimisation\.lr"):
        read_config(path)
    with pytest.raises(ClipmedError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.shared_data
def test_the_shipped_model_reads_the_samples(shared_data):
    from napari_clipmed.models.registry import default_registry
    from napari_clipmed.training.causal_clipseg_evaluate import evaluate

    entry = default_registry().get("causal-clipseg-compact")
    items = load_split(shared_data / "qata" / "layout_samples" / "LanGuideMedSeg", "Test")
    figures = evaluate(load_network(entry), items, Preprocessing.from_card(entry.card.preprocessing))
    assert figures["dice_mean"] > 0.6
