"""DICOM SR: what the model said, what the reader said, and which document came before."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import pytest
from pydicom import Dataset, dcmread
from reviewed_studies import MODEL, SECRETS, VERSION, Reviewed, complaints, reviewed_run

from napari_clipmed.errors import ClipmedError
from napari_clipmed.outputs.report import check_report, report_of, reports_of
from napari_clipmed.outputs.statements import statements_of


def saved(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(dataset: Dataset, path: Path) -> hd.sr.Comprehensive3DSR:
    return hd.sr.Comprehensive3DSR.from_dataset(dcmread(saved(dataset, path)))


def group_of(document: hd.sr.Comprehensive3DSR) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    (group,) = document.content.get_image_measurement_groups()
    return group


def verdict_of(group: hd.sr.MeasurementsAndQualitativeEvaluations) -> str | None:
    found = [e.value.value for e in group.get_qualitative_evaluations() if e.name.value == "verdict"]
    return found[0] if found else None


def texts_of(dataset: Dataset) -> dict[str, str]:
    """Texts of the content tree by the meaning of their name."""
    found = {}
    for item in dataset.get("ContentSequence", []):
        if item.ValueType == "TEXT":
            found[item.ConceptNameCodeSequence[0].CodeMeaning] = item.TextValue
        found |= texts_of(item)
    return found


def test_the_answer_and_the_correction_are_a_chain(run: Reviewed, tmp_path: Path) -> None:
    answer, correction = reports_of(run.store, run.case, run.study)
    model, reader = (read(d, tmp_path / f"{n}.dcm") for n, d in enumerate((answer, correction)))
    group = group_of(model)
    assert (group.finding_type.value, group.finding_type.scheme_designator) == ("69116000", "SCT")
    assert [m.value for m in group.get_measurements()] == [0.8123, 0.7, 0.6]
    assert {m.name.value for m in group.get_measurements()} == {"122157"}
    assert group.finding_sites[0].value.value == "88556005"
    assert verdict_of(group) is None
    assert model.VerificationFlag == "UNVERIFIED"
    assert "PredecessorDocumentsSequence" not in model
    texts = texts_of(model)
    assert (texts["Algorithm Name"], texts["Algorithm Version"]) == (MODEL, VERSION)

    group = group_of(reader)
    assert group.finding_type.value == "128609009"
    assert group.get_measurements() == []  # the model's probability was of another class
    assert verdict_of(group) == "corrected"
    assert reader.VerificationFlag == "VERIFIED"
    assert str(reader.VerifyingObserverSequence[0].VerifyingObserverName) == "KL^"
    before = reader.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert before.ReferencedSOPInstanceUID == answer.SOPInstanceUID


def test_images_and_frames_are_named(run: Reviewed, tmp_path: Path) -> None:
    uids = [view.source.sop_instance_uid for view in run.study.views]
    whole = group_of(read(report_of(run.store, run.case, run.study), tmp_path / "1"))
    assert [image.referenced_sop_instance_uid for image in whole.source_images] == uids
    assert [image.referenced_frame_numbers for image in whole.source_images] == [None, None]
    some = report_of(run.store, run.case, run.study, frames={0: [3, 0]})
    named = group_of(read(some, tmp_path / "2"))
    assert [image.referenced_frame_numbers for image in named.source_images] == [[1, 4], None]
    evidence = some.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert {i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence} == set(uids)


@pytest.mark.parametrize(
    ("label", "verdict", "author", "finding", "verified"),
    [
        ("MMD", "accepted", "KL", "69116000", True),
        ("MMD", "accepted", "", "69116000", False),
        (None, "rejected", "KL", "69116000", False),
        (None, "unsure", "KL", "69116000", False),
    ],
)
def test_every_verdict(
    run: Reviewed, tmp_path: Path, label: str | None, verdict: str, author: str, finding: str, verified: bool
) -> None:
    run.store.add_label(
        run.case, label, verdict, MODEL, author, model_version=VERSION, model_label="MMD", model_score=0.81
    )
    chain = reports_of(run.store, run.case, run.study)
    assert len(chain) == 3
    last = read(chain[-1], tmp_path / "last.dcm")
    group = group_of(last)
    assert (group.finding_type.value, verdict_of(group)) == (finding, verdict)
    assert [m.value for m in group.get_measurements()][0] == 0.81
    assert (last.VerificationFlag == "VERIFIED") is verified
    before = last.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert before.ReferencedSOPInstanceUID == chain[1].SOPInstanceUID


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize("with_identity", [False, True])
def test_the_validator_has_no_complaint(tmp_path: Path, with_identity: bool, simulated: bool) -> None:
    found = reviewed_run(tmp_path / "s", synthetic=simulated)
    for document in reports_of(found.store, found.case, found.study, with_identity=with_identity):
        assert complaints(saved(document, tmp_path / "sr.dcm")) == []
        assert document.SeriesDescription.startswith("SIMULATED") is simulated
        evaluations = group_of(read(document, tmp_path / "sr.dcm")).get_qualitative_evaluations()
        assert any(e.name.value == "simulated" for e in evaluations) is simulated


def test_identity_and_comments_stay_at_home(run: Reviewed, tmp_path: Path) -> None:
    for document in reports_of(run.store, run.case, run.study):
        content = saved(document, tmp_path / "sr.dcm").read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in content]
    named = report_of(run.store, run.case, run.study, with_identity=True)
    assert (named.PatientName, named.PatientID) == ("Zebulon^Anna", "SECRET-77")
    assert b"ask Zebulon" not in saved(named, tmp_path / "named.dcm").read_bytes()


def test_the_same_statements_make_the_same_documents(run: Reviewed, tmp_path: Path) -> None:
    earlier = reports_of(run.store, run.case, run.study)
    (answer,) = run.store.answers(run.case)  # the window saves it again with every verdict
    run.store.add_answer(run.case, MODEL, answer.probabilities, model_version=VERSION)
    run.store.add_label(run.case, "AS", "corrected", MODEL, "MB", model_version=VERSION, model_label="MMD")
    later = reports_of(run.store, run.case, run.study)
    for n, (old, new) in enumerate(zip(earlier, later[:2], strict=True)):
        assert saved(old, tmp_path / f"{n}a").read_bytes() == saved(new, tmp_path / f"{n}b").read_bytes()


def test_a_label_taken_back_is_no_longer_reported(run: Reviewed) -> None:
    run.store.undo(run.store.current_label(run.case))
    (only,) = reports_of(run.store, run.case, run.study)
    assert only.VerificationFlag == "UNVERIFIED"


def test_an_uncertain_answer_names_candidates_and_no_finding(film: Reviewed, tmp_path: Path) -> None:
    chances = {"both": {"MMD": 0.05, "AM": 0.9, "IA": 0.05}}
    film.store.add_answer(film.case, MODEL, chances, unlike_training=True, possible=("AM", "MMD"))
    (document,) = reports_of(film.store, film.case, film.study)
    assert complaints(saved(document, tmp_path / "sr.dcm")) == []
    group = group_of(read(document, tmp_path / "sr.dcm"))
    assert (group.finding_type.scheme_designator, group.finding_type.value) == ("99CLIPMED", "uncertain")
    assert not group.finding_sites
    said = [(e.name.value, e.value.value) for e in group.get_qualitative_evaluations()]
    assert said[:2] == [("candidate", "234142008"), ("candidate", "69116000")]
    assert [m.value for m in group.get_measurements()] == [0.9]
    check_report(document, statements_of(film.store, film.case)[0])


def test_a_label_without_a_model_stands_alone(film: Reviewed, tmp_path: Path) -> None:
    with pytest.raises(ClipmedError, match="no label and no answer"):
        reports_of(film.store, film.case, film.study)
    film.store.add_label(film.case, "my own class", "corrected", author="KL")
    (document,) = reports_of(film.store, film.case, film.study)
    assert complaints(saved(document, tmp_path / "sr.dcm")) == []
    finding = group_of(read(document, tmp_path / "sr.dcm")).finding_type
    assert (finding.scheme_designator, finding.value, finding.meaning) == (
        "99CLIPMED",
        "my-own-class",
        "my own class",
    )


def test_another_statement_is_noticed(run: Reviewed) -> None:
    answer, correction = reports_of(run.store, run.case, run.study)
    said = statements_of(run.store, run.case)
    check_report(answer, said[0])
    check_report(correction, said[1])
    with pytest.raises(ClipmedError, match="finding is '128609009'"):
        check_report(correction, said[0])
