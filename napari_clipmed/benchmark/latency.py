"""The jobs that a person waits for, each against a baseline in the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_clipmed.benchmark.head_round import head_round
from napari_clipmed.benchmark.measure import count_work, find_ceilings, time_job
from napari_clipmed.benchmark.rows import Ceilings, Row, Timing
from napari_clipmed.benchmark.subjects import Models, make_view, noise_run, noise_study, subject_models
from napari_clipmed.inference.engine import Engine
from napari_clipmed.inference.preprocess import Preprocessing, normalise, prepare_film, prepare_run
from napari_clipmed.inference.results import Diagnosis
from napari_clipmed.progress import Progress
from napari_clipmed.study import Projection, Study

NAMES = (
    "study",
    "cam_one",
    "cam_five",
    "class_switch",
    "new_prompt",
    "twenty_prompts",
    "first_frame",
    "full_decode",
    "head_finetune",
)
"""The rows, in order."""

REPEATS, BASELINE_REPEATS = 7, 3


@dataclass
class Latency:
    """The finished table.

    Parameters
    ----------
    device : str
        Device, number format and threads, in words.
    models : str
        What was measured.
    ceilings : Ceilings
    rows : list of Row
    """

    device: str
    models: str
    ceilings: Ceilings
    rows: list[Row] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON document."""
        return {
            "device": self.device,
            "models": self.models,
            "matrix_ceiling_gflops": self.ceilings.flops / 1e9,
            "memory_ceiling_gbs": self.ceilings.bandwidth / 1e9,
            "rows": [row.to_json(self.ceilings) for row in self.rows],
        }


