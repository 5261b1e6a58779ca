"""What the docks say and keep, without a window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from dock_fakes import FakeEngine, biplane

from napari_clipmed.gui import diagnosis_words as words
from napari_clipmed.gui.finetune_words import compare, judged_on
from napari_clipmed.gui.mask_records import FIRST_VALUE, Accepted, PromptList
from napari_clipmed.inference.results import MaskProposal, ViewAttention
from napari_clipmed.progress import Progress


def answer(**changes):
    study = biplane()
    return study, replace(FakeEngine().classify(study, Progress()), **changes)


def proposal(prompt="lower left lung"):
    probability = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    return MaskProposal(probability, prompt, prompt + ".", "picture", "model", "hash")


def test_views_that_disagree_are_named_with_their_numbers():
    _, diagnosis = answer()
    weak = {**diagnosis.probabilities, "LA": dict.fromkeys(diagnosis.labels, 0.15) | {"AS": 0.4}}
    said = words.agreement(replace(diagnosis, probabilities=weak))
    assert said == "The views disagree: AP says Moyamoya disease (0.81), LA says Arterial stenosis (0.40)."


def test_beneath_an_uncertain_answer_the_views_lean_and_do_not_agree():
    _, diagnosis = answer()
    assert words.agreement(diagnosis) == "AP and LA agree: Moyamoya disease."
    strange = replace(diagnosis, unlike_training=True)
    assert words.agreement(strange) == "AP and LA both lean to Moyamoya disease (0.81 and 0.88)."
    split = {**diagnosis.probabilities, "LA": dict.fromkeys(diagnosis.labels, 0.1) | {"AS": 0.6}}
    assert words.agreement(replace(diagnosis, probabilities=split)) == (
        "The views disagree: AP leans to Moyamoya disease (0.81), LA leans to Arterial stenosis (0.60)."
    )


def test_notes_become_a_warning_only_when_the_study_is_unlike_the_training_data():
    _, diagnosis = answer(notes=("Simulated study.", "AP was read as LA."))
    assert words.cautions(diagnosis) == "" and words.remarks(diagnosis) == "AP was read as LA."
    strange = replace(diagnosis, unlike_training=True)
    assert (
        words.cautions(strange).startswith("The study is unlike what the model learned from")
        and words.remarks(strange) == ""
    )


def test_a_short_run_whose_frames_repeat_draws_each_frame_once_and_loses_no_attention():
    study, diagnosis = answer()
    repeated = ViewAttention(np.full(4, 0.25, dtype=np.float32), np.array([0, 0, 1, 2]))
    (curve,) = words.attention_curves(study, replace(diagnosis, attention={"AP": repeated}))
    assert curve.frames.tolist() == [0, 1, 2]
    assert curve.values.tolist() == [0.5, 0.25, 0.25]
    assert curve.times.tolist() == [0.0, 0.25, 0.5]


def test_before_there_are_maps_attention_names_the_decisive_frame():
    _, diagnosis = answer()
    frames = words.decisive_frames(diagnosis, None)
    assert frames["AP"] == int(diagnosis.attention["AP"].frames[6])


def test_each_sentence_keeps_its_label_and_the_first_is_left_to_hand_drawing():
    prompts = PromptList()
    assert [prompts.value_of(p) for p in ("a", "b", "a")] == [FIRST_VALUE, FIRST_VALUE + 1, FIRST_VALUE]
    assert prompts.colour_of("a") != prompts.colour_of("b")


def test_masks_are_accepted_when_untouched_corrected_when_changed_and_not_forgotten_when_erased():
    prompts = PromptList()
    accepted = Accepted(proposal(), 0.5, 0, 3, prompts.value_of("lower left lung"))
    prompts.remember(accepted)
    labels = np.where(accepted.mask, accepted.value, 0)
    (same,) = prompts.to_save(labels, 0, 3, {2: "lower left lung"}, {})
    assert same.verdict == "accepted" and same.sentence is accepted.proposal
    labels[0, 0] = accepted.value
    assert prompts.to_save(labels, 0, 3, {}, {})[0].verdict == "corrected"
    (erased,) = prompts.to_save(np.zeros_like(labels), 0, 3, {}, {})
    assert erased.verdict == "corrected" and not erased.mask.any()
    assert prompts.to_save(np.zeros_like(labels), 0, 4, {}, {}) == []
    (elsewhere,) = prompts.to_save(labels, 0, 4, {}, {})
    assert elsewhere.origin is None and elsewhere.sentence is accepted.proposal


def test_figures_that_only_one_side_has_are_not_compared():
    text = compare({"macro_f1": 0.5, "n": 4, "labels": ["a"]}, {"macro_f1": 0.75, "loss": 1.0})
    assert text == "Macro F1: 0.500 before, 0.750 after"
    assert "training cases themselves" in judged_on({"on": "training"})
