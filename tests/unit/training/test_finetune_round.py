"""A round that is interrupted, forgets, runs out of memory; and what is said about it before and after."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))
from tiny_models import LABELS, diagnosis_model, labelled_study, masked_film, segmentation_model

from napari_clipmed.errors import Cancelled, ClipmedError, WorkspaceError
from napari_clipmed.models.registry import load_network, load_tensors
from napari_clipmed.progress import Progress
from napari_clipmed.records import Store
from napari_clipmed.training import finetune_fit, finetune_memory
from napari_clipmed.training.finetune import compare_models, finetune, plan
from napari_clipmed.training.finetune_compare import compare
from napari_clipmed.training.finetune_config import FinetuneConfig
from napari_clipmed.training.finetune_data import ReadOnDemand
from napari_clipmed.training.finetune_figures import Judgement
from napari_clipmed.training.finetune_memory import OutOfMemoryError, with_smaller_batches
from napari_clipmed.training.finetune_needs import Pace, needs, remember_pace
from napari_clipmed.training.finetune_run import Run, find_run, unfinished_runs
from napari_clipmed.training.replay import load_replay


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CLIPMED_HOME", str(tmp_path / "home"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "workspace") as opened:
        yield opened


def fill(store: Store, patients_per_class: int) -> None:
    for label in range(len(LABELS)):
        for n in range(patients_per_class):
            labelled_study(store, label, f"P{label}-{n}", 1000 * label + n)


def old_cases(folder: Path, n: int = 9) -> Path:
    """A folder of simulated studies as the phantoms write them, of the tiny classes."""
    (folder / "studies").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for k in range(n):
        runs = {name: rng.integers(0, 255, (4, 32, 32)).astype(np.uint8) for name in ("AP", "LA")}
        np.savez(folder / "studies" / f"{k}.npz", **runs)
        rows.append({"patient": f"old{k}", "label": LABELS[k % 3], "file": f"studies/{k}.npz"})
    (folder / "studies.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


# -- going on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["head", "adapter", "full"])
def test_a_round_that_was_cancelled_goes_on_as_if_nothing_had_happened(
    store: Store, tmp_path: Path, strategy: str
) -> None:
    fill(store, 2)
    base = diagnosis_model(tmp_path / "models")
    what = plan(store, "diagnosis", base)
    replay = load_replay(old_cases(tmp_path / "old"), "diagnosis", LABELS)
    config = FinetuneConfig.default("diagnosis", strategy, epochs=5).but(batch_size=4)
    order = {"config": config, "device": "cpu", "replay": replay}
    whole = finetune(store, base, replace(what, new_roles={}), **order)
    progress = Progress()
    with pytest.raises(Cancelled):
        finetune(
            store,
            base,
            what,
            **order,
            progress=progress,
            on_epoch=lambda report: progress.cancel() if report.epoch == 3 else None,
        )
    (run,) = unfinished_runs(store.workspace.runs, "diagnosis")
    assert run.epoch == 3
    assert find_run(store.workspace.runs, run.id).facts == run.facts
    told: list[int] = []
    gone_on = finetune(
        store, base, what, device="cpu", replay=replay, run=run, on_epoch=lambda r: told.append(r.epoch)
    )
    assert told == [4, 5]
    assert unfinished_runs(store.workspace.runs) == []
    a, b = load_tensors(whole), load_tensors(gone_on)
    assert a.keys() == b.keys()
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], msg=key)
    assert [row["train_loss"] for row in gone_on.card.metrics["finetune"]["history"]] == pytest.approx(
        [row["train_loss"] for row in whole.card.metrics["finetune"]["history"]]
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the killed process is a fork of this one")
def test_a_killed_round_leaves_the_store_and_can_go_on(store: Store, tmp_path: Path) -> None:
    fill(store, 2)
    base = diagnosis_model(tmp_path / "models")
    what = plan(store, "diagnosis", base)
    before = store.revisions()

    def work() -> None:
        def kill(report: object) -> None:
            if getattr(report, "epoch", 0) == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        with Store.open(store.workspace.root) as own:
            config = FinetuneConfig.default("diagnosis", "head", epochs=4)
            finetune(own, base, what, config=config, device="cpu", on_epoch=kill)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert store.revisions() == before
    assert list(store.workspace.models.iterdir()) == []
    (run,) = unfinished_runs(store.workspace.runs)
    assert run.epoch == 2
    assert finetune(store, base, what, run=run, device="cpu").card.metrics["finetune"]["epochs"] == 4


def test_a_round_does_not_go_on_with_other_cases_or_altered_numbers(store: Store, tmp_path: Path) -> None:
    fill(store, 1)
    base = diagnosis_model(tmp_path / "models")
    what = plan(store, "diagnosis", base)
    order = {
        "task": "diagnosis",
        "base_sha256": base.card.sha256,
        "plan": "another",
        "config": {"strategy": "head"},
    }
    run = Run.begin(store.workspace.runs, order)
    run.save(1, {"learning.0": torch.zeros(2)})
    with pytest.raises(WorkspaceError, match="have changed since"):
        finetune(store, base, what, run=run)
    kept = run.folder / "epoch-1.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WorkspaceError, match="altered"):
        Run.open(run.folder).load()


# -- memory -------------------------------------------------------------------------------------------


def test_without_memory_batches_are_halved_and_then_the_processor_is_offered() -> None:
    tried: list[int] = []
    said: list[str] = []

    def work(size: int) -> str:
        tried.append(size)
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    assert with_smaller_batches(work, 16, "cpu", said.append) == "done"
    assert tried == [16, 8, 4, 2]
    assert said[-1].endswith("going on with 2 at a time.")

    def never(size: int) -> str:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(OutOfMemoryError) as caught:
        with_smaller_batches(never, 4, "mps", said.append)
    assert caught.value.offer == "cpu"
    with pytest.raises(OutOfMemoryError) as caught:
        with_smaller_batches(never, 1, "cpu", said.append)
    assert caught.value.offer == ""
    with pytest.raises(ValueError, match="other"):
        with_smaller_batches(lambda size: (_ for _ in ()).throw(ValueError("other")), 4, "cpu", said.append)


def test_a_round_goes_on_with_smaller_batches(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 2)
    base = diagnosis_model(tmp_path / "models")
    step = finetune_fit.Tuner.training_step

    def hungry(self, batch, index):
        if sum(len(group.labels) for group in batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, batch, index)

    monkeypatch.setattr(finetune_fit.Tuner, "training_step", hungry)
    said: list[str] = []
    config = FinetuneConfig.default("diagnosis", "head", epochs=1)
    what = plan(store, "diagnosis", base)
    tuned = finetune(store, base, what, config=config, device="cpu", on_notice=said.append)
    assert tuned.card.metrics["finetune"]["config"]["batch_size"] == 2
    assert len(said) == 3
    assert not finetune_memory.is_out_of_memory(RuntimeError("shapes differ"))


# -- strategies ---------------------------------------------------------------------------------------


def test_an_adapter_leaves_the_tower_and_the_architecture_alone(store: Store, tmp_path: Path) -> None:
    fill(store, 2)
    base = diagnosis_model(tmp_path / "models")
    config = FinetuneConfig.default("diagnosis", "adapter", epochs=2)
    tuned = finetune(store, base, plan(store, "diagnosis", base), config=config, device="cpu")
    old, new = load_network(base).state_dict(), load_network(tuned).state_dict()
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert any(key.startswith("visual.attnpool.c_proj") for key in changed)
    assert any(key.startswith("head_mv") for key in changed)
    assert not [key for key in changed if key.startswith(("visual.layer", "visual.conv"))]


def test_an_adapter_of_masks_teaches_the_neck(store: Store, tmp_path: Path) -> None:
    for n in range(4):
        masked_film(store, ("left", "right")[n % 2], f"P{n}", n)
    base = segmentation_model(tmp_path / "models")
    config = FinetuneConfig.default("segmentation", "adapter", epochs=2)
    tuned = finetune(store, base, plan(store, "segmentation", base), config=config, device="cpu")
    old, new = load_network(base).state_dict(), load_network(tuned).state_dict()
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert any(key.startswith("neck.") for key in changed)
    assert not [key for key in changed if key.startswith(("backbone", "confounder"))]


def test_replay_is_trained_on_except_for_what_tells_of_forgetting(store: Store, tmp_path: Path) -> None:
    fill(store, 4)
    base = diagnosis_model(tmp_path / "models")
    replay = load_replay(old_cases(tmp_path / "old"), "diagnosis", LABELS)
    assert (len(replay.training), len(replay.apart)) == (6, 3)
    assert replay == load_replay(tmp_path / "old", "diagnosis", LABELS)
    config = FinetuneConfig.default("diagnosis", "head", epochs=1)
    what = plan(store, "diagnosis", base)
    outcome = finetune(store, base, what, config=config, replay=replay).card.metrics["finetune"]
    assert outcome["replay"]["n"] == 3
    assert set(outcome["replay"]["macro_f1"]) == {"before", "after", "difference"}
    with pytest.raises(ClipmedError, match="no cases for replay"):
        load_replay(tmp_path, "diagnosis")


def test_pictures_change_a_little_and_alike_in_the_same_epoch() -> None:
    drawn = ReadOnDemand([0], lambda n: n, lambda item, draw: int(torch.randint(10**9, (), generator=draw)))
    first = drawn[0]
    assert drawn[0] == first
    drawn.epoch = 1
    assert drawn[0] != first
    assert drawn.plain(0) == 0


# -- before -------------------------------------------------------------------------------------------


def test_what_two_readers_disagree_on_is_left_out_and_said(store: Store, tmp_path: Path) -> None:
    fill(store, 2)
    case = store.cases()[0].id
    seen = store.current_label(case).id
    store.add_label(case, "IA", "corrected", author="A", based_on=seen)
    store.add_label(case, "Control", "corrected", author="B", based_on=seen)
    found = plan(store, "diagnosis", diagnosis_model(tmp_path / "models"))
    assert case not in {e.case_id for e in (*found.training, *found.validation)}
    assert "1 study on which two readers disagree; settle it first" in " ".join(found.sentences)


def test_the_estimate_is_a_guess_until_a_round_ran_here(store: Store, tmp_path: Path) -> None:
    fill(store, 2)
    base = diagnosis_model(tmp_path / "models")
    what, config = plan(store, "diagnosis", base), FinetuneConfig.default("diagnosis", "head")
    first = needs(what, base, config, store.workspace.models, "cpu")
    assert not first.measured
    assert "a guess" in " ".join(first.sentences())
    remember_pace("diagnosis", "head", "cpu", base, Pace(100.0, 0.0))
    second = needs(what, base, config, store.workspace.models, "auto")
    assert second.measured
    assert second.seconds == pytest.approx(600)
    assert 0 < second.disk_bytes < second.disk_free
    assert "10 min" in " ".join(second.sentences())


# -- after --------------------------------------------------------------------------------------------


def judgement(answers: list[int]) -> Judgement:
    truth = [0, 0, 1, 1, 2, 2]
    scores = np.eye(3)[answers].tolist()
    cases = [f"case{n}" for n in range(6)]
    table = np.zeros((3, 3), int)
    np.add.at(table, (truth, answers), 1)
    figures = {"confusion": table.tolist()}
    return Judgement(
        "diagnosis", figures, cases, [f"p{n // 2}" for n in range(6)], truth, scores, [], list(LABELS)
    )


def test_the_comparison_is_paired_by_patient() -> None:
    old, new = judgement([0, 1, 1, 0, 2, 1]), judgement([0, 0, 1, 1, 2, 2])
    found = compare(old, new, rounds=200)
    assert (found["n"], found["patients"]) == (6, 3)
    assert found["figures"]["accuracy"]["after"] == {"value": 1.0, "ci95": [1.0, 1.0]}
    assert found["figures"]["accuracy"]["difference"]["value"] == pytest.approx(0.5)
    # Every patient has one case mended of two: whoever is drawn, the difference is one half.
    assert found["figures"]["accuracy"]["difference"]["ci95"] == pytest.approx([0.5, 0.5])
    assert [row["kind"] for row in found["changed"]] == ["mended"] * 3
    assert compare(new, old, rounds=10)["changed"][0]["kind"] == "broken"


class _Resources(HTMLParser):
    """Collects whatever a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe") or {"src", "href"} & dict(attrs).keys():
            self.found.append(tag)


