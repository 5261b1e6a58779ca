"""Fine-tuning: what is planned, what is learned, what is kept apart, what is registered."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))
from tiny_models import LABELS, diagnosis_model, labelled_study, masked_film, segmentation_model

from napari_clipmed.errors import Cancelled, ClipmedError, ModelError, WorkspaceError
from napari_clipmed.models.registry import Registry, load_network, load_tensors
from napari_clipmed.progress import Progress, Step
from napari_clipmed.records import SplitRole, Store
from napari_clipmed.training.finetune import FinetuneConfig, evaluate_before_after, finetune, plan
from napari_clipmed.training.finetune_data import balanced


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A workspace of a known secret, which decides what patients judge: of thirty drawn, two misjudged."""
    monkeypatch.setattr("napari_clipmed.records.sessions.new_salt", lambda: "5a" * 32)
    with Store.open(tmp_path / "workspace") as opened:
        yield opened


def fill(store: Store, patients_per_class: int, first: int = 0) -> list[str]:
    """Studies of all classes, one a patient."""
    return [
        labelled_study(store, label, f"P{label}-{n}", 1000 * label + n)
        for label in range(len(LABELS))
        for n in range(first, first + patients_per_class)
    ]


# -- the plan -----------------------------------------------------------------------------------------


def test_an_empty_workspace_cannot_train_and_says_why(store: Store, tmp_path: Path) -> None:
    base = diagnosis_model(tmp_path / "models")
    empty = plan(store, "diagnosis", base)
    assert not empty.can_run
    with pytest.raises(ClipmedError, match="no accepted or corrected labels"):
        finetune(store, base, empty)


def test_the_plan_leaves_out_what_teaches_nothing(store: Store) -> None:
    good, unsure, unknown, bare = fill(store, 1)[:3] + [labelled_study(store, 0, "PX", 77)]
    store.add_label(unsure, None, "unsure")
    store.add_label(unknown, "Rare", "corrected")
    base = diagnosis_model(store.workspace.models)
    found = plan(store, "diagnosis", base)
    assert {e.case_id for e in found.training} == {good, bare}
    text = " ".join(found.sentences)
    assert "1 study rejected or unsure" in text
    assert "1 study of a class that the model does not have" in text
    assert "Few training patients in: Control (2)" in text
    assert "Too few patients" in text


def test_a_label_taken_back_is_not_learned(store: Store) -> None:
    (case, *_) = fill(store, 1)
    store.undo(store.current_label(case))
    assert case not in {e.case_id for e in plan(store, "diagnosis").training}


def test_patients_are_divided_whole_and_for_ever(store: Store) -> None:
    fill(store, 4)
    for n in range(4):  # each patient of class 0 comes a second time
        labelled_study(store, 0, f"P0-{n}", 500 + n)
    first = plan(store, "diagnosis")
    held = {e.patient_key for e in first.validation}
    assert len(held) == 2
    assert held.isdisjoint({e.patient_key for e in first.training})
    assert first == plan(store, "diagnosis")
    store.freeze_roles("diagnosis", first.new_roles)
    fill(store, 6, first=4)
    second = plan(store, "diagnosis")
    trained = {e.patient_key for e in first.training}
    now_held = {e.patient_key for e in second.validation}
    assert held < now_held
    assert trained.isdisjoint(now_held)
    assert set(second.new_roles).isdisjoint(first.new_roles)
    assert len(now_held) == 6  # a fifth of 30
    assert second.validation_fingerprint != first.validation_fingerprint


def test_no_class_is_emptied_for_validation(store: Store) -> None:
    for n in range(8):
        labelled_study(store, 0, f"A{n}", n)
    labelled_study(store, 1, "B", 100)
    found = plan(store, "diagnosis")
    assert found.classes["MMD"].train_patients == 1
    assert found.classes["Control"].validation_patients == 2


def test_rare_classes_are_repeated() -> None:
    order = balanced([0] * 12 + [1] * 3 + [2])
    labels = np.array([0] * 12 + [1] * 3 + [2])[order]
    assert np.bincount(labels).tolist() == [12, 12, 10]
    assert set(order) == set(range(16))


# -- diagnosis ----------------------------------------------------------------------------------------


def test_it_learns_and_then_unlearns_a_flipped_label(store: Store, tmp_path: Path) -> None:
    cases = fill(store, 4)
    base = diagnosis_model(tmp_path / "models")
    tuned = finetune(store, base, plan(store, "diagnosis", base))
    first = tuned.card.metrics["finetune"]
    assert first["on"] == "validation"
    assert first["after"]["macro_f1"] > max(0.9, first["before"]["macro_f1"])
    swapped = {"MMD": "IA", "IA": "MMD", "Control": "Control"}
    for case in cases:
        store.add_label(case, swapped[store.current_label(case).label], "corrected")
    again = plan(store, "diagnosis", tuned)
    flipped = finetune(store, tuned, again).card.metrics["finetune"]
    assert flipped["before"]["accuracy"] < 0.7
    assert flipped["after"]["accuracy"] > flipped["before"]["accuracy"]
    assert flipped["validation_fingerprint"] == again.validation_fingerprint


