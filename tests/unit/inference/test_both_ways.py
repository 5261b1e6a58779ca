"""A film and its mirror image give one answer, in the window's engine and where models are measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import add_segmentation_model
from small_studies import bolus, make_view

from napari_clipmed.inference.both_ways import asked, decode_films, encode_films
from napari_clipmed.inference.engine import Engine
from napari_clipmed.inference.features import EncodedFilm
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.loading import load_network
from napari_clipmed.models.registry import Registry
from napari_clipmed.study import Projection, View

SENTENCE = "unilateral pulmonary infection, one infected area, lower left lung."
TURNED = "unilateral pulmonary infection, one infected area, lower right lung."


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    registry = Registry([tmp_path_factory.mktemp("models")])
    plain = add_segmentation_model(registry)
    card = plain.card
    preprocessing = Preprocessing.from_card(card.preprocessing)
    turned = replace(preprocessing, both_ways=True).to_card()
    state = load_network(plain).state_dict()
    return registry.register(card.model_copy(update={"id": "both-ways", "preprocessing": turned}), state)


def film(pixels: np.ndarray) -> View:
    return make_view(np.ascontiguousarray(pixels), Projection.PA, subtracted=False, modality="DX")


def test_the_mirror_image_and_the_mirrored_sentence_have_the_mirrored_answer(
    entry: ModelEntry, segmentation_model: ModelEntry
) -> None:
    """What no single reading of an untrained network does."""
    pixels = bolus(1, 96, 96)
    found = []
    for model in (entry, segmentation_model):
        engine = Engine(None, model, device="cpu", precision="fp32")
        one = engine.segment(film(pixels), 0, SENTENCE).probability
        other = engine.segment(film(pixels[..., ::-1]), 0, TURNED).probability
        found.append(np.abs(one - other[:, ::-1]).max())
    assert found[0] < 1e-5 < 1e-3 < found[1]


def test_it_is_the_mean_of_both_logits(entry: ModelEntry) -> None:
    network, preprocessing = load_network(entry), Preprocessing.from_card(entry.card.preprocessing)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tau = network.encode_text(network.tokenize(asked([SENTENCE, TURNED], preprocessing)))
        found = decode_films(network, encode_films(network, x, preprocessing), tau, preprocessing)
        plain = network(x, network.tokenize([SENTENCE, TURNED]))[0]
        turned = network(x.flip(-1), network.tokenize([TURNED, SENTENCE]))[0].flip(-1)
    torch.testing.assert_close(found, (plain + turned) / 2, atol=1e-5, rtol=1e-4)


def test_more_sentences_do_not_read_the_film_again(
    entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, calls = Engine(None, entry, device="cpu", precision="fp32"), []
    network = type(load_network(entry))
    encode = network.encode_image
    monkeypatch.setattr(network, "encode_image", lambda self, x: calls.append(len(x)) or encode(self, x))
    view = film(bolus(1, 90, 120))
    together = engine.segment_many(view, 0, [SENTENCE, "infection", TURNED])
    assert calls == [2]
    alone = engine.segment(view, 0, "infection")
    assert calls == [2]
    assert np.abs(together[1].probability - alone.probability).max() < 1e-5


def test_both_readings_go_through_a_file() -> None:
    known = EncodedFilm(torch.randn(2, 4, 8, 8))
    back = EncodedFilm.from_tensors(known.to_tensors(), "cpu")
    assert torch.equal(back.features, known.features)
    with pytest.raises(ValueError, match="1 or 2"):
        EncodedFilm.from_tensors({"features": torch.randn(3, 4, 8, 8)}, "cpu")


def test_cards_without_a_word_about_it_read_once(segmentation_model: ModelEntry, tmp_path: Path) -> None:
    card = {k: v for k, v in segmentation_model.card.preprocessing.items() if k != "both_ways"}
    assert not Preprocessing.from_card(card).both_ways
    assert asked([SENTENCE], Preprocessing()) == [SENTENCE]
