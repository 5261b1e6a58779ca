"""What both trainers share: budget, patience, resuming after a kill, precision, memory, several processes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from fake_dsa import write_fake_dsa
from qata_folder import make_qata
from two_processes import PAIRS, dsa_recipe, projection, seg_config

from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.backbones import create_clip
from napari_clipmed.models.clip_dsa_loss import contrastive_loss
from napari_clipmed.training import causal_clipseg, clip_dsa
from napari_clipmed.training.clip_dsa_recipe import ClipDSARecipe, Stage, read_recipe
from napari_clipmed.training.dsa_data import read_rows
from napari_clipmed.training.fitting import Budget, prepare, seeded, share_of_batch
from napari_clipmed.training.recompute import recompute_stages
from napari_clipmed.training.run_options import Overrides, RunOptions
from napari_clipmed.training.segmentation_config import SegmentationConfig, read_config

HERE = Path(__file__).parent
ONE = RunOptions(device="cpu", threads=1)
WHOLE = (Stage(frames=2, batch=4),)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dsa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten studies to learn from and nine to validate with, which two processes cannot halve."""
    folder = write_fake_dsa(tmp_path_factory.mktemp("data") / "dsa")
    index = folder / "studies.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(line for n, line in enumerate(lines) if n != 19))
    assert (len(read_rows(folder, "train")), len(read_rows(folder, "val"))) == (10, 9)
    return folder


@pytest.fixture(scope="module")
def qata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qata(tmp_path_factory.mktemp("data") / "qata", {"Train": 26, "Val": 5})


def state(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def curves(folder: Path, column: str) -> list[float]:
    with (folder / "metrics.csv").open() as lines:
        return [float(row[column]) for row in csv.DictReader(lines) if row.get(column)]


# Recipes and what is asked for beside them


def test_what_is_typed_overrides_what_the_recipe_says() -> None:
    by = Overrides(epochs=5, minutes=2.0, batch=4, seed=9, run={"precision": "bf16", "processes": 2})
    recipe = read_recipe("clip_dsa_compact").overridden(by)
    assert (recipe.epochs, recipe.minutes, recipe.seed) == (5, 2.0, 9)
    assert {stage.batch for stage in recipe.stages} == {4}
    config = read_config("causal_clipseg_paper").overridden(by)
    assert (config.optimisation.max_epochs, config.optimisation.max_minutes, config.seed) == (5, 2.0, 9)
    assert config.optimisation.batch_size == 4
    for run in (recipe.run, config.run):
        assert (run.precision, run.processes, run.accumulate) == ("bf16", 2, 1)
    assert config.run.patience == 100, "the recipe's own where nothing was asked"
    assert read_config("causal_clipseg_paper").overridden(Overrides()) == read_config("causal_clipseg_paper")
    with pytest.raises(ClipmedError, match=r"--precision does not fit"):
        recipe.overridden(Overrides(run={"precision": "fp8"}))


def test_recipes_from_before_the_section_run_are_still_read() -> None:
    older = dsa_recipe().model_dump(exclude={"run"}) | {"bf16": True}
    assert ClipDSARecipe.model_validate(older).run.precision == "bf16"
    config = seg_config().model_dump(exclude={"run"}) | {"precision": "bf16-mixed", "threads": 1}
    run = SegmentationConfig.model_validate(config).run
    assert (run.precision, run.threads) == ("bf16", 1)


def test_budget_is_spent_by_epochs_or_by_the_clock() -> None:
    budget = Budget(10, 2.0, lambda fraction: 1 - fraction)
    assert budget.share(4) == pytest.approx(0.4)
    budget.elapsed = 90
    assert budget.share(4) == pytest.approx(0.75)
    assert budget.share(40) == 1.0
    assert Budget(10, None, lambda fraction: 0.0).share(0) == 0.0


def test_a_machine_that_lacks_what_is_asked_for_says_so(tmp_path: Path) -> None:
    def asked(**run: Any) -> None:
        budget = Budget(1, None, lambda fraction: 0.0)
        prepare(RunOptions(**run), tmp_path, "score", budget, SimpleNamespace())  # type: ignore[arg-type]

    with pytest.raises(ClipmedError, match="fp16"):
        asked(device="cpu", precision="fp16")
    if not torch.cuda.is_available():
        with pytest.raises(ClipmedError, match="not available"):
            asked(device="cuda")
    with pytest.raises(ClipmedError, match="A batch of 5 cannot be shared by 2"):
        share_of_batch(5, 2)
    assert share_of_batch(16, 4) == 4


def test_seeds_of_epochs_and_processes_are_all_different() -> None:
    assert len({seeded(1, epoch, rank) for epoch in range(20) for rank in range(4)}) == 80
    assert seeded(1, 2) == seeded(1, 2)


# Memory and numbers


def test_recomputed_stages_give_the_same_gradients_and_statistics() -> None:
    torch.manual_seed(0)
    plain = create_clip("clipmed-tiny").visual.train()
    again = deepcopy(plain)
    recompute_stages(again)
    assert again.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(3, 3, 64, 64)
    for visual in (plain, again):
        visual(images).square().sum().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), again.named_parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, msg=name)
    for (name, a), (_, b) in zip(plain.named_buffers(), again.named_buffers(), strict=True):
        torch.testing.assert_close(b, a, msg=name)  # the second pass is not counted
    assert int(plain.bn1.num_batches_tracked) == 1


