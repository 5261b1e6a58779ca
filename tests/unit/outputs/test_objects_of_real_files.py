"""Objects about real files: their headers are the ones that scanners write."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from reviewed_studies import Reviewed, complaints, draw

from napari_clipmed.io import open_study
from napari_clipmed.outputs.products import Result, objects_of, write_objects
from napari_clipmed.records import Store

FILES = (
    "xa/rubo_0002_*.dcm",
    "xa/*RF*.dcm",
    "dsa/sequences/**/MMD-AP.dcm",
    "cxr/dicom/highdicom_dx_image_small.dcm",
)


@pytest.mark.shared_data
@pytest.mark.parametrize("pattern", FILES)
def test_real_headers_make_legal_objects(shared_data: Path, tmp_path: Path, pattern: str) -> None:
    path = next(iter(sorted(shared_data.glob(pattern))), None)
    if path is None:
        pytest.skip(f"{pattern} is not among the real data on this machine")
    study = open_study(path)
    with Store.open(tmp_path / "workspace") as store:
        found = Reviewed(store, store.case_for(study), study, path, {})
        draw(found, 0, study.views[0].n_frames - 1, "finding", 1)
        draw(found, 0, 0, "left lung", 2, prompt="left lung")
        judged = {"model_version": "ab" * 32, "model_label": "MMD", "model_score": 0.9}
        store.add_label(found.case, "MMD", "accepted", "model", "KL", **judged)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a remark about a header may quote a patient
            for with_identity in (False, True):
                for result in (Result.SEG, Result.SR, Result.CAPTURE):
                    objects = objects_of(result, store, found.case, study, with_identity=with_identity)
                    for written in write_objects(objects, tmp_path / f"{result}-{with_identity}"):
                        assert complaints(written) == []