def measure_latency(
    device: str = "auto",
    precision: str = "auto",
    choice: str = "paper",
    only: tuple[str, ...] = NAMES,
    progress: Progress | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> Latency:
    """Measure all rows, or some.

    Parameters
    ----------
    device, precision : str
        As `inference.Engine` takes them.
    choice : str
        One of `subjects.CHOICES`.
    only : tuple of str
        Of `NAMES`.
    progress : Progress, optional
        Told of each step.
    on_row : callable
        Told of each row as soon as it is measured.
    """
    progress = progress or Progress()
    progress.step("Making the models")
    with subject_models(choice) as models:
        engine = Engine(models.diagnosis, models.segmentation, device=device, precision=precision)
        compute = engine.compute
        progress.step("Finding the ceilings of this machine")
        runs_in = engine.precision("diagnosis")
        ceilings = find_ceilings(compute.device, compute.dtype, in_bytes=runs_in == "int8")
        formats = f"runs in {runs_in}, films in {compute.precision}"
        where = f"{compute.device}, {formats}, {compute.threads} threads"
        table = Latency(where, models.title, ceilings)
        parts = (
            (NAMES[:1], _study_row),
            (NAMES[1:4], _map_rows),
            (NAMES[4:6], _prompt_rows),
            (NAMES[6:8], _decoding_rows),
            (NAMES[8:], _finetuning_row),
        )
        for names, rows in parts:
            if set(names) & set(only):
                for row in rows(models, engine, progress):
                    if row.name in only:
                        table.rows.append(row)
                        on_row(row)
    return table


def _study_row(models: Models, engine: Engine, progress: Progress) -> Iterator[Row]:
    device, study = engine.compute.device, noise_study(1)
    plain = models.plain_diagnosis(device)
    images = _plain_images(models, study).to(device)
    prompt = "16 + 16 frames of 224²"
    progress.step("study: the baseline")
    with torch.inference_mode():
        forward = time_job(lambda: plain.visual(images), BASELINE_REPEATS)
    progress.step("study: ours")
    engine.classify(study)
    classify = time_job(lambda: engine.classify(study), REPEATS, before=engine.cache.clear)
    engine.cache.clear()
    yield Row(
        "study",
        f"classify: {prompt} from grey values to calibrated probabilities, nothing cached",
        f"open_clip's image tower alone on the same {prompt}, prepared before; fp32, eager, one batch",
        classify,
        forward,
        *count_work(lambda: plain(*images[None].chunk(2, dim=1))),
        in_bytes=engine.precision("diagnosis") == "int8",
    )


def _map_rows(models: Models, engine: Engine, progress: Progress) -> Iterator[Row]:
    device, study = engine.compute.device, noise_study(1)
    plain = models.plain_diagnosis(device)
    images = _plain_images(models, study).to(device)
    progress.step("cam_one: the baseline")
    package = time_job(lambda: _package_cam(plain, images), 1, warm_up=0)
    progress.step("cam_one, cam_five, class_switch: ours")
    diagnosis = engine.classify(study)
    label = diagnosis.labels[0]

    def forget() -> None:
        """Keep the last activation and the answer; forget the maps."""
        engine.cache.clear()
        engine.classify(study)

    said = "pytorch-grad-cam's GradCAM through the whole network, the 32 frames as one batch, fp32"
    yield Row(
        "cam_one",
        "Grad-CAM of one class on all frames of both views, from the cached last activation",
        said,
        time_job(lambda: engine.explain(diagnosis, label, "gradcam"), REPEATS, before=forget),
        package,
        *_counted(engine, study, lambda: engine.explain(diagnosis, label, "gradcam")),
    )
    every = time_job(lambda: engine.explain_all(diagnosis, "gradcam"), REPEATS, before=forget)
    classes = len(diagnosis.labels)
    yield Row(
        "cam_five",
        f"Grad-CAM of all {classes} classes, one forward pass of the head, from the cached last activation",
        f"{classes} times the measured single pass of {said}",
        every,
        package.times(classes),
        *_counted(engine, study, lambda: engine.explain_all(diagnosis, "gradcam")),
    )
    forget()
    yield Row(
        "class_switch",
        "the default map of a class not asked before, joint normalisation included",
        said,
        _each_class(engine, diagnosis),
        package,
    )


def _counted(engine: Engine, study: Study, job: Any) -> tuple[int, int]:
    engine.cache.clear()
    engine.classify(study)
    return count_work(job)


def _each_class(engine: Engine, diagnosis: Diagnosis) -> Timing:
    engine.explain(diagnosis, diagnosis.labels[0])
    timings = [
        time_job(lambda label=label: engine.explain(diagnosis, label), 1, warm_up=0)  # type: ignore[misc]
        for label in diagnosis.labels[1:]
    ]
    return Timing(tuple(t.median for t in timings), max(t.peak_bytes for t in timings))


def _plain_images(models: Models, study: Study) -> Tensor:
    """Both views as the network reads them, one batch."""
    preprocessing = Preprocessing.from_card(models.diagnosis.card.preprocessing)
    prepared = [prepare_run(view.pixels, preprocessing).frames for view in study.views]
    return normalise(torch.cat(prepared), preprocessing)


class _WholeNetwork(nn.Module):
    """What pytorch-grad-cam wants: all frames in, the logits of the study out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(2 t, 3, S, S) to (1, K)."""
        ap, la = self.network.visual(images).chunk(2)
        return self.network.logits(self.network.forward_features(ap[None], la[None]).v_mv, "mv")


def _package_cam(plain: Any, images: Tensor) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    plain.requires_grad_(True)  # the package fails on frozen parameters
    try:
        with GradCAM(_WholeNetwork(plain), [plain.visual.layer4]) as cam:
            cam(images, [ClassifierOutputTarget(0)])
    finally:
        plain.requires_grad_(False)
        plain.zero_grad(set_to_none=True)


def _prompt_rows(models: Models, engine: Engine, progress: Progress) -> Iterator[Row]:
    device = engine.compute.device
    film = make_view(noise_run(5, 1), Projection.PA, "DX")
    preprocessing = Preprocessing.from_card(models.segmentation.card.preprocessing)
    image = normalise(prepare_film(film.pixels[0], preprocessing), preprocessing)[None].to(device)
    plain = models.plain_segmentation(device)
    tokens = plain.tokenize([sentence(0)]).to(device)
    with torch.inference_mode():
        features = plain.encode_image(image)

    def forward() -> None:
        with torch.inference_mode():
            plain.decode(plain.encode_image(image), plain.encode_text(tokens)).sigmoid().cpu()

    def ask(sentences: int) -> None:
        """The part of the network that a new sentence asks again."""
        with torch.no_grad():  # inference mode hides the operators from the count
            plain.decode(features, plain.encode_text(tokens.expand(sentences, -1)))

    progress.step("new_prompt: the baseline")
    whole = time_job(forward, BASELINE_REPEATS)
    said = "the causal branch of CausalCLIPSeg from image and sentence to mask, fp32, eager"
    progress.step("new_prompt, twenty_prompts: ours")
    engine.segment(film, 0, sentence(1))
    number = count(2)
    one = time_job(lambda: engine.segment(film, 0, sentence(next(number))), REPEATS)
    yield Row(
        "new_prompt",
        "a sentence not seen before on a film that was read before, to a probability for each pixel",
        f"{said}, for each sentence",
        one,
        whole,
        *count_work(lambda: ask(1)),
    )

    def twenty() -> None:
        engine.segment_many(film, 0, [sentence(next(number)) for _ in range(20)])

    yield Row(
        "twenty_prompts",
        "twenty sentences not seen before on a film that was read before, as one batch",
        f"20 times the measured pass of {said}",
        time_job(twenty, REPEATS),
        whole.times(20),
        *count_work(lambda: ask(20)),
    )


def sentence(number: int) -> str:
    """A sentence that reads like no earlier one."""
    zones = ("upper", "middle", "lower", "upper middle", "middle lower", "upper middle lower", "all")
    areas, rest = divmod(number, 2 * len(zones))
    side, zone = divmod(rest, len(zones))
    place = f"{zones[zone]} {('right', 'left')[side]} lung"
    return f"unilateral pulmonary infection, {areas} infected areas, {place}"


def _decoding_rows(models: Models, engine: Engine, progress: Progress) -> Iterator[Row]:
    import pydicom

    from napari_clipmed.io import first_picture, open_study
    from napari_clipmed.io.dicom_write import write_xa

    progress.step("first_frame, full_decode")
    frames = noise_run(9, 30, 1024).astype(np.uint16) * 16
    with TemporaryDirectory(prefix="clipmed-benchmark-") as folder:
        path = Path(folder) / "run.dcm"
        write_xa(path, frames, timing_ms=66.7, bits_stored=12, compress="jpeglossless", synthetic=True)

        def decode() -> None:
            _ = pydicom.dcmread(path).pixel_array

        plain = time_job(decode, BASELINE_REPEATS)
        said = "pydicom.dcmread(path).pixel_array of the whole file, its default decoder"
        what = "a 12-bit run of 30 frames of 1024², JPEG Lossless"
        first = time_job(lambda: first_picture(path), REPEATS)
        yield Row("first_frame", f"{what}: open the study and have its first frame", said, first, plain)
        whole = time_job(lambda: np.asarray(open_study(path).views[0].pixels), BASELINE_REPEATS)
        yield Row("full_decode", f"{what}: open the study and have all frames", said, whole, plain)


def _finetuning_row(models: Models, engine: Engine, progress: Progress) -> Iterator[Row]:
    progress.step("head_finetune")
    yield head_round(models, engine.compute.device, progress)
