"""A sentence becomes a mask on the frame's own pixels; the image is read once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_studies import bolus, make_view

from napari_clipmed.errors import Cancelled, ClipmedError, ModelError
from napari_clipmed.inference.engine import Engine
from napari_clipmed.inference.segment import label_values
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.progress import Progress
from napari_clipmed.study import Projection, View


@pytest.fixture
def engine(segmentation_model: ModelEntry) -> Engine:
    return Engine(None, segmentation_model, device="cpu", precision="fp32")


@pytest.fixture
def film() -> View:
    return make_view(bolus(1, 90, 120), Projection.PA, subtracted=False, modality="DX")


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time an image is read."""
    calls: list[int] = []
    encode = CausalCLIPSeg.encode_image

    def counting(self: CausalCLIPSeg, x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return encode(self, x)

    monkeypatch.setattr(CausalCLIPSeg, "encode_image", counting)
    return calls


def test_the_mask_has_the_size_of_the_frame(engine: Engine, film: View) -> None:
    proposal = engine.segment(film, 0, "lower left lung")
    assert proposal.probability.shape == (90, 120)
    assert proposal.probability.dtype == np.float32
    assert 0 <= proposal.probability.min() <= proposal.probability.max() <= 1
    assert proposal.threshold == 0.4
    assert proposal.mask().sum() >= proposal.mask(0.9).sum()
    assert proposal.model_id == "tiny-seg"
    assert proposal.image_hash == film.pixel_hash


def test_the_image_is_read_once_for_many_sentences(engine: Engine, film: View, readings: list[int]) -> None:
    first = engine.segment(film, 0, "lower left lung")
    second = engine.segment(film, 0, "upper right lung")
    assert len(readings) == 1
    assert not np.array_equal(first.probability, second.probability)
    run = make_view(bolus(3, 90, 120))
    engine.segment(run, 0, "left lung")
    engine.segment(run, 2, "left lung")
    assert len(readings) == 3


def test_the_answer_is_that_of_the_whole_network(
    engine: Engine, film: View, segmentation_model: ModelEntry
) -> None:
    from napari_clipmed.inference.preprocess import Preprocessing, normalise, prepare_film, unfit_map
    from napari_clipmed.models.loading import load_network

    network = load_network(segmentation_model)
    prep = Preprocessing.from_card(segmentation_model.card.preprocessing)
    proposal = engine.segment(film, 0, "lower left lung")
    with torch.no_grad():
        image = normalise(prepare_film(film.pixels[0], prep), prep)[None]
        logits, _ = network(image, network.tokenize([proposal.normalised_prompt]))
    expected = unfit_map(logits[0, 0].sigmoid(), 90, 120, prep.size, prep.fit)
    assert np.abs(proposal.probability - expected.numpy()).max() < 1e-5


def test_many_sentences_at_once_are_those_one_by_one(
    engine: Engine, film: View, readings: list[int], segmentation_model: ModelEntry
) -> None:
    sentences = ["lower left lung", "upper right lung", "both lungs", "lower left lung"]
    together = engine.segment_many(film, 0, sentences)
    assert len(readings) == 1
    alone = Engine(None, segmentation_model, device="cpu", precision="fp32")
    for sentence, proposal in zip(sentences, together, strict=True):
        assert proposal.prompt == sentence
        expected = alone.segment(film, 0, sentence)
        assert proposal.normalised_prompt == expected.normalised_prompt
        assert np.abs(proposal.probability - expected.probability).max() < 1e-5
    assert not np.array_equal(together[0].probability, together[1].probability)
    assert engine.segment_many(film, 0, []) == []
    with pytest.raises(ClipmedError, match="empty"):
        engine.segment_many(film, 0, ["left lung", " "])


@pytest.mark.parametrize("prompt", ["lower left lung", "infection", "bilateral infection, three areas"])
def test_the_spread_over_wordings_is_that_of_the_single_answers(
    engine: Engine, film: View, prompt: str
) -> None:
    ensemble = engine.segment_ensemble(film, 0, prompt)
    assert len(set(ensemble.wordings)) == len(ensemble.wordings) >= 2
    assert ensemble.wordings[0] == engine.segment(film, 0, prompt).normalised_prompt
    assert ensemble.proposal.probability.shape == ensemble.spread.shape == (90, 120)
    assert 0 < ensemble.spread.max() <= 0.5
    logits = engine._decode(
        engine._model(engine.segmentation, "segmentation", Progress()), film, 0, ensemble.wordings, Progress()
    )
    low, high = float(logits.sigmoid().amin()), float(logits.sigmoid().amax())
    assert low - 1e-6 <= ensemble.proposal.probability.min()
    assert ensemble.proposal.probability.max() <= high + 1e-6
    assert ensemble.spread.max() <= (high - low) / 2 + 1e-6


def test_the_surer_sentence_has_the_pixel(engine: Engine, film: View) -> None:
    first, second = engine.segment_many(film, 0, ["lower left lung", "upper right lung"])
    low = min(float(first.probability.min()), float(second.probability.min()))
    values = label_values([first, second], low)
    assert values.dtype == np.uint8
    assert np.array_equal(values, np.where(second.probability > first.probability, 2, 1))
    assert label_values([first, second], 1.1).max() == 0
    assert np.array_equal(label_values([first]) == 1, first.mask())


def test_the_patients_left_is_the_right_of_the_picture(engine: Engine, film: View) -> None:
    patient = engine.segment(film, 0, "lower left lung", "patient")
    picture = engine.segment(film, 0, "lower right lung", "picture")
    assert patient.normalised_prompt == picture.normalised_prompt
    assert np.array_equal(patient.probability, picture.probability)
    assert any("patient" in note for note in patient.notes)


def test_an_empty_mask_and_an_angiogram_are_told(engine: Engine, segmentation_model: ModelEntry) -> None:
    card = segmentation_model.card.model_copy(update={"calibration": {"threshold": 1.1}})
    strict = Engine(None, ModelEntry(card, segmentation_model.folder), device="cpu", precision="fp32")
    proposal = strict.segment(make_view(bolus(2)), 1, "left lung")
    assert proposal.score == 0
    assert any("marks nothing" in note for note in proposal.notes)
    assert any("angiogram" in note for note in proposal.notes)


@pytest.mark.parametrize("prompt", ["", "   ", "...", "\n\n"])
def test_an_empty_prompt_is_a_sentence(engine: Engine, film: View, prompt: str) -> None:
    with pytest.raises(ClipmedError, match="empty"):
        engine.segment(film, 0, prompt)


def test_a_prompt_of_five_hundred_words_is_answered(engine: Engine, film: View) -> None:
    assert engine.segment(film, 0, "infection in the lower left lung " * 83).probability.shape == (90, 120)


def test_frames_conventions_and_models_that_do_not_exist(engine: Engine, film: View) -> None:
    with pytest.raises(ClipmedError, match="no frame 8; this view has 1"):
        engine.segment(film, 7, "left lung")
    with pytest.raises(ClipmedError, match="side convention"):
        engine.segment(film, 0, "left lung", "mirror")
    with pytest.raises(ModelError, match="No segmentation model"):
        Engine(None).segment(film, 0, "left lung")


def test_a_cancelled_job_stops_between_its_steps(engine: Engine, film: View, readings: list[int]) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        engine.segment(film, 0, "left lung", progress=progress)
    assert readings == []
