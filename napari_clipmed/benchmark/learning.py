"""Does a round really teach? A shipped model, corrected studies of another hospital, patients it never saw.

The shift is frozen in ``phantom_dsa_shifted.yaml`` and ``phantom_cxr_distant.yaml``; the nearer
``phantom_cxr_shifted.yaml`` is known to the shipped chest model, which learned from simulated films too.
Defaults were chosen on the draw "validation"; "test" is another draw of everything, for the figures that are
reported.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from napari_clipmed.benchmark.subjects import make_view
from napari_clipmed.inference.device import Compute, choose_compute
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.card import ModelEntry, Task
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.registry import default_registry, load_network
from napari_clipmed.phantoms.cxr import FilmRecipe, load_style_ranges, write_cxr_phantoms
from napari_clipmed.phantoms.dsa.writer import write_dsa_phantoms
from napari_clipmed.progress import Progress
from napari_clipmed.records import Store
from napari_clipmed.study import Kind, PatientIdentity, Projection, Study
from napari_clipmed.training.finetune import finetune, plan
from napari_clipmed.training.finetune_compare import compare
from napari_clipmed.training.finetune_config import SIMULATED_REPLAY, FinetuneConfig
from napari_clipmed.training.finetune_data import MaskItem, StudyItem, mask_features, study_features
from napari_clipmed.training.finetune_figures import Judgement, judge_diagnoses, judge_masks
from napari_clipmed.training.finetune_modules import DiagnosisTuner, SegmentationTuner
from napari_clipmed.training.replay import (
    Replay,
    ReplayCase,
    load_cases,
    load_replay,
    read_replay_mask,
    read_replay_study,
)
from napari_clipmed.training.snapshots import save_diagnosis_inputs, save_segmentation_inputs

Draw = Literal["validation", "test"]
SEEDS: dict[str, dict[str, int]] = {
    "validation": {"corrected": 8100, "shifted": 8200, "original": 8300},
    "test": {"corrected": 9101, "shifted": 9201, "original": 9301},
}
"""Seed of each set of studies, by draw."""

OTHER_HOSPITAL: dict[str, str] = {"diagnosis": "shifted", "segmentation": "distant"}
"""The style of the corrected and the unseen "shifted" studies of a task."""

INTERVALS = (
    "Unseen patients of the shifted and of the original hospital; in brackets 95 % intervals, patients drawn "
    "with replacement; the interval of the difference is of the paired comparison."
)

REPLAY_SEED, REPLAY = 20_260_401, SIMULATED_REPLAY
SHIPPED: dict[Task, str] = {"diagnosis": "clip-dsa-compact", "segmentation": "causal-clipseg-compact"}


@dataclass(frozen=True)
class Learning:
    """What a round taught: comparisons on unseen patients of both hospitals, and its duration."""

    task: Task
    base: str
    strategy: str
    draw: str
    corrected: int
    seconds: float
    config: dict[str, Any]
    outcome: dict[str, Any]
    shifted: dict[str, Any]
    original: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure_learning(
    task: Task,
    folder: Path,
    config: FinetuneConfig,
    progress: Progress,
    corrected: int = 40,
    unseen: int = 80,
    draw: Draw = "test",
    device: str = "cpu",
) -> Learning:
    """Teach the shipped model of a task and judge both on unseen patients.

    Parameters
    ----------
    folder : Path
        For the simulated studies and the workspace; studies that are there already are used again.
    config : FinetuneConfig
        Of the round.
    corrected, unseen : int
        Corrected studies, and unseen ones of each hospital.
    """
    base = default_registry().get(SHIPPED[task])
    sets = {
        name: _simulate(task, folder, seed, corrected if name == "corrected" else unseen, name, progress)
        for name, seed in SEEDS[draw].items()
    }
    replay = Replay()
    if task == "diagnosis":
        replay = load_replay(_simulate(task, folder, REPLAY_SEED, REPLAY, "replay", progress), task)
    place = folder / f"workspace-{task}-{draw}-{config.strategy}-{config.seed}-{time.time_ns()}"
    with Store.open(place) as store:
        _correct(store, task, load_cases(sets["corrected"], task))
        what = plan(store, task, base)
        began = time.perf_counter()
        tuned = finetune(store, base, what, progress=progress, config=config, device=device, replay=replay)
        seconds = time.perf_counter() - began
    compute = choose_compute(device)
    figures = {
        name: compare(*_judge_both(task, base, tuned, load_cases(sets[name], task), compute, progress))
        for name in ("shifted", "original")
    }
    outcome = tuned.card.metrics["finetune"]
    return Learning(
        task, base.id, config.strategy, draw, corrected, seconds, asdict(config), outcome, **figures
    )


def _simulate(task: Task, folder: Path, seed: int, n: int, name: str, progress: Progress) -> Path:
    """A folder of simulated studies of either hospital; an existing whole one is used again."""
    shift = OTHER_HOSPITAL[task] if name in ("corrected", "shifted") else ""
    out = folder / f"{task}-{name}{f'-{shift}' if shift else ''}-{seed}-{n}"
    rows = out / "studies.jsonl"
    if rows.is_file() and len(rows.read_text(encoding="utf-8").splitlines()) == n:
        return out
    if task == "diagnosis":
        return write_dsa_phantoms(n, seed, out, "npz", progress, split="test", shift=shift)
    recipe = FilmRecipe(style=load_style_ranges(shift)) if shift else FilmRecipe()
    return write_cxr_phantoms(n, seed, out, "npz", progress, recipe=recipe)


def _correct(store: Store, task: Task, cases: Sequence[ReplayCase]) -> None:
    """What a reader who is always right would leave in the workspace."""
    for case in cases:
        identity = PatientIdentity(patient_id=case.patient)
        with np.load(case.file, allow_pickle=False) as arrays:
            if task == "diagnosis":
                views = tuple(
                    make_view(arrays[name], projection, "DX")  # windowed already, vessels dark
                    for name, projection in (("AP", Projection.AP), ("LA", Projection.LA))
                )
                study = Study(views=views, kind=Kind.ANGIOGRAM, identity=identity, synthetic=True)
                known = store.case_for(study)
                save_diagnosis_inputs(store, known, study)
                store.add_label(known, case.label, "corrected")
                continue
            view = make_view(arrays["image"][None], Projection.PA, "DX")
            study = Study(views=(view,), kind=Kind.CHEST, identity=identity, synthetic=True)
            known = store.case_for(study)
            save_segmentation_inputs(store, known, view, 0, 0)
            store.add_mask(known, 0, 0, arrays["mask"] > 0, case.label, verdict="corrected")


def _judge_both(
    task: Task,
    base: ModelEntry,
    tuned: ModelEntry,
    cases: Sequence[ReplayCase],
    compute: Compute,
    progress: Progress,
) -> tuple[Judgement, Judgement]:
    """Both models on the same cases; what an unchanged image tower saw is computed once."""
    networks = [load_network(entry) for entry in (base, tuned)]
    same = _same_tower(*networks)
    items = _read(task, base, cases, compute, progress)
    found = [_judge(task, base, networks[0], items, cases, progress)]
    if not same:
        items = _read(task, tuned, cases, compute, progress)
    found.append(_judge(task, tuned, networks[1], items, cases, progress))
    return found[0], found[1]


def _same_tower(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    new = b.state_dict()
    learnt = ("attnpool", "connect")
    return all(
        torch.equal(value, new[key])
        for key, value in a.state_dict().items()
        if key.startswith(("visual.", "backbone.visual.", "connect."))
        and not (key.startswith("visual.") and any(word in key for word in learnt))
    )


def _read(
    task: Task, entry: ModelEntry, cases: Sequence[ReplayCase], compute: Compute, progress: Progress
) -> list[Any]:
    preprocessing = Preprocessing.from_card(entry.card.preprocessing)
    reader = compute.freeze(load_network(entry))
    items: list[Any] = []
    for n, case in enumerate(cases):
        progress.step("Reading unseen cases", n, len(cases))
        if task == "diagnosis":
            study = read_replay_study(case, _keys(entry), preprocessing)
            items.append(study_features(cast("ClipDSA", reader), study, compute, progress, maps=True))
        else:
            network = cast("CausalCLIPSeg", reader)
            mask = read_replay_mask(case, network, preprocessing)
            items.append(mask_features(network, mask, compute, stages=True))
    return items


def _judge(
    task: Task,
    entry: ModelEntry,
    network: torch.nn.Module,
    items: Sequence[StudyItem | MaskItem],
    cases: Sequence[ReplayCase],
    progress: Progress,
) -> Judgement:
    config = FinetuneConfig(strategy="adapter")  # reads maps and stages
    who = [(case.file.stem, case.patient) for case in cases]
    if task == "diagnosis":
        tuner = DiagnosisTuner(cast("ClipDSA", network), config)
        return judge_diagnoses(tuner, items, _keys(entry), who, progress)
    masks = SegmentationTuner(cast("CausalCLIPSeg", network), config)
    return judge_masks(masks, items, [case.label for case in cases], who, progress)


def _keys(entry: ModelEntry) -> list[str]:
    return [str(row["key"]) for row in (entry.card.label_set or {}).get("labels", [])]


def learning_section(results: Sequence[Learning], machine: str, commands: Sequence[str]) -> str:
    """What the rounds taught, as Markdown."""
    lines = [
        f"Made by {', '.join(f'`{command}`' for command in commands)}; {machine}. Draws: seeds {SEEDS}.",
        INTERVALS,
        "",
        "| task, strategy, draw | corrected | patients | before | after | difference | round |",
        "|---|--:|---|--:|--:|--:|--:|",
    ]
    for found in results:
        name = "macro_f1" if found.task == "diagnosis" else "dice_mean"
        for where in ("shifted", "original"):
            comparison = getattr(found, where)
            row = comparison["figures"][name]
            cells = [
                f"{found.task}, {found.strategy}, {found.draw}",
                str(found.corrected),
                f"{comparison['patients']} {where}",
                *(_cell(row[key], key == "difference") for key in ("before", "after", "difference")),
                f"{found.seconds:.0f} s",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any], sign: bool) -> str:
    low, high = row["ci95"]
    form = "+.3f" if sign else ".3f"
    return f"{row['value']:{form}} ({low:{form}} to {high:{form}})"
