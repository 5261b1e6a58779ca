"""One case of a batch, as a function of plain values: files and a question in, a record and pictures out.

The same three steps (read, answer, dress) run as the stages of the local pipeline and, one after the other,
on the workers of a cluster. A case that fails gives a record too, so that one bad file never stops a batch.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from napari_clipmed.batch.sources import source_hash
from napari_clipmed.errors import Cancelled, ClipmedError, ModelError
from napari_clipmed.io import open_study
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.inference.results import Diagnosis, Saliency
    from napari_clipmed.models.card import ModelEntry
    from napari_clipmed.study import Study

Task = Literal["diagnosis", "segmentation"]
Record = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """What is asked about every case of a batch.

    Parameters
    ----------
    task : str
        "diagnosis" or "segmentation".
    model_id, model_hash : str
        The model; a worker with other weights under that id refuses.
    workspace : str
        Folder with fine-tuned models; empty for none.
    device, precision : str
        See `inference.device.choose_compute`.
    method : str
        CAM method of a diagnosis; empty for no pictures.
    prompt, convention, frame_number, threshold
        Of a segmentation; the frame counts from 1, the threshold is the model's where None. Of a diagnosis
        the threshold cuts the heat map of each view's decisive frame into a mask; None for no such masks.
    """

    task: Task
    model_id: str
    model_hash: str
    workspace: str = ""
    device: str = "auto"
    precision: str = "auto"
    method: str = ""
    prompt: str = ""
    convention: str = "picture"
    frame_number: int = 1
    threshold: float | None = None

    def key(self, source: str) -> str:
        """Name of the answer about these file bytes; where and how fast it is computed does not count."""
        asked = asdict(self)
        for place in ("workspace", "device", "model_id"):
            del asked[place]
        return sha256(json.dumps([source, asked], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class CaseJob:
    """A case and the question: all that a worker needs, as plain values.

    Parameters
    ----------
    number : int
        Place in the batch, from 1; begins the names of its pictures.
    paths : tuple of str
        The files of the study.
    problem, hint : str
        Why there is no study, where the search for it failed already.
    """

    number: int
    paths: tuple[str, ...]
    question: Question
    problem: str = ""
    hint: str = ""


@dataclass(frozen=True, eq=False)
class ReadCase:
    """A case after reading: its study, or a record that says why there is none."""

    job: CaseJob
    source: str = ""
    study: Study | None = None
    failed: Record | None = None


@dataclass(frozen=True, eq=False)
class AnsweredCase:
    """A case after inference; `finish` makes the record and the pictures, which needs no model."""

    read: ReadCase
    finish: Callable[[], CaseResult]


@dataclass(frozen=True)
class CaseResult:
    """Record and files of a case.

    Parameters
    ----------
    record : dict
        Plain values; `status` is "ok" or "failed".
    files : dict of str to bytes
        Pictures and side files by name, to be written by whoever collects the results.
    skipped : bool
        True for a case that an earlier run answered; it has no record.
    """

    record: Record
    files: dict[str, bytes] = field(default_factory=dict)
    skipped: bool = False


SKIPPED = CaseResult({}, skipped=True)


def run_case(job: CaseJob) -> CaseResult:
    """Read, answer and dress one case in this process; its model stays loaded for the next one.

    Never raises for a bad case. The same job gives the same result, wherever and however often it runs.
    """
    read = read_case(job)
    assert read is not None  # nothing is known already here
    if read.failed is not None:
        return CaseResult(read.failed)
    try:
        engine = engine_for(job.question)
    except ClipmedError as problem:
        return CaseResult(failed_record(job, read.source, problem))
    return dress_case(answer_case(read, engine))


def read_case(job: CaseJob, done: Callable[[str], bool] = lambda key: False) -> ReadCase | None:
    """Hash and decode the files of a case; None where `done` says that its answer is known already."""
    source = ""
    try:
        if job.problem:
            raise ClipmedError(job.problem, job.hint)
        paths = [Path(path) for path in job.paths]
        source = source_hash(paths)
        if done(job.question.key(source)):
            return None
        return ReadCase(job, source, open_study(paths if len(paths) > 1 else paths[0]))
    except Cancelled:
        raise
    except Exception as defect:  # noqa: BLE001 - boundary: one bad file, or a defect of ours, must not cost the others
        return ReadCase(job, source, failed=failed_record(job, source, defect))


def answer_case(read: ReadCase, engine: Engine, progress: Progress | None = None) -> AnsweredCase:
    """Ask the model about a case that was read."""
    job = read.job
    try:
        assert read.study is not None
        ask = _diagnose if job.question.task == "diagnosis" else _segment
        return AnsweredCase(read, ask(read, read.study, engine, progress or Progress()))
    except Cancelled:
        raise
    except Exception as defect:  # noqa: BLE001 - boundary: as above
        failed = CaseResult(failed_record(job, read.source, defect))
        return AnsweredCase(read, lambda: failed)


def dress_case(answered: AnsweredCase) -> CaseResult:
    """Make the record and draw the pictures."""
    try:
        return answered.finish()
    except Exception as defect:  # noqa: BLE001 - boundary: as above
        return CaseResult(failed_record(answered.read.job, answered.read.source, defect))


def engine_for(question: Question) -> Engine:
    """The engine of this process for a question, loaded once.

    Raises
    ------
    ModelError
        When the model is not here, or has other weights than where the batch was started.
    """
    from napari_clipmed.models.registry import default_registry

    entry = default_registry(Path(question.workspace) if question.workspace else None).get(question.model_id)
    if entry.card.sha256 != question.model_hash:
        raise ModelError(
            f"The model {entry.id!r} of this worker is not the one that the batch was started with.",
            "Install the same models on all workers.",
        )
    return _engine(entry, question.device, question.precision)


def _engine(entry: ModelEntry, device: str, precision: str) -> Engine:
    return _kept_engine(entry.card.sha256, str(entry.folder), device, precision)


@lru_cache(maxsize=2)
def _kept_engine(sha256_of_weights: str, folder: str, device: str, precision: str) -> Engine:
    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.models.card import read_entry

    entry = read_entry(Path(folder))
    diagnosis = entry if entry.card.task == "diagnosis" else None
    segmentation = entry if entry.card.task == "segmentation" else None
    return Engine(diagnosis, segmentation, device=device, precision=precision)


def _diagnose(read: ReadCase, study: Study, engine: Engine, progress: Progress) -> Callable[[], CaseResult]:
    from napari_clipmed.batch.words import describe_diagnosis
    from napari_clipmed.export.overlay import montage

    diagnosis = engine.classify(study, progress)
    method = read.job.question.method
    saliency = engine.explain(diagnosis, diagnosis.predicted, method, progress) if method else None

    def finish() -> CaseResult:
        name = _name(read.job, study.image_hash)
        answer = describe_diagnosis(study, diagnosis, saliency)
        files = {}
        if saliency is not None:
            answer["overlay"] = f"{name}-{saliency.method}.png"
            files[answer["overlay"]] = _png(montage(study, diagnosis, saliency))
        if saliency is not None and read.job.question.threshold is not None:
            answer["cam_masks"] = masks = _cam_masks(study, diagnosis, saliency, read.job.question.threshold)
            for view, mask in masks.items():
                mask["file"] = f"{name}-{view.replace(' ', '')}-cam-mask.png"
                files[mask["file"]] = _png(Image.fromarray(mask.pop("mask").astype("uint8") * 255))
        files[f"{name}.json"] = _json(answer)
        return CaseResult(_head(read) | answer | {"file": f"{name}.json"}, files)

    return finish


def _cam_masks(
    study: Study, diagnosis: Diagnosis, saliency: Saliency, threshold: float
) -> dict[str, dict[str, Any]]:
    """The hot region of each view's decisive frame, with what a record says about it."""
    from napari_clipmed.inference.hot_region import hot_region

    found = {}
    for view in saliency.maps:
        frame = saliency.decisive_frame(view)
        _, height, width = study.views[diagnosis.view_index[view]].pixels.shape
        mask = hot_region(saliency, view, frame, (height, width), threshold)
        found[view] = {
            "mask": mask,
            "frame_number": frame + 1,
            "threshold": threshold,
            "pixels": int(mask.sum()),
        }
    return found


