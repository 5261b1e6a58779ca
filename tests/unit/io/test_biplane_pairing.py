"""The two planes of a biplane run, and the rule that found them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom import Dataset

from napari_clipmed.io.pairing import RunHeader, pair_runs

A = RunHeader(sop="a", study="s", series="x", patient="p", angles=(0, 0), frames=16)
B = RunHeader(sop="b", study="s", series="y", patient="p", angles=(45, 0), frames=16)


def rule(a: RunHeader, b: RunHeader) -> str | None:
    groups = pair_runs([a, b])
    return groups[0][1].value if len(groups) == 1 else None


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"references": ("b",)}, {"references": ("a",)}, "mutual reference"),
        ({"references": ("b",)}, {}, None),
        ({"plane": "A", "seconds": 10}, {"plane": "B", "seconds": 10.9}, "biplane at the same time"),
        ({"plane": "A", "seconds": 10}, {"plane": "B", "seconds": 11.1}, None),
        ({"plane": "A", "seconds": 10}, {"plane": "A", "seconds": 10}, None),
        ({"plane": "A", "seconds": 10, "date": "1"}, {"plane": "B", "seconds": 10, "date": "2"}, None),
        ({"instance": 3}, {"instance": 3, "series": "x"}, "same instance number"),
        ({"instance": 3}, {"instance": 3}, None),
        ({"instance": None}, {"instance": None, "series": "x"}, None),
        ({}, {"angles": (90, 0)}, "angles"),
        ({}, {"angles": (59, 0)}, None),
        ({}, {"angles": (121, 0)}, None),
        ({}, {"angles": (90, 0), "frames": 15}, None),
        ({}, {"angles": None}, None),
    ],
)
def test_rules(a, b, expected) -> None:
    assert rule(replace(A, **a), replace(B, **b)) == expected


@pytest.mark.parametrize("stranger", [{"study": "t"}, {"patient": "q"}, {"study": "t", "patient": "q"}])
def test_patients_and_studies_are_never_mixed(stranger) -> None:
    a = replace(A, references=("b",), plane="A", seconds=1, instance=1)
    b = replace(
        B, references=("a",), plane="B", seconds=1, instance=1, series="x", angles=(90, 0), **stranger
    )
    assert rule(a, b) is None


def test_without_study_uid_nothing_is_paired() -> None:
    assert rule(replace(A, study="", references=("b",)), replace(B, study="", references=("a",))) is None


def test_enhanced_planes_are_paired_by_their_identification_and_time() -> None:
    def plane(letter: str, moment: str) -> RunHeader:
        header = Dataset()
        header.SOPInstanceUID, header.StudyInstanceUID, header.PatientID = letter, "s", "p"
        header.PlaneIdentification, header.AcquisitionDateTime = f"PLANE {letter}", moment
        return RunHeader.of(header)

    a, b = plane("A", "20260101101010.5-0500"), plane("B", "20260101101011.2-0500")
    assert rule(a, b) == "biplane at the same time"
    assert rule(a, plane("B", "20260101101013-0500")) is None
    assert rule(a, plane("B", "20260102101010.5-0500")) is None


def test_the_trusted_rule_goes_first() -> None:
    """By angles a fits both; it belongs to the one that it names."""
    a = replace(A, references=("c",))
    b = replace(B, angles=(90, 0))
    c = replace(B, sop="c", angles=(90, 0), references=("a",))
    assert [(indices, guess and guess.value) for indices, guess in pair_runs([a, b, c])] == [
        ((0, 2), "mutual reference"),
        ((1,), None),
    ]


def test_a_pair_by_angles_asks_for_a_look() -> None:
    ((_, guess),) = pair_runs([A, replace(B, angles=(90, 0))])
    assert "please check" in guess.reason and "90°" in guess.reason