def test_recomputing_keeps_less() -> None:
    """Bytes that the graph holds between the passes, counted by torch's hook on saved tensors."""

    def kept(again: bool) -> int:
        torch.manual_seed(0)
        visual = create_clip("clipmed-tiny").visual.train()
        if again:
            recompute_stages(visual)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            visual(torch.randn(2, 3, 64, 64))
        return sum(sizes)

    assert kept(again=True) < 0.7 * kept(again=False)


@pytest.mark.parametrize("targets", ["paper", "prototype"])
def test_accumulated_batches_are_not_one_batch(targets: str) -> None:
    """Contrast within 2 x 4 studies is not contrast within 8; the loss over all sentences does not care."""
    torch.manual_seed(0)
    text = torch.randn(5, 6)
    labels = torch.tensor([0, 1, 2, 3, 4, 1, 2, 3])

    def gradient(parts: list[torch.Tensor]) -> torch.Tensor:
        v = torch.randn(8, 6, generator=torch.Generator().manual_seed(1), requires_grad=True)
        for part in parts:
            if targets == "paper":
                loss = contrastive_loss(v[part], text[labels[part]], 5.0, torch.eye(len(part)))
            else:
                normal = torch.nn.functional.normalize
                loss = torch.nn.functional.cross_entropy(
                    5.0 * normal(v[part], dim=1) @ normal(text, dim=1).T, labels[part]
                )
            (loss / len(parts)).backward()
        return v.grad

    whole, halves = gradient([torch.arange(8)]), gradient([torch.arange(4), torch.arange(4, 8)])
    assert torch.allclose(whole, halves, atol=1e-6) == (targets == "prototype")


def test_clip_dsa_steps_once_for_several_batches(dsa: Path, tmp_path: Path) -> None:
    """Ten studies in batches of two, two batches a step, in bfloat16, recomputed: three steps an epoch."""
    run = RunOptions(device="cpu", threads=1, accumulate=2, recompute=True, precision="bf16")
    recipe = dsa_recipe(epochs=2, stages=(Stage(frames=2, batch=2),), run=run)
    clip_dsa.train(dsa, recipe, tmp_path)
    last = state(tmp_path)
    assert last["global_step"] == 2 * 3
    assert int(last["state_dict"]["average.n_averaged"]) == 6
    assert len(curves(tmp_path, "val_auc")) == 2
    weight = last["state_dict"]["network.visual.layer1.0.conv1.weight"]
    assert weight.dtype == torch.float32 and weight.isfinite().all()
    assert curves(tmp_path, "val_n") == [9.0, 9.0]
    assert set(state(tmp_path, "best")) & {"optimizer_states"} == set()


def test_causal_clipseg_steps_once_for_several_batches(qata: Path, tmp_path: Path) -> None:
    run = RunOptions(device="cpu", threads=1, accumulate=2, recompute=True, precision="bf16")
    config = seg_config(run=run.model_dump(), objective={"adversary": "grl"})
    causal_clipseg.train(qata, config, tmp_path)
    assert state(tmp_path)["global_step"] == 2 * 2, "24 films in batches of 8, two batches a step"
    assert curves(tmp_path, "val/n") == [5.0, 5.0]


# Stopping