def test_validation_patients_are_never_read_for_training(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_clipmed.training import finetune_modules

    fill(store, 4)
    base = diagnosis_model(tmp_path / "models")
    round_plan = plan(store, "diagnosis", base)
    seen: list[int] = []
    step = finetune_modules.Tuner.training_step

    def spy(self, batch, index):
        seen.extend(hash(row.numpy().tobytes()) for group in batch for row in group.ap)
        return step(self, batch, index)

    monkeypatch.setattr(finetune_modules.Tuner, "training_step", spy)
    from napari_clipmed.inference.device import choose_compute
    from napari_clipmed.training.finetune_bench import bench_for

    config = FinetuneConfig.default("diagnosis", "head", epochs=2)
    bench = bench_for("diagnosis")(store, base, round_plan, config, choose_compute("cpu"), Progress())
    kept_apart = {hash(item.views["AP"].numpy().tobytes()) for item in bench.material.validation}
    finetune(store, base, round_plan, config=config, device="cpu")
    assert len(set(seen)) == len(round_plan.training)
    assert kept_apart.isdisjoint(seen)
    held = {key for key, role in store.split_roles("diagnosis").items() if role is SplitRole.VALIDATION}
    assert held == {e.patient_key for e in round_plan.validation}


def test_too_few_patients_are_judged_on_themselves_and_labelled_so(store: Store, tmp_path: Path) -> None:
    fill(store, 1)
    base = diagnosis_model(tmp_path / "models")
    reports = []
    tuned = finetune(store, base, plan(store, "diagnosis", base), on_epoch=reports.append)
    outcome = tuned.card.metrics["finetune"]
    assert outcome["on"] == "training"
    assert outcome["after"]["loss"] < outcome["before"]["loss"]
    assert reports
    assert all(r.val_loss is None and r.metric is None for r in reports)
    assert any("flatter" in limit for limit in tuned.card.limits)


def test_head_leaves_the_image_tower_alone_and_full_does_not(store: Store, tmp_path: Path) -> None:
    fill(store, 2)
    labelled_study(store, 1, "single", 4000, views=1)  # a study with one view only
    base = diagnosis_model(tmp_path / "models")
    before = load_network(base).state_dict()
    round_plan = plan(store, "diagnosis", base)
    for strategy, trunk_changes in (("head", False), ("full", True)):
        config = FinetuneConfig.default("diagnosis", strategy, epochs=2)
        tuned = finetune(store, base, round_plan, config=config)
        after = load_network(tuned).state_dict()
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert any(key.startswith("head_mv") for key in changed)
        assert any(key.startswith("visual") for key in changed) is trunk_changes
        assert not [k for k in changed if "running_" in k or k.startswith(("clip.", "logit_", "text_"))]
        assert "ood.mean" in load_tensors(tuned)


def test_the_new_version_says_where_it_comes_from(store: Store, tmp_path: Path) -> None:
    fill(store, 2)
    base = diagnosis_model(tmp_path / "models")
    registry = Registry([tmp_path / "models", store.workspace.models])
    round_plan = plan(store, "diagnosis", base)
    config = FinetuneConfig.default("diagnosis", "head", epochs=1, seed=3)
    tuned = finetune(store, base, round_plan, config=config)
    assert registry.get(tuned.id).card == tuned.card
    assert (tuned.card.parent, tuned.card.seed, tuned.card.label_set) == (base.id, 3, base.card.label_set)
    outcome = tuned.card.metrics["finetune"]
    assert outcome["data_fingerprint"] == round_plan.fingerprint
    assert outcome["parent_sha256"] == base.card.sha256
    assert outcome["config"]["strategy"] == "head"
    assert tuned.card.limits[0] == "For tests only."
    assert registry.default("diagnosis").id == base.id  # never promoted by itself
    child = finetune(store, tuned, round_plan, config=config)
    assert child.id != tuned.id
    assert child.id.count("-ft-") == 1


def test_before_and_after_can_be_measured_again_from_the_files(store: Store, tmp_path: Path) -> None:
    fill(store, 4)
    base = diagnosis_model(tmp_path / "models")
    round_plan = plan(store, "diagnosis", base)
    tuned = finetune(store, base, round_plan)
    again = evaluate_before_after(store, base, tuned, round_plan)
    outcome = tuned.card.metrics["finetune"]
    assert again["on"] == outcome["on"]
    for side in ("before", "after"):
        assert again[side]["confusion"] == outcome[side]["confusion"]
        assert again[side]["loss"] == pytest.approx(outcome[side]["loss"], abs=1e-4)


# -- segmentation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "epochs"), [("head", 25), ("full", 2)])
def test_masks_are_learned(store: Store, tmp_path: Path, strategy: str, epochs: int) -> None:
    for n in range(8):
        masked_film(store, ("left", "right")[n % 2], f"P{n}", n)
    base = segmentation_model(tmp_path / "models")
    round_plan = plan(store, "segmentation", base)
    assert len(round_plan.validation) == 2
    config = FinetuneConfig.default("segmentation", strategy, epochs=epochs)
    outcome = finetune(store, base, round_plan, config=config).card.metrics["finetune"]
    assert outcome["on"] == "validation"
    if strategy == "head":
        assert outcome["after"]["dice_mean"] > outcome["before"]["dice_mean"] + 0.05


# -- what must not happen -----------------------------------------------------------------------------


def test_the_wrong_task_is_refused(store: Store, tmp_path: Path) -> None:
    fill(store, 1)
    base = segmentation_model(tmp_path / "models")
    with pytest.raises(ModelError, match="segmentation model; it cannot be fine-tuned for diagnosis"):
        finetune(store, base, plan(store, "diagnosis"))


def test_a_read_only_workspace_is_refused_before_any_work(store: Store, tmp_path: Path) -> None:
    fill(store, 1)
    base = diagnosis_model(tmp_path / "models")
    with Store.open(store.workspace.root, read_only=True) as reader:
        steps: list[Step] = []
        with pytest.raises(WorkspaceError, match="for reading only"):
            finetune(reader, base, plan(reader, "diagnosis", base), progress=Progress(steps.append))
    assert steps == []


def test_a_disk_that_is_too_full_is_refused_before_any_work(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 1)
    base = diagnosis_model(tmp_path / "models")
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1000))
    steps: list[Step] = []
    with pytest.raises(WorkspaceError, match="0 MB left"):
        finetune(store, base, plan(store, "diagnosis", base), progress=Progress(steps.append))
    assert steps == []


