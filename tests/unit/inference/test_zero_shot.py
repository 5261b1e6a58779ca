"""Answers nobody was trained for: the arithmetic derived again, and the way from a study to them."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))
from small_clips import small_clip, write_folder
from small_studies import bolus, make_view

from napari_clipmed.errors import Cancelled, ClipmedError, ModelError
from napari_clipmed.inference.device import choose_compute
from napari_clipmed.inference.preprocess import Preprocessing, normalise, prepare_run
from napari_clipmed.inference.results import BOTH
from napari_clipmed.inference.towers import Towers
from napari_clipmed.inference.zero_shot import (
    NEARLY_THE_SAME,
    PATCH_TEXT,
    UNCALIBRATED,
    alike,
    answer,
    together,
    unit,
    warn_alike,
)
from napari_clipmed.models.zero_shot_sets import ZeroShotSet, parse_set, read_set
from napari_clipmed.progress import Progress
from napari_clipmed.study import Kind, Projection, Study

QUESTIONS = parse_set(
    {
        "name": "test",
        "title": "Test",
        "templates": ["{}", "a run with {}."],
        "findings": [
            {"key": "N", "title": "Normal", "sentences": ["nothing"], "normal": True},
            {
                "key": "A",
                "title": "Disease A",
                "sentences": ["this", "that"],
                "descriptors": ["a sac", "a neck"],
            },
            {"key": "B", "title": "Disease B", "sentences": ["other"]},
        ],
    }
)


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Towers:
    torch.set_num_threads(1)
    folder = write_folder(tmp_path_factory.mktemp("clip") / "tiny")
    return Towers(f"local-dir:{folder}", choose_compute("cpu", "fp32"))


@pytest.fixture(scope="module")
def study() -> Study:
    views = tuple(
        make_view(bolus(20, 80, 60, seed=n), p) for n, p in enumerate((Projection.AP, Projection.LA))
    )
    return Study(views, Kind.ANGIOGRAM, title="A run", synthetic=True)


def drawn_sentences(questions: ZeroShotSet = QUESTIONS, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {text: unit(rng.normal(size=8)) for text in questions.every_sentence()}


# -- arithmetic -------------------------------------------------------------------------------------------


def test_the_three_ways_derived_again() -> None:
    sentences = drawn_sentences()
    picture = unit(np.random.default_rng(1).normal(size=8))
    tau = 0.1
    found = {one.key: one for one in answer(QUESTIONS, {"PA": picture}, sentences, tau)}

    def mean(texts: list[str]) -> np.ndarray:
        total = sum(sentences[text] for text in texts)
        return total / math.sqrt(float(total @ total))

    wanted = {
        "N": mean(["nothing", "a run with nothing."]),
        "A": mean(["this", "that", "a run with this.", "a run with that."]),
        "B": mean(["other", "a run with other."]),
    }
    powers = {key: math.exp(float(vector @ picture) / tau) for key, vector in wanted.items()}
    for key, one in found.items():
        assert one.share == pytest.approx(powers[key] / sum(powers.values()), rel=1e-4)
        assert one.cosine == pytest.approx(float(wanted[key] @ picture), abs=1e-5)
        assert one.by_view == {}, "of a single view there is nothing to compare"
    with_it, without = mean(["this.", "that."]) @ picture, mean(["no this.", "no that."]) @ picture
    assert found["A"].with_it == pytest.approx(1 / (1 + math.exp((without - with_it) / tau)), rel=1e-4)
    assert found["N"].with_it is None
    shares = []
    for seen in ("a sac", "a neck"):
        there = float(sentences[f"There is {seen} indicating disease a."] @ picture)
        absent = float(sentences[f"There is no {seen} indicating disease a."] @ picture)
        shares.append(1 / (1 + math.exp((absent - there) / tau)))
    assert [one.share for one in found["A"].descriptors] == pytest.approx(shares, rel=1e-4)
    assert found["A"].described == pytest.approx(math.sqrt(shares[0] * shares[1]), rel=1e-4)
    assert found["B"].described is None
    against = tuple(
        t
        for t, s in zip(("a sac", "a neck"), shares, strict=True)
        if (s >= 0.5) != (found["A"].described >= 0.5)
    )
    assert found["A"].conflicting() == against


def test_the_raw_cosines_of_chexzero_come_to_a_half_and_rank_the_same() -> None:
    sentences, picture = drawn_sentences(), unit(np.random.default_rng(1).normal(size=8))
    sharp, flat = (answer(QUESTIONS, {"PA": picture}, sentences, tau) for tau in (0.01, 100.0))
    assert all(abs(one.share - 1 / 3) < 0.02 for one in flat)
    assert max(sharp, key=lambda one: one.share).key == max(flat, key=lambda one: one.share).key


def test_views_are_averaged_as_directions() -> None:
    one, other = np.array([3.0, 0.0]), np.array([0.0, 0.5])
    assert together({"AP": one, "LA": other})[BOTH] == pytest.approx([math.sqrt(0.5)] * 2)
    assert together({"PA": one}).keys() == {"PA"}


def test_sentences_that_are_nearly_the_same_are_named() -> None:
    similarity = np.array([[1.0, 0.5, 0.96], [0.5, 1.0, 0.95], [0.96, 0.95, 1.0]], np.float32)
    similarity[1, 2] = similarity[2, 1] = NEARLY_THE_SAME - 0.001
    assert alike(similarity, ("N", "A", "B")) == [("N", "B")]
    assert "N and B are nearly the same" in warn_alike(similarity, ("N", "A", "B"))
    assert warn_alike(np.eye(3, dtype=np.float32), ("N", "A", "B")) == ""


# -- from a study -----------------------------------------------------------------------------------------


def test_a_study_is_answered_and_the_answer_says_it_is_uncalibrated(towers: Towers, study: Study) -> None:
    found = towers.ask(study, read_set("dsa"))
    assert found.notes[0] == UNCALIBRATED
    assert "Simulated study." in found.notes
    assert sum(one.share for one in found.findings) == pytest.approx(1.0)
    assert set(found.findings[0].by_view) == {"AP", "LA"}
    assert np.allclose(np.diag(found.similarity), 1.0, atol=1e-5)
    assert found.temperature == pytest.approx(float(1 / towers.model.logit_scale.exp()))
    plain = found.to_plain()
    assert (plain["calibrated"], plain["caution"], plain["nearest"]) == (
        False,
        UNCALIBRATED,
        found.ranked[0].key,
    )
    assert "asks about a chest film; the study is a cerebral angiogram" in "".join(
        towers.ask(study, read_set("chest")).notes
    )


def test_it_equals_the_towers_asked_by_hand(towers: Towers, study: Study) -> None:
    model = small_clip()
    frames = towers.read_view(study.views[0], "AP")
    ready = prepare_run(study.views[0].pixels, Preprocessing(size=64))
    with torch.no_grad():
        wanted = model.encode_image(normalise(ready.frames, Preprocessing(size=64)), normalize=True).numpy()
        words = model.encode_text(towers.tokenize(["moyamoya disease"]), normalize=True)[0].numpy()
    assert frames == pytest.approx(wanted, abs=1e-5)
    assert towers.read_sentences(["moyamoya disease"])["moyamoya disease"] == pytest.approx(words, abs=1e-5)


def test_half_precision_moves_pictures_a_little_and_sentences_not_at_all(
    towers: Towers, study: Study
) -> None:
    half = Towers(towers.spec, choose_compute("cpu", "bf16"), towers.cache)
    exact, rough = (one.read_view(study.views[0], "AP") for one in (towers, half))
    assert not np.array_equal(exact, rough), "one is not handed out for the other"
    assert (exact * rough).sum(axis=1).min() > 0.999
    towers.cache.clear()
    words = [one.read_sentences(["a sac"])["a sac"] for one in (towers, half)]
    assert np.array_equal(*words)


def test_the_finding_whose_sentence_is_the_picture_comes_first(towers: Towers, study: Study) -> None:
    """With sentences put where the picture is, the chain from pixels to ranks can be checked exactly."""
    own = unit(towers.read_view(study.views[0], "AP").mean(axis=0))
    questions = QUESTIONS.model_copy(update={"templates": ("[{}]",)})
    for number, text in enumerate(questions.every_sentence()):
        vector = own if text == "[other]" else unit(np.random.default_rng(number).normal(size=len(own)))
        towers.cache.put((towers.fingerprint, "sentence", text), vector)
    alone = Study(study.views[:1], study.kind)
    found = towers.ask(alone, questions)
    assert found.ranked[0].key == "B"
    assert found.ranked[0].cosine == pytest.approx(1.0, abs=1e-5)


def test_the_heat_of_a_sentence_peaks_where_the_picture_is_most_like_it(towers: Towers, study: Study) -> None:
    _, places = towers._dense(study.views[1], "LA", Progress())
    t, row, column = 5, 1, 0
    towers.cache.put((towers.fingerprint, "sentence", "just there"), places[t, row, column].numpy())
    towers.cache.put((towers.fingerprint, "sentence", "everywhere"), np.zeros(32, np.float32))
    heat = towers.heat(study, " just there ", "everywhere")
    assert (heat.method, heat.label, set(heat.maps)) == (PATCH_TEXT, "just there", {"AP", "LA"})
    assert np.unravel_index(heat.maps["LA"].argmax(), heat.maps["LA"].shape) == (t, row, column)
    assert heat.maps["LA"].max() == pytest.approx(1.0)
    assert min(values.min() for values in heat.maps.values()) == 0.0
    assert heat.boxes["LA"] == (0.0, -10.0, 80.0, 70.0), "80 rows of 60 columns, padded to a square"
    with pytest.raises(ClipmedError, match="no sentence"):
        towers.heat(study, "  ", "everywhere")


def test_pictures_and_sentences_are_read_once_and_a_job_can_be_stopped(towers: Towers, study: Study) -> None:
    steps: list[str] = []
    towers.ask(study, read_set("dsa"))
    towers.ask(study, read_set("dsa"), Progress(lambda step: steps.append(step.what)))
    assert not [what for what in steps if what.startswith("Reading")]
    stopped = Progress()
    stopped.cancel()
    other = Study((make_view(bolus(6, seed=9)),), Kind.ANGIOGRAM)
    with pytest.raises(Cancelled):
        towers.ask(other, read_set("dsa"), stopped)


def test_comparing_sentences_needs_no_picture(towers: Towers) -> None:
    similarity = towers.compare_sentences(QUESTIONS)
    assert similarity.shape == (3, 3)
    assert np.allclose(similarity, similarity.T)


def test_a_backbone_without_weights_is_refused() -> None:
    for spec, reason in (("clipmed-tiny", "random weights"), ("", "No backbone")):
        with pytest.raises(ModelError, match=reason):
            Towers(spec)