def _segment(read: ReadCase, study: Study, engine: Engine, progress: Progress) -> Callable[[], CaseResult]:
    from napari_clipmed.batch.words import describe_mask
    from napari_clipmed.export.overlay import grey_frame, mask_on
    from napari_clipmed.export.stamp import stamped

    asked, view = read.job.question, study.views[0]
    index = asked.frame_number - 1
    if index >= view.n_frames:
        name = Path(read.job.paths[0]).name
        raise ClipmedError(f"There is no frame {asked.frame_number} in {name}; it has {view.n_frames}.")
    proposal = engine.segment(view, index, asked.prompt, asked.convention, progress)

    def finish() -> CaseResult:
        name = _name(read.job, study.image_hash)
        mask = proposal.mask(asked.threshold)
        threshold = proposal.threshold if asked.threshold is None else asked.threshold
        answer = describe_mask(study, proposal, mask, asked.frame_number, threshold)
        answer |= {"mask": f"{name}-mask.png", "overlay": f"{name}-overlay.png"}
        picture = stamped(mask_on(grey_frame(view, index), mask), study.synthetic)
        files = {
            answer["mask"]: _png(Image.fromarray(mask.astype("uint8") * 255)),
            answer["overlay"]: _png(picture),
            f"{name}.json": _json(answer),
        }
        return CaseResult(_head(read) | answer | {"file": f"{name}.json"}, files)

    return finish


def _head(read: ReadCase) -> Record:
    """What every record begins with."""
    question = read.job.question
    return {
        "number": read.job.number,
        "status": "ok",
        "input": list(read.job.paths),
        "key": question.key(read.source) if read.source else "",
        "source_hash": read.source,
        "model_hash": question.model_hash,
    }


def failed_record(job: CaseJob, source: str, defect: Exception) -> Record:
    """The record of a case that could not be answered."""
    if isinstance(defect, ClipmedError):
        sentence, hint = defect.message, defect.hint
    else:
        sentence, hint = f"Unexpected {type(defect).__name__}: {defect}", ""
    return _head(ReadCase(job, source)) | {
        "status": "failed",
        "model": job.question.model_id,
        "error": sentence,
        "hint": hint,
    }


def _name(job: CaseJob, image_hash: str) -> str:
    """File names carry a number and a hash, no identity."""
    return f"{job.number:03d}-{image_hash[:8]}"


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def _json(answer: Record) -> bytes:
    return (json.dumps(answer, indent=2) + "\n").encode()
