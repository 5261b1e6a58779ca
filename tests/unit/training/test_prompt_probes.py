"""An obedient network and a deaf one under the probes, and the films they are asked about."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from qata_folder import make_qata
from torch import Tensor, nn
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))

from small_models import add_segmentation_model

from napari_clipmed.cli.evaluate import evaluate_app
from napari_clipmed.errors import ClipmedError, UnreadableFileError
from napari_clipmed.inference.device import choose_compute
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.prompts import normalise, parse
from napari_clipmed.models.registry import default_registry
from napari_clipmed.phantoms.cxr import FilmRecipe, write_cxr_phantoms
from napari_clipmed.training.prompt_probes import (
    ProbedFilm,
    films_of_phantoms,
    films_of_qata,
    probe,
    questions,
)
from napari_clipmed.training.qata_data import load_split
from napari_clipmed.training.sentence_variation import mistyped, paraphrased

SIZE = Preprocessing(64, 1, "squash")
CPU = choose_compute("cpu", "fp32", 1)


class Listener(nn.Module):
    """Marks the halves of the picture that the sentence names; a deaf one marks both, always."""

    def __init__(self, deaf: bool = False) -> None:
        super().__init__()
        self.deaf = deaf

    def tokenize(self, sentences: list[str]) -> Tensor:
        return torch.tensor([[self.deaf or side in s for side in ("left", "right")] for s in sentences])

    def encode_text(self, tokens: Tensor) -> Tensor:
        return tokens.float()

    def encode_image(self, x: Tensor) -> Tensor:
        return (x.mean(1, keepdim=True) > 1.0).float()  # the bright areas

    def decode(self, x: Tensor, tau: Tensor) -> Tensor:
        halves = torch.zeros(len(tau), 1, 64, 64)
        halves[..., :32], halves[..., 32:] = tau[:, 0, None, None, None], tau[:, 1, None, None, None]
        return 20 * (x * halves - 0.5)


def film(left: bool = True, right: bool = True) -> ProbedFilm:
    picture = np.zeros((64, 64), np.uint8)
    areas = {}
    for side, there, columns in (("left", left, slice(8, 24)), ("right", right, slice(40, 56))):
        if there:
            areas[side] = np.zeros((64, 64), bool)
            areas[side][40:56, columns] = True
            picture[areas[side]] = 255
    places = " and ".join(f"lower {side} lung" for side in areas)
    word = "Bilateral" if len(areas) == 2 else "Unilateral"
    sentence = f"{word} pulmonary infection, {len(areas)} infected areas, {places}."
    return ProbedFilm("P", picture, areas, sentence, dict.fromkeys(areas, 1))


@pytest.fixture(scope="module")
def films() -> list[ProbedFilm]:
    return [film(), film(right=False), film(left=False)]


def test_an_obedient_network_marks_the_named_side_only(films: list[ProbedFilm]) -> None:
    probes = probe(Listener(), films, SIZE, compute=CPU, rounds=10)["probes"]
    assert probes["one side"]["n"] == 2 and probes["wrong side"]["n"] == 2
    assert probes["one side"]["dice"] == 1 and probes["one side"]["leakage"] == 0
    assert probes["wrong side"]["leakage"] == 0
    assert probes["full"]["dice"] == probes["paraphrase"]["dice"] == probes["typos"]["dice"] == 1
    assert probes["mirrored"]["dice"] == pytest.approx(1 / 3, abs=1e-4), (
        "only the bilateral film reads the same"
    )


def test_a_deaf_network_is_found_out(films: list[ProbedFilm]) -> None:
    probes = probe(Listener(deaf=True), films, SIZE, compute=CPU, rounds=10)["probes"]
    assert probes["full"]["dice"] == 1
    assert probes["one side"]["leakage"] == 1 and probes["wrong side"]["leakage"] == 1
    assert probes["one side"]["dice"] == pytest.approx(2 / 3, abs=1e-4)
    assert probes["one side"]["ci95"]["leakage"] == [1, 1]


def test_a_sentence_names_one_side_with_its_areas(films: list[ProbedFilm]) -> None:
    assert films[0].naming("right") == "unilateral pulmonary infection, one infected area, lower right lung."
    wrong = [one for one in questions(films[1]) if one.probe == "wrong side"]
    assert "right" in wrong[0].sentence and "left" not in wrong[0].sentence
    assert not questions(ProbedFilm("P", films[0].picture, films[0].sides, "Hello.", {}))


def test_free_words_say_the_same_places() -> None:
    rng = np.random.default_rng(0)
    for text in (
        "Bilateral pulmonary infection, two infected areas, upper lower left lung and all right lung.",
        "Unilateral pulmonary infection, one infected area, middle right lung.",
    ):
        for _ in range(10):
            said = paraphrased(parse(text), rng)
            assert said != text and normalise(said).finding.places == parse(text).places


def test_slips_are_small_and_spare_short_words() -> None:
    rng = np.random.default_rng(1)
    text = "Unilateral pulmonary infection, one infected area, middle right lung."
    typed = mistyped(text, rng, share=1.0)
    pairs = list(zip(text.split(), typed.split(), strict=True))
    assert all(a == b for a, b in pairs if len(a) < 4)
    assert sum(a != b for a, b in pairs if len(a) >= 4) >= 5
    assert all(abs(len(a) - len(b)) <= 1 for a, b in pairs)
    assert mistyped(text, rng, share=0.0) == text


def test_films_of_both_sources_know_their_sides(tmp_path: Path) -> None:
    items = load_split(make_qata(tmp_path / "qata", {"Val": 4}), "Val")
    for item, found in zip(items, films_of_qata(items), strict=True):
        (side,) = found.sides
        assert side in item.sentence and found.areas == {side: 1}
    folder = write_cxr_phantoms(24, 3, tmp_path / "cxr", recipe=FilmRecipe(size=96))
    simulated = list(films_of_phantoms(folder, "train"))
    assert simulated
    for found in simulated:
        assert {place.side for place in found.finding.places} >= set(found.sides)
        assert found.finding.areas == sum(found.areas.values())
    with pytest.raises(UnreadableFileError):
        list(films_of_phantoms(tmp_path / "nothing", "test"))


def test_nothing_to_ask_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClipmedError, match="No film"):
        probe(Listener(), [], SIZE, compute=CPU)


def test_the_command_probes_a_model(tmp_path: Path, clipmed_home: Path) -> None:
    entry = add_segmentation_model(default_registry())
    folder = make_qata(tmp_path / "qata", {"Val": 3})
    call = ["causal-clipseg", "--data", str(folder), "--model", entry.id, "--probes", "--rounds", "10"]
    answer = CliRunner().invoke(evaluate_app, [*call, "--json"], catch_exceptions=False)
    figures = json.loads(answer.stdout)
    assert figures["films"] == 3 and not figures["simulated"]
    assert {"full", "paraphrase", "typos unread", "wrong side"} <= figures["probes"].keys()
    shown = CliRunner().invoke(evaluate_app, [*call, "--most", "2"], catch_exceptions=False)
    assert "2 films" in shown.stdout and "Leakage" in shown.stdout
