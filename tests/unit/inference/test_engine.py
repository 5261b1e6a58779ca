"""One engine: answers for every study, computes each expensive step once, stops when asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_studies import bolus, make_study, make_view

from napari_clipmed.errors import Cancelled, ClipmedError, ModelError
from napari_clipmed.inference import loaded
from napari_clipmed.inference.engine import Engine
from napari_clipmed.inference.explain import METHODS
from napari_clipmed.inference.tuning import Pace
from napari_clipmed.models.card import ModelCard, ModelEntry
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.registry import Registry, load_network
from napari_clipmed.progress import Progress, Step
from napari_clipmed.study import Kind, Projection, Study


@pytest.fixture
def engine(diagnosis_model: ModelEntry) -> Engine:
    return Engine(diagnosis_model, device="cpu", precision="fp32")


@pytest.fixture
def trunk_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames of each call of the trunk, the expensive part; how fast it is, is not measured."""
    monkeypatch.setattr(loaded, "pace_for", lambda *given: Pace(8, torch.get_num_threads()))
    calls: list[int] = []
    trunk = ClipDSA.trunk

    def counting(self: ClipDSA, frames: torch.Tensor) -> torch.Tensor:
        calls.append(len(frames))
        return trunk(self, frames)

    monkeypatch.setattr(ClipDSA, "trunk", counting)
    return calls


def test_a_biplane_study_is_answered_per_view_and_together(engine: Engine, biplane: Study) -> None:
    diagnosis = engine.classify(biplane)
    assert diagnosis.labels == ("Control", "MMD", "IA", "AM", "AS")
    assert set(diagnosis.probabilities) == {"AP", "LA", "both"}
    for answer in diagnosis.probabilities.values():
        assert sum(answer.values()) == pytest.approx(1)
    for attention in diagnosis.attention.values():
        assert attention.weights.sum() == pytest.approx(1, abs=1e-5)
        assert attention.frames.tolist() == sorted({round(i * 19 / 15) for i in range(16)})
    assert diagnosis.view_index == {"AP": 0, "LA": 1}
    assert diagnosis.image_hash == biplane.image_hash
    assert not diagnosis.unlike_training


