"""A pair of runs takes no more than twice its raw size, and nothing once it is closed."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

from napari_clipmed.io import grey, open_study, subtracted_frames, subtraction
from napari_clipmed.io.dicom_write import Uids
from napari_clipmed.progress import Progress
from napari_clipmed.study import Intensity, MaskItem


@pytest.fixture
def pair(make_run, monkeypatch):
    """Two runs of 30 frames of 256², a sixteenth of 1024²; caches and samples are a sixteenth too."""
    monkeypatch.setattr(subtraction, "SAMPLED_SIDE", subtraction.SAMPLED_SIDE // 4)
    monkeypatch.setattr(grey, "SAMPLE", grey.SAMPLE // 16)
    monkeypatch.setattr(subtracted_frames, "FRAME_BUDGET", subtracted_frames.FRAME_BUDGET // 16)
    monkeypatch.setattr(subtracted_frames, "MASK_BUDGET", subtracted_frames.MASK_BUDGET // 16)
    rng = np.random.default_rng(0)
    frames = (rng.normal(2000, 8, (30, 256, 256)) + np.arange(256) * 4).astype(np.uint16)

    def write(compress):
        return [
            make_run(
                name=f"{name}.dcm",
                pixels=frames,
                angles=(angle, 0),
                uids=Uids.seeded(0, "pair", name),
                mask=MaskItem(mask_frames=(1, 2), shift=(0.5, -0.5)),
                intensity=Intensity.LINEAR,
                compress=compress,
            )
            for name, angle in (("AP", 0), ("LA", 90))
        ]

    return write


@pytest.mark.parametrize("compress", ["jpeglossless", None])
@pytest.mark.parametrize("early", [False, True], ids=["at once", "shown early"])
def test_a_subtracted_pair_takes_less_than_twice_its_raw_size(pair, compress, early) -> None:
    paths = pair(compress)
    open_study(paths)  # everything that is made once in a process
    gc.collect()
    tracemalloc.start()
    try:
        study = open_study(paths, Progress(), (lambda arriving: None) if early else None)
        for view in study.views:
            for frame in view.pixels:  # what a cine does
                assert frame.dtype == np.float32
        raw = sum(view.stored.nbytes for view in study.views)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * raw


def test_a_closed_study_leaves_no_frames_behind(pair) -> None:
    kept = []
    study = open_study(
        pair("jpeglossless"), Progress(), lambda arriving: kept.append(weakref.ref(arriving.runs[0].frames))
    )
    kept += [weakref.ref(view.stored) for view in study.views]
    kept += [weakref.ref(view.pixels[3]) for view in study.views]
    del study
    gc.collect()
    assert [ref() for ref in kept] == [None] * 5