@pytest.mark.parametrize(
    "moment", ["Loading Tiny CLIP-DSA", "Reading pictures", "Training", "Judging", "Registering"]
)
def test_cancelling_leaves_no_trace(store: Store, tmp_path: Path, moment: str) -> None:
    fill(store, 2)
    base = diagnosis_model(tmp_path / "models")
    progress = Progress()

    def watch(step: Step) -> None:
        if step.what == moment:
            progress.cancel()
            progress.step("the next step")

    progress.report = watch
    with pytest.raises(Cancelled):
        finetune(store, base, plan(store, "diagnosis", base), progress=progress)
    assert list(store.workspace.models.iterdir()) == []
    assert store.split_roles("diagnosis") == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the killed process is a fork of this one")
def test_killed_while_registering_leaves_no_model(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 1)
    base = diagnosis_model(tmp_path / "models")
    config = FinetuneConfig.default("diagnosis", "head", epochs=1)
    round_plan = plan(store, "diagnosis", base)

    def killed(path: Path) -> str:  # the weights are written, the card is not
        assert path.stat().st_size > 0
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    def work() -> None:
        with Store.open(store.workspace.root) as own:
            finetune(own, base, round_plan, config=config, device="cpu")

    monkeypatch.setattr("napari_clipmed.models.registry.hash_file", killed)
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    registry = Registry([store.workspace.models])
    assert registry.list() == []
    assert registry.problems() == []


@pytest.mark.parametrize("task", ["diagnosis", "segmentation"])
def test_a_round_of_the_head_reads_every_picture_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
    from napari_clipmed.models.clip_dsa import ClipDSA

    read: list[int] = []
    network, method = {"diagnosis": (ClipDSA, "trunk"), "segmentation": (CausalCLIPSeg, "separate")}[task]
    original = getattr(network, method)

    def counting(self, images):
        read.append(len(images))
        return original(self, images)

    monkeypatch.setattr(network, method, counting)
    if task == "diagnosis":
        fill(store, 4)
        base = diagnosis_model(tmp_path / "models")
    else:
        for number in range(6):
            masked_film(store, "left" if number % 2 else "right", f"p{number}", number)
        base = segmentation_model(tmp_path / "models")
    round_plan = plan(store, task, base)
    config = FinetuneConfig.default(task, "head", epochs=3)
    read.clear()  # making the tiny model has read something too
    finetune(store, base, round_plan, config=config, device="cpu")
    examples = len(round_plan.training) + len(round_plan.validation)
    frames = {"diagnosis": 2 * 4, "segmentation": 1}[task]
    assert sum(read) == frames * examples