@pytest.mark.parametrize("task", ["diagnosis", "segmentation"])
def test_the_report_stands_alone_and_names_nobody(store: Store, tmp_path: Path, task: str) -> None:
    if task == "diagnosis":
        fill(store, 4)
        base = diagnosis_model(tmp_path / "models")
    else:
        for n in range(8):
            masked_film(store, ("left", "right")[n % 2], f"P0-{n}", n)
        base = segmentation_model(tmp_path / "models")
    what = plan(store, task, base)
    config = FinetuneConfig.default(task, "head", epochs=3)
    tuned = finetune(store, base, what, config=config, device="cpu")
    run = Run.open(store.workspace.runs / tuned.card.metrics["finetune"]["run"])
    page = run.report.read_text(encoding="utf-8")
    parser = _Resources()
    parser.feed(page)
    assert parser.found == []
    assert not re.search(r"https?://|url\(", page)
    assert "P0-" not in page
    assert tuned.id in page and base.id in page and what.validation_fingerprint in page
    assert ("Confusion matrices" if task == "diagnosis" else "Dice of each mask") in page
    assert run.facts["status"] == "done"
    comparison, again = compare_models(store, base, tuned, what, device="cpu")
    assert comparison["on"] == "validation"
    assert "Figures" in again
    compared = tuned.card.metrics["finetune"]["compared"]
    for name, row in comparison["figures"].items():
        assert row["after"]["value"] == pytest.approx(compared[name]["after"]["value"], abs=0.02)


def test_the_epoch_is_chosen_by_frozen_and_by_old_cases_alike() -> None:
    """Ten frozen cases must not outvote what the model knew, nor forty old ones what it is taught."""
    from types import SimpleNamespace

    from napari_clipmed.training.finetune_fit import EXAM, _Exam

    trainer = SimpleNamespace(callback_metrics={"val_loss": torch.tensor(1.0), "old_loss": torch.tensor(0.5)})
    _Exam().on_validation_end(trainer, None)
    assert float(trainer.callback_metrics[EXAM]) == 0.75
    del trainer.callback_metrics["old_loss"]
    _Exam().on_validation_end(trainer, None)
    assert float(trainer.callback_metrics[EXAM]) == 1.0
