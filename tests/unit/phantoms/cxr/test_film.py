"""The chest phantom tells the truth about itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import label

from napari_clipmed.errors import ClipmedError
from napari_clipmed.phantoms.cxr import FilmRecipe, draw_film, sample_film, write_cxr_phantoms
from napari_clipmed.phantoms.cxr.decorations import draw_style
from napari_clipmed.phantoms.cxr.findings import locations_of, thirds
from napari_clipmed.phantoms.cxr.sentences import qata_sentence

SMALL = FilmRecipe(size=160)


def test_same_seed_same_film_and_other_seed_other_film() -> None:
    first, again, other = draw_film(3, SMALL), draw_film(3, SMALL), draw_film(4, SMALL)
    np.testing.assert_array_equal(first.image, again.image)
    assert first.prompt == again.prompt
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize(
    ("locations", "n_areas", "sentence"),
    [
        ([("right", "upper")], 1, "Unilateral pulmonary infection, one infected area, upper right lung."),
        (
            [("left", "lower"), ("left", "upper"), ("left", "middle"), ("right", "lower")],
            3,
            "Bilateral pulmonary infection, three infected areas, all left lung and lower right lung.",
        ),
        ([], 0, "No pulmonary infection."),
    ],
)
def test_sentences_follow_the_qata_grammar(locations, n_areas, sentence) -> None:
    assert qata_sentence(locations, n_areas) == sentence


def test_left_in_the_sentence_is_left_in_the_picture() -> None:
    for seed in range(12):
        film = draw_film(seed, FilmRecipe(size=160, n_areas=1))
        if film.mask.any():
            column = np.nonzero(film.mask)[1].mean()
            assert ("left lung" in film.prompt) == (column < 80)


def test_number_in_the_sentence_is_the_number_of_components() -> None:
    film = draw_film(1, FilmRecipe(size=200, n_areas=3, subset_prompts=0.0))
    n_parts = label(film.mask)[1]
    assert n_parts == film.truth["named_areas"]
    assert ["one", "two", "three"][n_parts - 1] in film.prompt


def test_infected_areas_are_brighter_than_the_same_lung_without_them() -> None:
    gain = []
    for seed in range(6):
        sick = draw_film(seed, FilmRecipe(size=160, n_areas=2))
        healthy = draw_film(seed, FilmRecipe(size=160, n_areas=0))
        areas = sick.all_areas > 0
        if areas.any():
            gain.append(float(sick.image[areas].mean()) - float(healthy.image[areas].mean()))
    assert min(gain) > 100  # of 4095 grey levels


def test_subset_prompt_names_one_side_and_masks_only_that_side() -> None:
    recipe = FilmRecipe(size=160, n_areas=4, subset_prompts=1.0)
    films = [draw_film(seed, recipe) for seed in range(8)]
    partial = [film for film in films if film.mask.any() and film.mask.sum() < (film.all_areas > 0).sum()]
    assert partial
    for film in partial:
        assert film.prompt.startswith("Unilateral")
        assert len({side for side, _ in film.truth["locations"]}) == 1


def test_zones_cover_the_lungs_once() -> None:
    lungs = draw_film(0, SMALL).lungs
    stacked = np.sum(list(thirds(lungs).values()), axis=0)
    np.testing.assert_array_equal(stacked > 0, lungs.both)
    assert stacked.max() == 1
    assert locations_of(lungs.left, lungs) == [("left", "upper"), ("left", "middle"), ("left", "lower")]


def test_confounding_knob_ties_the_portable_look_to_infection() -> None:
    def portable(infected: bool, knob: float) -> float:
        return float(
            np.mean([draw_style(np.random.default_rng(i), infected, knob).portable for i in range(60)])
        )

    assert portable(True, 1.0) == 1.0
    assert portable(False, 1.0) == 0.0
    assert portable(True, -1.0) == 0.0
    assert abs(portable(True, 0.0) - portable(False, 0.0)) == 0.0


def test_folder_of_films_has_frozen_splits_by_patient(tmp_path) -> None:
    write_cxr_phantoms(3, seed=5, out=tmp_path, recipe=SMALL)
    rows = [json.loads(line) for line in (tmp_path / "studies.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["CXR-5-00000", "CXR-5-00001", "CXR-5-00002"]
    assert {row["split"] for row in rows} <= {"train", "val", "test"}
    with np.load(tmp_path / rows[0]["file"]) as arrays:
        assert arrays["image"].shape == arrays["mask"].shape == (160, 160)
    assert json.loads((tmp_path / "manifest.json").read_text())["synthetic"] is True


def test_sample_film_reads_back_as_a_simulated_chest(tmp_path) -> None:
    from napari_clipmed.io import open_study
    from napari_clipmed.study import Kind

    folder = sample_film(tmp_path, size=128)
    study = open_study(folder / "film.dcm")
    assert study.kind is Kind.CHEST
    assert study.synthetic
    assert study.views[0].pixels.shape == (1, 128, 128)


def test_films_of_another_hospital_follow_its_ranges() -> None:
    from napari_clipmed.phantoms.cxr import load_style_ranges

    there = load_style_ranges("shifted")
    styles = [draw_style(np.random.default_rng(n), True, 0.0, there) for n in range(40)]
    assert all(there.gamma[0] <= style.gamma <= there.gamma[1] for style in styles)
    assert np.mean([style.portable for style in styles]) > 0.7
    with pytest.raises(ClipmedError, match="No style"):
        load_style_ranges("nowhere")
