"""How the time of each job grows with frames, pixels, classes, sentences and cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from napari_clipmed.benchmark.latency import sentence
from napari_clipmed.benchmark.measure import time_job
from napari_clipmed.benchmark.rows import Growth, Timing
from napari_clipmed.benchmark.store_filling import fill_store
from napari_clipmed.benchmark.subjects import (
    FRAMES,
    Models,
    make_view,
    noise_run,
    noise_study,
    subject_models,
)
from napari_clipmed.inference.engine import Engine
from napari_clipmed.inference.explain import raw_cams
from napari_clipmed.progress import Progress
from napari_clipmed.records import Store
from napari_clipmed.study import Projection

REPEATS = 3

SIZES: dict[str, tuple[int, ...]] = {
    "frames": (16, 32, 64, 128, 256),
    "matrix": (128, 256, 512, 1024, 2048),
    "classes": (2, 5, 10, 20, 50, 100),
    "prompts": (1, 2, 5, 10, 20, 50, 100),
    "cases": (10, 100, 1_000, 10_000, 100_000),
}
"""What is varied, and its sizes."""


def measure_scaling(
    device: str = "auto",
    precision: str = "auto",
    choice: str = "shipped",
    only: Sequence[str] = tuple(SIZES),
    progress: Progress | None = None,
    sizes: dict[str, tuple[int, ...]] | None = None,
) -> tuple[str, list[Growth]]:
    """Measure all tables, or some.

    Parameters
    ----------
    device, precision, choice
        As in `latency.measure_latency`.
    only : sequence of str
        Keys of `SIZES`.
    progress : Progress, optional
        Told of each size.
    sizes : dict, optional
        In place of `SIZES`.

    Returns
    -------
    where : str
        Device and models, in words.
    tables : list of Growth
    """
    progress, sizes = progress or Progress(), sizes or SIZES
    tables: list[Growth] = []
    with subject_models(choice) as models:
        engine = Engine(models.diagnosis, models.segmentation, device=device, precision=precision)
        compute = engine.compute
        where = f"{compute.device}, {compute.precision}, {compute.threads} threads; {models.title}"
        for name in only:
            tables += _MEASURES[name](models, engine, sizes[name], progress)
    return where, tables


def _grow(
    name: str,
    what: str,
    unit: str,
    sizes: Sequence[int],
    progress: Progress,
    measure: Callable[[int], Timing],
) -> Growth:
    timings = []
    for done, size in enumerate(sizes):
        progress.step(f"{name}: {size}", done, len(sizes))
        timings.append(measure(size))
    return Growth(name, what, unit, tuple(sizes), tuple(timings))


def _frames(models: Models, engine: Engine, sizes: Sequence[int], progress: Progress) -> Iterator[Growth]:
    def measure(frames: int) -> Timing:
        study = noise_study(1, frames, 256)
        return time_job(lambda: engine.classify(study), REPEATS, before=engine.cache.clear)

    what = "classify a biplane study of 256² pixels, nothing cached; the network reads 16 frames of each view"
    yield _grow("Frames", what, "frames a view", sizes, progress, measure)


def _matrix(models: Models, engine: Engine, sizes: Sequence[int], progress: Progress) -> Iterator[Growth]:
    def measure(side: int) -> Timing:
        study = noise_study(1, FRAMES, side)
        return time_job(lambda: engine.classify(study), REPEATS, before=engine.cache.clear)

    what = f"classify a biplane study of {FRAMES} frames, nothing cached"
    yield _grow("Matrix size", what, "pixels a side", sizes, progress, measure)


def _classes(models: Models, engine: Engine, sizes: Sequence[int], progress: Progress) -> Iterator[Growth]:
    network = models.plain_diagnosis(engine.compute.device)
    with torch.inference_mode():
        side = network.image_size
        maps = network.trunk(torch.rand(2, 3, side, side, device=engine.compute.device))
    views = {name: maps[:1].expand(FRAMES, -1, -1, -1).clone() for name in ("AP", "LA")}

    def measure(classes: int) -> Timing:
        width = network.text_features.shape[1]
        network.text_features = torch.randn(classes, width, device=maps.device)
        return time_job(lambda: raw_cams(network, views, range(classes), "gradcam"), REPEATS)

    what = "Grad-CAM of every class on 16 + 16 frames, from the cached last activation"
    yield _grow("Classes", what, "classes", sizes, progress, measure)


def _prompts(models: Models, engine: Engine, sizes: Sequence[int], progress: Progress) -> Iterator[Growth]:
    film = make_view(noise_run(5, 1), Projection.PA, "DX")
    number = count()
    engine.segment(film, 0, sentence(next(number)))

    def measure(prompts: int) -> Timing:
        return time_job(
            lambda: engine.segment_many(film, 0, [sentence(next(number)) for _ in range(prompts)]), REPEATS
        )

    what = "masks of sentences not seen before on a film of 224² that was read before, as one batch"
    yield _grow("Prompts", what, "sentences", sizes, progress, measure)


def _cases(models: Models, engine: Engine, sizes: Sequence[int], progress: Progress) -> Iterator[Growth]:
    study = noise_study(1)
    jobs: dict[str, tuple[str, Callable[[Store, str], Any]]] = {
        "Cases: open one": (
            "find the case of a study and its current label",
            lambda store, case: (store.find_case(study), store.current_label(case)),
        ),
        "Cases: record": (
            "record a verdict on a case",
            lambda store, case: store.add_label(case, "MMD", "accepted", author="benchmark"),
        ),
        "Cases: list": (
            "read all cases with their current labels",
            lambda store, case: (store.cases(), store.current_labels()),
        ),
    }
    timings: dict[str, list[Timing]] = {name: [] for name in jobs}
    with (
        TemporaryDirectory(prefix="clipmed-benchmark-") as folder,
        Store.open(Path(folder) / "workspace") as store,
    ):
        case = store.case_for(study)
        store.add_label(case, "IA", "accepted")
        there = 1
        for done, size in enumerate(sizes):
            progress.step(f"Cases: {size}", done, len(sizes))
            fill_store(store, size - there)
            there = size
            for name, (_, job) in jobs.items():
                timings[name].append(time_job(lambda job=job: job(store, case), REPEATS))  # type: ignore[misc]
    for name, (what, _) in jobs.items():
        yield Growth(name, what, "cases in the store", tuple(sizes), tuple(timings[name]))


_MEASURES: dict[str, Callable[[Models, Engine, Sequence[int], Progress], Iterator[Growth]]] = {
    "frames": _frames,
    "matrix": _matrix,
    "classes": _classes,
    "prompts": _prompts,
    "cases": _cases,
}