def test_patience_counts_validations_of_heads_that_are_trained(dsa: Path, tmp_path: Path) -> None:
    """Nothing is learned at a rate of zero: four epochs of windows, one to compare with, and the end."""
    stages = (Stage(until=0.5, crop=32, frames=1, batch=8, location=1.0), Stage(frames=1, batch=8))
    run = RunOptions(device="cpu", threads=1, patience=1)
    recipe = dsa_recipe(
        epochs=8, stages=stages, learning_rate=0.0, learning_rate_end=0.0, ema=0.0, run=run,
        freeze_batch_norm=True,
    )  # fmt: skip
    clip_dsa.train(dsa, recipe, tmp_path)
    assert state(tmp_path)["epoch"] == 5


@pytest.mark.parametrize("name", ["clip_dsa", "causal_clipseg"])
def test_scores_select_and_stop_never_a_loss(name: str, tmp_path: Path) -> None:
    module = {"clip_dsa": clip_dsa, "causal_clipseg": causal_clipseg}[name]
    budget = Budget(1, None, lambda fraction: 0.0)
    run = RunOptions(device="cpu", patience=3)
    trainer = prepare(run, tmp_path, module.MONITORED, budget, SimpleNamespace()).trainer  # type: ignore[arg-type]
    assert module.MONITORED in ("val_auc", "val/dice_mean")
    watched = {(c.monitor, c.mode) for c in trainer.callbacks if getattr(c, "monitor", None)}
    assert watched == {(module.MONITORED, "max")}


def test_time_that_is_spent_ends_with_a_validation(dsa: Path, tmp_path: Path) -> None:
    recipe = dsa_recipe(epochs=50, minutes=1e-4, validate_every=10, stages=WHOLE, run=ONE)
    best = clip_dsa.train(dsa, recipe, tmp_path)
    assert best.exists() and state(tmp_path)["epoch"] < 5


# Killed in the middle


