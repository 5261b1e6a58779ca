"""A person's word takes the place of a guess, is said, and survives as plain data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_clipmed.errors import ClipmedError
from napari_clipmed.io import list_studies, open_study
from napari_clipmed.io.dicom_write import Uids
from napari_clipmed.io.overrule import (
    BY_READER,
    Overrule,
    as_read_again,
    exchanged,
    key_of,
    overruled,
    paired,
    regrouped,
    retimed,
    separated,
    taken_as_subtracted,
)
from napari_clipmed.study import Calibration, FrameTiming, Kind, MaskItem, PatientIdentity, Projection, Topic


@pytest.fixture
def biplane(make_run):
    """AP and LA of one examination, paired by their angles."""
    return open_study(
        [
            make_run(
                name=f"{word}.dcm",
                angles=(angle, 0),
                uids=Uids.seeded(1, "s", word),
                instance_number=angle + 1,
            )
            for word, angle in (("AP", 0), ("LA", 90))
        ]
    )


def guess_about(view, topic):
    (guess,) = (guess for guess in view.guesses if guess.what == topic)
    return guess


@pytest.mark.parametrize(
    ("topic", "value", "check"),
    [
        (Topic.PROJECTION, "OBLIQUE", lambda view: view.projection is Projection.OBLIQUE),
        (
            Topic.TIME_BASE,
            250.0,
            lambda view: view.timing.times_ms.tolist() == [0, 250, 500, 750, 1000, 1250],
        ),
        (
            Topic.TIME_BASE,
            (0, 1, 2, 3, 4, 9),
            lambda view: view.timing.times_ms[-1] == 9 and view.timing.known,
        ),
        (Topic.CALIBRATION, (0.2, 0.3), lambda view: view.spacing.column_mm == 0.3 and view.spacing.known),
        (Topic.SUBTRACTION, "subtracted", lambda view: view.subtracted),
        (Topic.SUBTRACTION, "native", lambda view: not view.subtracted),
    ],
)
def test_every_guess_of_a_view_can_be_overruled_and_remembered(biplane, topic, value, check) -> None:
    word = Overrule(topic, value, key_of(biplane.views[1]))
    remembered = Overrule.from_json(json.loads(json.dumps(word.to_json())))
    study = overruled(biplane, [remembered])
    changed = next(view for view in study.views if key_of(view) == word.view)
    assert check(changed) and guess_about(changed, topic).reason == BY_READER
    untouched = next(view for view in study.views if key_of(view) != word.view)
    assert untouched is biplane.views[0]


def test_the_kind_of_a_study_can_be_overruled(biplane) -> None:
    study = overruled(biplane, [Overrule(Topic.KIND, "chest")])
    assert study.kind is Kind.CHEST and study.guesses[-1].reason == BY_READER


def test_the_later_word_wins_and_stands_alone(biplane) -> None:
    key = key_of(biplane.views[0])
    study = overruled(biplane, [Overrule(Topic.TIME_BASE, 100, key), Overrule(Topic.TIME_BASE, 50, key)])
    assert study.views[0].timing.interval_ms == 50
    assert guess_about(study.views[0], Topic.TIME_BASE).value == "50 ms a frame"


@pytest.mark.parametrize(
    "word",
    [
        Overrule(Topic.KIND, "teapot"),
        Overrule(Topic.PROJECTION, "UP", "KEY"),
        Overrule(Topic.TIME_BASE, 0.0, "KEY"),
        Overrule(Topic.TIME_BASE, (0.0, 1.0), "KEY"),
        Overrule(Topic.TIME_BASE, (0.0, 1.0, 2.0, 9.0, 4.0, 5.0), "KEY"),
        Overrule(Topic.CALIBRATION, (0.0, 0.2), "KEY"),
        Overrule(Topic.CALIBRATION, (1.0,), "KEY"),
        Overrule(Topic.SUBTRACTION, "perhaps", "KEY"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(biplane, word) -> None:
    word = Overrule(word.what, word.value, key_of(biplane.views[0]) if word.view else "")
    with pytest.raises(ClipmedError) as error:
        overruled(biplane, [word])
    assert error.value.message.endswith(".") and error.value.hint.endswith(".")


@pytest.mark.parametrize("data", [{}, {"what": "weather", "value": 1}, {"what": "kind", "value": None}])
def test_a_damaged_record_is_refused_with_a_sentence(data) -> None:
    with pytest.raises(ClipmedError, match="cannot be understood"):
        Overrule.from_json(data)


def test_views_that_hang_the_wrong_way_round_are_exchanged(biplane) -> None:
    study = exchanged(biplane)
    assert [view.projection for view in study.views] == [Projection.LA, Projection.AP]
    assert key_of(study.views[0]) == key_of(biplane.views[0])
    assert study.image_hash == biplane.image_hash  # records find the study again
    assert study.title == biplane.title


def test_a_pair_is_taken_apart_and_put_together_again(biplane) -> None:
    ap, la = separated(biplane)
    assert [len(study.views) for study in (ap, la)] == [1, 1] and ap.pairing.value == "apart"
    again = paired(la, ap)
    assert [key_of(view) for view in again.views] == [key_of(view) for view in biplane.views]
    assert again.pairing.reason == BY_READER and again.title == biplane.title


def test_two_patients_are_never_paired_even_by_hand(make_run) -> None:
    one, two = (
        open_study(make_run(name=f"{who}.dcm", patient=PatientIdentity(patient_id=who))) for who in ("a", "b")
    )
    with pytest.raises(ClipmedError, match="different patients"):
        paired(one, two)


def test_pairings_of_a_folder_are_remembered(biplane, tmp_path) -> None:
    (entry,) = list_studies(tmp_path)
    ap, la = entry.sops
    apart = regrouped([entry], [Overrule(Topic.PAIRING, "apart", la)])
    assert [single.sops for single in apart] == [(ap,), (la,)]
    (both,) = regrouped(apart, [Overrule(Topic.PAIRING, la, ap)])
    assert both.sops == (ap, la) and both.pairing.reason == BY_READER
    assert regrouped(apart, [Overrule(Topic.PAIRING, "9.9.9", ap)]) == apart


def test_times_must_fit_the_frames(biplane) -> None:
    with pytest.raises(ClipmedError, match="2 times for 6 frames"):
        retimed(biplane.views[0], FrameTiming(np.zeros(2), "x", True))


def test_a_calibration_set_by_hand_is_in_the_patient(biplane) -> None:
    word = Overrule(Topic.CALIBRATION, (0.2, 0.2), key_of(biplane.views[0]))
    assert overruled(biplane, [word]).views[0].spacing.calibration is Calibration.PATIENT


def test_what_the_reader_read_comes_back(biplane) -> None:
    first = biplane.views[0]
    words = [
        Overrule(Topic.PROJECTION, "OBLIQUE", key_of(first), "as set by Dr A"),
        Overrule(Topic.TIME_BASE, 250.0, key_of(first)),
        Overrule(Topic.SUBTRACTION, "subtracted", key_of(first)),
    ]
    changed = overruled(biplane, words).views[0]
    assert guess_about(changed, Topic.PROJECTION).reason == "as set by Dr A"
    back = as_read_again(changed, first, Topic.PROJECTION)
    assert back.projection is first.projection
    assert guess_about(back, Topic.PROJECTION) == guess_about(first, Topic.PROJECTION)
    assert back.timing is changed.timing
    for topic in (Topic.TIME_BASE, Topic.SUBTRACTION):
        back = as_read_again(back, first, topic)
    assert (back.timing, back.subtracted) == (first.timing, first.subtracted)
    assert sorted(back.guesses, key=str) == sorted(first.guesses, key=str)


def test_a_run_subtracted_here_is_shown_as_stored_when_the_scanner_is_said_to_have_done_it(make_run) -> None:
    (view,) = open_study(make_run(mask=MaskItem(mask_frames=(1,)))).views
    assert view.native is not None
    stored = taken_as_subtracted(view, True)
    assert stored.subtracted and stored.native is None and stored.subtraction is None
    assert (np.asarray(stored.pixels) == np.asarray(view.native)).all()
    assert taken_as_subtracted(view, False) is view
