"""A small CLIP of our own: targets and terms derived again, resumed to the digit, loaded as a backbone."""

from __future__ import annotations

import csv
import json
import math
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from fake_dsa import write_fake_dsa
from qata_folder import make_qata
from torch.nn import functional
from typer.testing import CliRunner

from napari_clipmed.cli.train import train_app
from napari_clipmed.errors import Cancelled, ClipmedError
from napari_clipmed.models.backbones import clip_config, create_clip
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.registry import default_registry, load_network
from napari_clipmed.progress import Progress, Step
from napari_clipmed.training.clip_dsa_recipe import Augmentation
from napari_clipmed.training.clip_pairs import PairDataset, bag_of_words, collate, read_pairs
from napari_clipmed.training.clip_pretrain import (
    ClipTraining,
    begin_with_images_of,
    describe_run,
    export_tower,
    train,
)
from napari_clipmed.training.clip_recipe import ClipRecipe, read_clip_recipe
from napari_clipmed.training.clip_terms import (
    NEAREST_LABEL,
    best_places,
    retrieval_figures,
    side_loss,
    sided_sentences,
    soft_targets,
)
from napari_clipmed.training.fitting import Balanced
from napari_clipmed.training.run_options import Overrides, RunOptions

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))
from small_models import awake


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("pairs")
    dsa = write_fake_dsa(root / "dsa", n=20, frames=6)
    rows = [json.loads(line) for line in (dsa / "studies.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["report"] = f"{row['label']} on the {'left' if number % 2 else 'right'} side."
    (dsa / "studies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return dsa, make_qata(root / "qata", {"Train": 6, "Val": 4})


def tiny(**changes: object) -> ClipRecipe:
    first = {
        "id": "tiny",
        "title": "Tiny",
        "backbone": "clipmed-tiny",
        "batch": 4,
        "epochs": 2,
        "learning_rate": 1e-3,
    }
    return ClipRecipe.model_validate(first | {"run": RunOptions(device="cpu", threads=1)} | changes)


@pytest.fixture(scope="module")
def trained(data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    train(*data, tiny(), out)
    return out


# -- pairs ------------------------------------------------------------------------------------------------


def test_reports_and_class_sentences_go_with_their_pictures(data: tuple[Path, Path]) -> None:
    learned, judged = (read_pairs(*data, split) for split in ("train", "val"))
    runs = [pair for pair in learned if pair.label in ("MMD", "IA")]
    assert all(pair.sentences[0].startswith(pair.label) for pair in runs)
    assert any("moyamoya" in text for pair in runs for text in pair.sentences[1:])
    films = [pair for pair in learned if pair.label.startswith("infection")]
    assert {pair.label for pair in films} <= {"infection left", "infection right"}
    assert not {p.source.patient for p in learned} & {p.source.patient for p in judged}
    assert read_pairs(data[0], None, "val") == [
        p for p in judged if p.label in ("Control", "MMD", "IA", "AM", "AS")
    ]
    with pytest.raises(ClipmedError, match="--angiograms"):
        read_pairs(None, None, "train")


def test_validation_is_the_same_each_time_and_training_is_not(data: tuple[Path, Path]) -> None:
    pairs = read_pairs(*data, "train")
    fixed, drawn = PairDataset(pairs, 64, 2, None), PairDataset(pairs, 64, 2, Augmentation(noise=0.1))
    assert torch.equal(fixed[0]["frames"], fixed[0]["frames"])
    assert not torch.equal(drawn[0]["frames"], drawn[0]["frames"])
    assert fixed[0]["frames"].shape == (2, 64, 64)  # a run
    assert fixed[len(pairs) - 1]["frames"].shape == (1, 64, 64)  # a film
    assert fixed[0]["sentence"] == pairs[0].sentences[0]


# -- terms ------------------------------------------------------------------------------------------------


def test_soft_targets_derived_again() -> None:
    texts = ["aneurysm on the left", "aneurysm on the right", "aneurysm on the left"]
    words, labels = torch.stack([bag_of_words(text) for text in texts]), torch.tensor([1, 2, 1])
    found = soft_targets(labels, words, soft=0.4, tau=0.2)
    alike = [[1.0, 3 / 5, 1.0], [3 / 5, 1.0, 3 / 5], [1.0, 3 / 5, 1.0]]
    for i in range(3):
        powers = [math.exp((float(labels[i] == labels[j]) + alike[i][j]) / 0.4) for j in range(3)]
        same = [float(alike[i][j] == 1.0) for j in range(3)]
        for j in range(3):
            wanted = 0.6 * same[j] / sum(same) + 0.4 * powers[j] / sum(powers)
            assert found[i, j].item() == pytest.approx(wanted, rel=1e-5)
    assert torch.allclose(found.sum(dim=1), torch.ones(3))
    assert torch.equal(soft_targets(labels, words, 0.0, 0.2)[1], torch.tensor([0.0, 1.0, 0.0]))


def test_only_sentences_that_name_a_side_are_turned() -> None:
    said = ["No stenosis.", "Aneurysm of the Right M1.", "pulmonary infection, lower left lung."]
    turned = sided_sentences(said)
    assert turned == {1: "Aneurysm of the left M1.", 2: "pulmonary infection, lower right lung."}


def test_the_side_term_is_a_choice_of_two() -> None:
    torch.manual_seed(0)
    images, text, turned = (functional.normalize(torch.randn(4, 8), dim=-1) for _ in range(3))
    scale = torch.tensor(7.0)
    chosen = [
        -math.log(math.exp(7 * i @ t) / (math.exp(7 * i @ t) + math.exp(7 * i @ w)))
        for i, t, w in zip(images.double(), text.double(), turned.double(), strict=True)
    ]
    assert side_loss((images * (text - turned)).sum(dim=1), scale).item() == pytest.approx(
        sum(chosen) / 4, rel=1e-5
    )


def test_the_best_places_lie_between_mean_and_maximum() -> None:
    torch.manual_seed(0)
    places = functional.normalize(torch.randn(2, 5, 8), dim=-1)
    text = functional.normalize(torch.randn(3, 8), dim=-1)
    cosines = torch.stack([torch.stack([places[b] @ text[n] for n in range(3)]) for b in range(2)])
    assert torch.allclose(best_places(places, text, 1e-3), cosines.mean(dim=-1), atol=1e-3)
    assert torch.allclose(best_places(places, text, 1e4), cosines.amax(dim=-1), atol=1e-3)


def test_the_score_counts_labels_alike_and_never_a_pictures_own_sentence() -> None:
    axes = torch.eye(3)
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    vectors = axes[labels]
    figures = retrieval_figures(vectors, vectors, labels)
    assert figures[NEAREST_LABEL] == pytest.approx(2 / 3), "the only one of its label cannot be right"
    assert figures["val/chance"] == pytest.approx((3 / 6 + 1 / 6 + 0) / 3)


def test_the_picture_term_reads_pictures_as_open_clip_does(data: tuple[Path, Path]) -> None:
    from napari_clipmed.inference.preprocess import normalise
    from napari_clipmed.models.dense import dense_features

    pairs = read_pairs(*data, "train")
    module = ClipTraining(tiny(), pairs, pairs)
    awake(module.model)
    some = [module.judged_by[0], module.judged_by[len(pairs) - 1]]  # a run and a film
    batch = collate(some)
    assert batch["of"].tolist() == [[0, 1], [2, 2]], "the film is looked at once and counts as both frames"
    assert len(batch["frames"]) == 3
    with torch.no_grad():
        images, places = module._look(batch["frames"], batch["of"])
        for number, one in enumerate(some):
            x = normalise(one["frames"], module.preprocessing)
            wanted = functional.normalize(module.model.encode_image(x, normalize=True).mean(dim=0), dim=-1)
            dense = functional.normalize(dense_features(module.model.visual, x), dim=-1).flatten(0, 2)
            dense = dense.repeat(2 // len(x), 1)
            assert torch.allclose(images[number], wanted, atol=1e-5)
            assert torch.allclose(places[number], dense, atol=1e-5), "what is trained is what heat maps show"


def test_own_sentences_come_as_often_as_those_of_the_class(data: tuple[Path, Path]) -> None:
    pairs = [pair for pair in read_pairs(data[0], None, "train") if pair.label == "MMD"]
    drawn = PairDataset(pairs, 32, 1, Augmentation())
    torch.manual_seed(0)
    own = [drawn[0]["sentence"] == pairs[0].sentences[0] for _ in range(120)]
    assert 40 <= sum(own) <= 80


def test_an_epoch_has_as_many_runs_as_films() -> None:
    kinds = [True] * 4 + [False] * 9
    epochs = [list(Balanced(kinds, lambda seed=seed: seed)) for seed in range(30)]
    assert all(len(epoch) == len(set(epoch)) == 8 for epoch in epochs)
    assert all(sum(kinds[k] for k in epoch) == 4 for epoch in epochs)
    assert {k for epoch in epochs for k in epoch} == set(range(13))
    assert epochs[0] == list(Balanced(kinds, lambda: 0)) != epochs[1]
    assert sorted(Balanced([False] * 5, lambda: 0)) == list(range(5)), "films alone: all of them"


# -- training ---------------------------------------------------------------------------------------------


def test_a_broken_run_ends_with_the_numbers_of_an_unbroken_one(
    data: tuple[Path, Path], trained: Path, tmp_path: Path
) -> None:
    def stop_in_the_second_epoch(step: Step) -> None:
        if step.what == "training" and step.done > 400:
            progress.cancel()

    progress = Progress(stop_in_the_second_epoch)
    with pytest.raises(Cancelled):
        train(*data, tiny(), tmp_path, progress)
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    train(*data, tiny(), tmp_path)
    ends = [torch.load(out / "checkpoints" / "last.ckpt", weights_only=True) for out in (trained, tmp_path)]
    assert ends[0]["global_step"] == ends[1]["global_step"]
    for name, value in ends[0]["state_dict"].items():
        assert torch.equal(value, ends[1]["state_dict"][name]), name
    assert (trained / "metrics.csv").read_text().count("train/global") == 1


def test_sides_are_learned_judged_and_told(data: tuple[Path, Path], trained: Path, tmp_path: Path) -> None:
    recipe = tiny(sides=1.0, epochs=1)
    train(*data, recipe, tmp_path, start=trained / "checkpoints" / "best.ckpt")
    (row,) = [row for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row["val/label_and_side"]]
    side, label, both = (float(row[name]) for name in ("val/side", "val/nearest_label", "val/label_and_side"))
    assert 0 <= side <= 1 and both == pytest.approx((side + label) / 2)
    assert "train/sides" in row
    facts = describe_run(tmp_path, recipe, ["films"], "")
    assert facts["val/side"] == pytest.approx(side) and facts["val/nearest_label"] == pytest.approx(label)
    assert "val/side" not in describe_run(trained, tiny(), ["films"], "")


def test_its_towers_are_a_backbone_for_everything(trained: Path, tmp_path: Path) -> None:
    folder = export_tower(
        trained / "checkpoints" / "best.ckpt", tiny(), tmp_path / "tower", {"data": "simulated"}
    )
    spec = f"local-dir:{folder}"
    weights = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    tower = create_clip(spec)
    for name, value in tower.state_dict().items():
        assert torch.equal(value, weights[f"model.{name}"].half().to(value.dtype)), name
    network = ClipDSA(spec)
    assert torch.equal(network.clip.token_embedding.weight, tower.token_embedding.weight)
    assert not any(p.requires_grad for p in network.clip.parameters()), "the text side is frozen"
    assert json.loads((folder / "open_clip_config.json").read_text())["clipmed"] == {"data": "simulated"}


def test_the_command_goes_on_and_writes_a_backbone(
    data: tuple[Path, Path], trained: Path, tmp_path: Path
) -> None:
    """The run is over already, so that nothing is left but to write."""
    out = shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny().model_dump(mode="json")))
    arguments = [
        "clip",
        "--angiograms",
        data[0],
        "--films",
        data[1],
        "--out",
        out,
        "--config",
        tmp_path / "tiny.yaml",
    ]
    answer = CliRunner().invoke(train_app, list(map(str, arguments)), catch_exceptions=False)
    assert answer.exit_code == 0
    facts = json.loads((out / "tiny" / "open_clip_config.json").read_text())["clipmed"]
    assert (
        facts["command"] == "napari-clipmed train clip --angiograms DIR --films DIR --config tiny --out DIR"
    )
    assert 0.0 <= facts[NEAREST_LABEL] <= 1.0
    assert "SIMULATED" in facts["data"]
    assert "NC-SA" in facts["licence"]
    assert create_clip(f"local-dir:{out / 'tiny'}").visual.image_size == 64


def test_the_shipped_recipe_fits_both_models() -> None:
    recipe = read_clip_recipe("clip_compact").overridden(Overrides(minutes=1.0))
    assert (recipe.minutes, recipe.backbone) == (1.0, "clipmed-pair")
    with torch.device("meta"):
        ClipDSA(recipe.backbone)
        CausalCLIPSeg(clip_config(recipe.backbone))
    assert recipe.augmentation.flip_horizontal == recipe.augmentation.flip_vertical == 0.0, (
        "reports name sides"
    )
    with pytest.raises(ClipmedError, match="cannot be read"):
        read_clip_recipe("nothing")


def test_it_begins_with_the_image_tower_of_a_trained_model(data: tuple[Path, Path], tmp_path: Path) -> None:
    seeing = default_registry().get("clip-dsa-compact")
    tower = load_network(seeing).visual.state_dict()
    model = create_clip("clipmed-pair")
    new = model.visual.attnpool.c_proj.weight.clone()
    begin_with_images_of(model, seeing)
    for name, value in model.visual.state_dict().items():
        if not name.startswith("attnpool.c_proj"):
            assert torch.equal(value, tower[name].to(value.dtype)), name
    assert torch.equal(model.visual.attnpool.c_proj.weight, new), "the space of sentences has its own size"
    with pytest.raises(ClipmedError, match="does not fit"):
        begin_with_images_of(create_clip("clipmed-tiny"), seeing)
    with pytest.raises(ClipmedError, match="no image tower of CLIP-DSA"):
        begin_with_images_of(model, default_registry().get("causal-clipseg-compact"))


def test_a_tower_that_sees_learns_slowly(data: tuple[Path, Path]) -> None:
    pairs = read_pairs(*data, "train")
    module = ClipTraining(tiny(seeing=0.1), pairs, pairs, seeing=True)
    (optimiser,) = (module.configure_optimizers(),)
    names = {id(parameter): name for name, parameter in module.model.named_parameters()}
    slow = {names[id(p)] for g in optimiser.param_groups if g["factor"] == 0.1 for p in g["params"]}
    quick = {names[id(p)] for g in optimiser.param_groups if g["factor"] == 1.0 for p in g["params"]}
    assert slow | quick == set(names.values())
    assert all(name.startswith("visual.") for name in slow)
    assert {name for name in quick if name.startswith("visual.")} == {
        "visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias",
    }  # fmt: skip
    module.budget.on_train_batch_start(
        SimpleNamespace(
            strategy=SimpleNamespace(broadcast=lambda value: value), current_epoch=1,
            num_training_batches=4, optimizers=[optimiser],
        ),
        module, None, 0,
    )  # fmt: skip
    rates = {g["factor"]: g["lr"] for g in optimiser.param_groups}
    assert rates[1.0] > 0
    assert rates[0.1] == pytest.approx(0.1 * rates[1.0])