def killed_after_an_epoch(model: str, data: Path, recipe: Path, out: Path) -> None:
    """The command that a person types, ended by SIGKILL once it has kept something."""
    command = [sys.executable, "-m", "napari_clipmed.cli", "train", model]
    command += ["--data", str(data), "--config", str(recipe), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 240
    while not (out / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -9


def same_numbers(a: dict[str, Any], b: dict[str, Any], what: str) -> None:
    for name, value in a["state_dict"].items():
        torch.testing.assert_close(b["state_dict"][name], value, msg=lambda m, n=name: f"{what} {n}: {m}")
    assert a["global_step"] == b["global_step"] and a["epoch"] == b["epoch"]
    ours, theirs = a["optimizer_states"][0], b["optimizer_states"][0]
    assert ours["param_groups"][0]["lr"] == pytest.approx(theirs["param_groups"][0]["lr"])
    for number, moments in ours["state"].items():
        for name, value in moments.items():
            torch.testing.assert_close(theirs["state"][number][name], value)


def test_clip_dsa_goes_on_after_a_kill_as_if_nothing_had_happened(dsa: Path, tmp_path: Path) -> None:
    """Weights, average, optimiser, rate and epoch end where those of an undisturbed training end."""
    recipe = dsa_recipe(epochs=6, run=ONE)
    file, killed, whole = tmp_path / "tiny.yaml", tmp_path / "killed", tmp_path / "whole"
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    killed_after_an_epoch("clip-dsa", dsa, file, killed)
    before = state(killed)
    assert before["epoch"] < 5, "it was in the middle"
    clip_dsa.train(dsa, recipe, killed)
    clip_dsa.train(dsa, recipe, whole)
    after = state(killed)
    assert after["epoch"] == 5 and after["elapsed"] > before["elapsed"] > 0
    assert int(after["state_dict"]["average.n_averaged"]) == after["global_step"]
    same_numbers(state(whole), after, "clip-dsa")
    assert (killed / "metrics.csv").exists()


def test_causal_clipseg_goes_on_after_a_kill_as_if_nothing_had_happened(qata: Path, tmp_path: Path) -> None:
    optimisation = seg_config().optimisation.model_dump() | {"max_epochs": 6}
    config = seg_config(
        run=ONE.model_dump(), optimisation=optimisation,
        augmentation={"flip": 0.5, "degrees": 5, "gamma": 0.2}, sentences={"no_number": 0.3},
    )  # fmt: skip
    file, killed, whole = tmp_path / "tiny.yaml", tmp_path / "killed", tmp_path / "whole"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    killed_after_an_epoch("causal-clipseg", qata, file, killed)
    before = state(killed)
    assert before["epoch"] < 5, "it was in the middle"
    causal_clipseg.train(qata, config, killed)
    causal_clipseg.train(qata, config, whole)
    after = state(killed)
    assert after["elapsed"] > before["elapsed"] > 0
    same_numbers(state(whole), after, "causal-clipseg")


def test_training_may_begin_with_the_weights_of_another(dsa: Path, tmp_path: Path) -> None:
    recipe = dsa_recipe(epochs=1, stages=WHOLE, run=ONE, learning_rate=0.0, learning_rate_end=0.0)
    first = clip_dsa.train(dsa, recipe, tmp_path / "first")
    begun = clip_dsa.train(dsa, recipe.model_copy(update={"seed": 5}), tmp_path / "second", start=first)
    weights = [torch.load(path, weights_only=True)["state_dict"] for path in (first, begun)]
    for name in ("network.visual.conv1.weight", "average.module.head_mv.weight"):
        assert torch.equal(weights[0][name], weights[1][name]), name
    with pytest.raises(ClipmedError, match="no checkpoint of a training run"):
        clip_dsa.train(dsa, recipe, tmp_path / "third", start=tmp_path / "none.ckpt")


# Several processes


@pytest.fixture(scope="module")
def together(dsa: Path, qata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both models and a probe trained by two processes; what each of them saw."""
    out = tmp_path_factory.mktemp("together")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    answer = subprocess.run(
        [sys.executable, HERE / "two_processes.py", dsa, qata, out],
        env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-4000:]
    return out


def seen_by(folder: Path, what: str) -> list[list[Any]]:
    return [json.loads((folder / f"rank{rank}.json").read_text())[what] for rank in (0, 1)]


def test_two_processes_see_different_studies(together: Path, dsa: Path) -> None:
    """A stage that draws at random comes first, then one that shuffles: four studies a step in both."""
    first, second = seen_by(together, "studies")
    assert len(first) == len(second)
    shuffled = [set(part[-4:]) for part in (first, second)]
    assert not shuffled[0] & shuffled[1]
    assert shuffled[0] | shuffled[1] <= {row.id for row in read_rows(dsa, "train")}


def test_two_processes_see_different_films(together: Path, qata: Path) -> None:
    """Two epochs of the films to learn from, each time shared out anew; those that are left over wait."""
    first, second = seen_by(together, "films")
    learned = [item.id for item in causal_clipseg.split_by_patient(qata, seg_config(), None).train]
    each = len(learned) // 8 * 4
    assert len(first) == len(second) == 2 * each
    for epoch in (slice(0, each), slice(each, None)):
        assert not set(first[epoch]) & set(second[epoch])
        assert set(first[epoch]) | set(second[epoch]) <= set(learned)
    assert set(first[:each]) != set(first[each:])


def test_two_processes_count_each_validation_sample_once(together: Path, qata: Path) -> None:
    """Nine studies are five and four: one is repeated so that both have five, and does not count twice."""
    assert curves(together / "dsa", "val_n") == [9.0], "the first stage has no heads to judge"
    films = len(causal_clipseg.split_by_patient(qata, seg_config(), None).selection)
    assert films % 2 == 1
    assert curves(together / "qata", "val/n") == [films, films]


def test_two_processes_leave_one_checkpoint_that_loads(together: Path) -> None:
    for model in ("dsa", "qata"):
        assert {p.name for p in (together / model / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert state(together / "dsa")["global_step"] == 2 * 2, "four studies a step, not four for each process"
    config = seg_config()
    causal_clipseg.load_checkpoint(together / "qata" / "checkpoints" / "best.ckpt", config)


def test_contrast_over_two_processes_is_contrast_over_the_whole_batch(together: Path) -> None:
    """The same gradient as of one process with all eight studies."""
    layer = projection()
    a, b = layer(PAIRS[:, 0]), layer(PAIRS[:, 1])
    contrastive_loss(a, b, 5.0, torch.eye(8)).backward()
    for found in seen_by(together, "gradient"):
        torch.testing.assert_close(torch.tensor(found), layer.weight.grad, atol=1e-6, rtol=1e-4)