def test_the_answer_is_that_of_the_plain_network_at_the_cards_temperature(
    engine: Engine, biplane: Study, diagnosis_model: ModelEntry
) -> None:
    from napari_clipmed.inference.preprocess import Preprocessing, normalise, prepare_run

    network = load_network(diagnosis_model)
    prep = Preprocessing.from_card(diagnosis_model.card.preprocessing)
    ap, la = (normalise(prepare_run(v.pixels, prep).frames, prep)[None] for v in biplane.views)
    with torch.no_grad():
        output = network(ap, la)
        expected = (network.logits(output.v_mv, "mv")[0] / 2.0).softmax(0)
    assert list(engine.classify(biplane).combined.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_classifying_and_explaining_again_compute_nothing(
    engine: Engine, biplane: Study, trunk_calls: list[int]
) -> None:
    diagnosis = engine.classify(biplane)
    assert sum(trunk_calls) == 32
    again = engine.classify(biplane)
    assert again.combined == diagnosis.combined
    saliency = engine.explain(diagnosis, "MMD")
    assert engine.explain(diagnosis, "MMD") is saliency
    assert engine.explain(diagnosis, "IA") is not saliency
    assert sum(trunk_calls) == 32


def test_relabelling_the_views_computes_no_trunk_again(
    engine: Engine, biplane: Study, trunk_calls: list[int]
) -> None:
    engine.classify(biplane)
    swapped = Study(
        views=(
            biplane.views[0].relabelled(Projection.LA),
            biplane.views[1].relabelled(Projection.AP),
        ),
        kind=biplane.kind,
    )
    diagnosis = engine.classify(swapped)
    assert diagnosis.view_index == {"AP": 1, "LA": 0}
    assert sum(trunk_calls) == 32


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_all_frames_of_both_views(engine: Engine, biplane: Study, method: str) -> None:
    saliency = engine.explain(engine.classify(biplane), "AM", method)
    assert set(saliency.maps) == {"AP", "LA"}
    peak = 0.0
    for view, maps in saliency.maps.items():
        assert maps.shape == (16, 2, 2)
        assert maps.dtype == np.float32
        assert maps.min() >= 0
        assert saliency.decisive_frame(view) in saliency.frames[view]
        assert saliency.boxes[view] == (0, 0, 80, 80)
        peak = max(peak, float(maps.max()))
    assert peak in (0, 1)


@pytest.mark.parametrize("projection", [Projection.AP, Projection.LA])
def test_a_single_view_is_answered_by_its_own_head_and_says_so(
    engine: Engine, projection: Projection
) -> None:
    diagnosis = engine.classify(make_study(make_view(bolus(), projection)))
    assert set(diagnosis.probabilities) == {projection}
    assert diagnosis.combined == diagnosis.probabilities[projection]
    assert any(f"Only the {projection} view" in note for note in diagnosis.notes)
    assert set(engine.explain(diagnosis, diagnosis.predicted).maps) == {projection}


def test_a_run_of_one_frame_is_answered_and_explained(engine: Engine, trunk_calls: list[int]) -> None:
    diagnosis = engine.classify(make_study(make_view(bolus(1))))
    assert trunk_calls == [1]
    assert diagnosis.attention["AP"].weights.tolist() == pytest.approx([1])
    assert any("single frame" in note for note in diagnosis.notes)
    for method in METHODS:
        saliency = engine.explain(diagnosis, "IA", method)
        assert saliency.maps["AP"].shape == (1, 2, 2)
        assert saliency.frames["AP"].tolist() == [0]


def test_short_runs_show_each_frame_once(engine: Engine) -> None:
    diagnosis = engine.classify(make_study(make_view(bolus(5)), make_view(bolus(20), Projection.LA)))
    assert diagnosis.attention["AP"].frames.tolist() == [0, 1, 2, 3, 4]
    assert diagnosis.attention["AP"].weights.sum() == pytest.approx(1, abs=1e-5)
    maps = engine.explain(diagnosis, "IA").maps
    assert len(maps["AP"]) == 5
    assert len(maps["LA"]) == 16


def test_frames_that_are_not_square_say_where_the_map_lies(engine: Engine) -> None:
    diagnosis = engine.classify(make_study(make_view(bolus(6, 60, 120))))
    box = engine.explain(diagnosis, "IA").boxes["AP"]
    assert box == pytest.approx((-30, 0, 90, 120))


@pytest.mark.parametrize("kind", [Kind.CHEST, Kind.OTHER])
def test_other_kinds_of_study_are_answered_with_the_flag(engine: Engine, kind: Kind) -> None:
    film = make_view(bolus(1), Projection.PA, subtracted=False, modality="DX")
    diagnosis = engine.classify(make_study(film, kind=kind))
    assert diagnosis.unlike_training
    assert any("trained on an angiogram" in note for note in diagnosis.notes)


def test_a_native_run_is_flagged_and_an_inverted_one_is_turned(engine: Engine) -> None:
    native = engine.classify(make_study(make_view(bolus(), subtracted=False)))
    assert native.unlike_training
    dark = engine.classify(make_study(make_view(bolus(height=96, width=96))))
    bright = engine.classify(make_study(make_view(255 - bolus(height=96, width=96))))
    assert any("bright vessels" in note for note in bright.notes)
    assert list(bright.combined.values()) == pytest.approx(list(dark.combined.values()), abs=0.02)


@pytest.mark.parametrize(
    ("projections", "expected"),
    [
        ([Projection.UNKNOWN], {"AP": 0}),
        ([Projection.OBLIQUE], {"AP": 0}),
        ([Projection.UNKNOWN, Projection.LA], {"AP": 0, "LA": 1}),
        ([Projection.AP, Projection.OBLIQUE], {"AP": 0, "LA": 1}),
        ([Projection.UNKNOWN, Projection.UNKNOWN], {"AP": 0, "LA": 1}),
        ([Projection.LA, Projection.PA], {"AP": 1, "LA": 0}),
        ([Projection.AP, Projection.AP, Projection.LA], {"AP": 0, "LA": 2}),
    ],
)
def test_views_of_unknown_direction_are_placed_and_told(
    engine: Engine, projections: list[Projection], expected: dict[str, int]
) -> None:
    views = [make_view(bolus(2, seed=i), projection) for i, projection in enumerate(projections)]
    diagnosis = engine.classify(make_study(*views))
    assert diagnosis.view_index == expected
    certain = {Projection.AP, Projection.PA, Projection.LA}
    if not set(projections) <= certain or len(projections) > 2:
        assert diagnosis.notes


def test_statistics_of_the_training_flag_what_is_far_away(
    engine: Engine, biplane: Study, diagnosis_model: ModelEntry, registry: Registry
) -> None:
    from napari_clipmed.inference.outofdistribution import fit_statistics
    from napari_clipmed.models.registry import load_tensors

    if "tiny-ood" not in [entry.id for entry in registry.list()]:
        studies = [make_study(make_view(bolus(seed=s))) for s in range(24)]
        rows = torch.stack([engine.describe(study)["AP"] for study in studies])
        statistics, thresholds = fit_statistics(rows[:16], rows[16:], components=8, quantile=1.0)
        card = diagnosis_model.card
        registry.register(
            card.model_copy(
                update={"id": "tiny-ood", "calibration": dict(card.calibration) | thresholds},
            ),
            load_tensors(diagnosis_model) | statistics,
        )
    judge = Engine(registry.get("tiny-ood"), device="cpu", precision="fp32")
    assert not judge.classify(make_study(make_view(bolus(seed=19)))).unlike_training
    noise = np.random.default_rng(0).integers(0, 255, (20, 80, 80)).astype(np.uint8)
    strange = judge.classify(make_study(make_view(noise)))
    assert strange.unlike_training
    assert any("unlike the training data" in note for note in strange.notes)


def test_simulated_studies_are_said_to_be(engine: Engine) -> None:
    assert "Simulated study." in engine.classify(make_study(make_view(bolus(2)), synthetic=True)).notes


def test_a_job_reports_and_stops_where_it_is_asked(engine: Engine, biplane: Study) -> None:
    seen: list[Step] = []
    progress = Progress(seen.append)

    def stop_at_the_second_view(step: Step) -> None:
        seen.append(step)
        if step.what == "Reading LA":
            progress.cancel()

    progress.report = stop_at_the_second_view
    with pytest.raises(Cancelled):
        engine.classify(biplane, progress)
    assert any(step.total for step in seen)
    assert engine.classify(biplane).combined, "a cancelled job leaves the engine usable"


def test_threads_share_one_engine(engine: Engine, trunk_calls: list[int]) -> None:
    studies = [make_study(make_view(bolus(4, seed=s % 2))) for s in range(8)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(engine.classify, studies))
    assert answers[0].combined == answers[2].combined != answers[1].combined
    assert sum(trunk_calls) == 8


def test_explaining_needs_its_own_model_study_and_label(
    engine: Engine, biplane: Study, diagnosis_model: ModelEntry
) -> None:
    diagnosis = engine.classify(biplane)
    with pytest.raises(ClipmedError, match="no label 'stroke'"):
        engine.explain(diagnosis, "stroke")
    with pytest.raises(ClipmedError, match="no saliency method"):
        engine.explain(diagnosis, "IA", "magic")
    with pytest.raises(ClipmedError, match="another model"):
        engine.explain(replace(diagnosis, key="x:other"), "IA")
    fresh = Engine(diagnosis_model, device="cpu", precision="fp32")
    with pytest.raises(ClipmedError, match="no longer open"):
        fresh.explain(diagnosis, "IA")


def test_forgotten_features_are_made_again_while_the_study_is_open(engine: Engine, biplane: Study) -> None:
    diagnosis = engine.classify(biplane)
    before = engine.explain(diagnosis, "IA").maps["AP"]
    engine.cache.clear()
    assert np.array_equal(engine.explain(diagnosis, "IA").maps["AP"], before)


def test_without_a_model_there_is_a_sentence(diagnosis_model: ModelEntry, biplane: Study) -> None:
    with pytest.raises(ModelError, match="No diagnosis model is chosen"):
        Engine(None).classify(biplane)
    other = ModelEntry(
        ModelCard(**(diagnosis_model.card.model_dump() | {"task": "segmentation"})), diagnosis_model.folder
    )
    with pytest.raises(ModelError, match="is a segmentation model"):
        Engine(other).classify(biplane)


def test_bfloat16_gives_nearly_the_same(diagnosis_model: ModelEntry, biplane: Study, engine: Engine) -> None:
    rough = Engine(diagnosis_model, device="cpu", precision="bf16").classify(biplane)
    fine = engine.classify(biplane)
    assert list(rough.combined.values()) == pytest.approx(list(fine.combined.values()), abs=0.1)
