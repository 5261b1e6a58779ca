"""The results file: always readable, never twice, never naming a patient."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from napari_clipmed.batch.results import ResultsFile, read_results
from napari_clipmed.errors import ClipmedError


def record(key: str, status: str = "ok") -> dict:
    return {
        "number": 1,
        "status": status,
        "key": key,
        "input": ["/data/Zebulon/run.dcm"],
        "probabilities": {"both": {"MMD": 0.75, "IA": 0.25}},
        "notes": ["one", "two"],
        "error": "/data/Zebulon/run.dcm is empty." if status == "failed" else "",
    }


@pytest.fixture(params=["r.jsonl", "r.parquet"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / request.param


def test_a_later_run_goes_on_and_tries_failures_again(path: Path) -> None:
    with ResultsFile(path) as results:
        results.append(record("a"))
        results.append(record("b", "failed"))
    with pytest.raises(ClipmedError, match="exists already"):
        ResultsFile(path)
    with ResultsFile(path, resume=True) as results:
        assert results.done == {"a"}
        results.append(record("b"))
    assert [(row["key"], row["status"]) for row in read_results(path)] == [("a", "ok"), ("b", "ok")]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_source_names_are_kept_on_request_only(path: Path) -> None:
    with ResultsFile(path) as results:
        results.append(record("a", "failed"))
    assert b"Zebulon" not in path.read_bytes()
    with ResultsFile(path, replace=True, with_paths=True) as results:
        results.append(record("a", "failed"))
    assert "Zebulon" in json.dumps(read_results(path))


def test_a_killed_run_leaves_a_readable_file(path: Path) -> None:
    results = ResultsFile(path)
    results.append(record("a"))
    with results.journal.open("a") as stream:
        stream.write('{"number": 2, "sta')  # killed in the middle of a line
    assert [row["key"] for row in read_results(path)] == ["a"]
    with ResultsFile(path, resume=True) as again:
        again.append(record("c"))
    assert [row["key"] for row in read_results(path)] == ["a", "c"]


def test_parquet_has_a_column_a_probability(tmp_path: Path) -> None:
    with ResultsFile(tmp_path / "r.parquet") as results:
        results.append(record("a"))
    table = parquet.read_table(tmp_path / "r.parquet")
    assert table.column("probabilities.both.MMD").to_pylist() == [0.75]
    assert table.column("notes").to_pylist() == ['["one", "two"]']


def test_what_is_no_results_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClipmedError, match="jsonl"):
        ResultsFile(tmp_path / "r.csv")
    for name in ("r.jsonl", "r.parquet"):
        (tmp_path / name).write_text("a poem\nof two lines\n")
        with pytest.raises(ClipmedError, match="no "):
            ResultsFile(tmp_path / name, resume=True)
