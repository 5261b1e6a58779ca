"""Whole folders: resumed, broken, and on a cluster of which a worker dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from small_models import add_diagnosis_model, add_segmentation_model  # noqa: E402
from small_studies import bolus  # noqa: E402

from napari_clipmed.batch.results import read_results  # noqa: E402
from napari_clipmed.io.dicom_write import write_dx, write_xa  # noqa: E402
from napari_clipmed.models.registry import Registry  # noqa: E402
from napari_clipmed.study import PatientIdentity  # noqa: E402


@pytest.fixture(autouse=True)
def installed(clipmed_home: Path) -> Path:
    registry = Registry([clipmed_home / "models"])
    add_diagnosis_model(registry)
    add_segmentation_model(registry)
    return clipmed_home


def runs(folder: Path, count: int, frames: int = 6) -> Path:
    """A folder of single-plane runs and one file that is no image."""
    folder.mkdir(parents=True, exist_ok=True)
    who = PatientIdentity(name="Zebulon^Anna")
    for number in range(count):
        path = folder / f"Zebulon-{number}.dcm"
        write_xa(path, bolus(frames, seed=number), timing_ms=250.0, angles=(0, 0), patient=who)
    return folder


def classify(call: Any, *words: object) -> dict:
    code, out, err = call("classify", *words, "--model", "tiny-dsa", "--explain", "none", "--json")
    assert code in (0, 1), err
    return json.loads(out)


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.parquet"])
def test_a_folder_is_answered_once_and_resumed(call: Any, tmp_path: Path, name: str) -> None:
    folder = runs(tmp_path / "in", 4)
    bad = tmp_path / "bad.dcm"
    bad.write_text("no image")
    first = classify(call, folder / "Zebulon-0.dcm", bad, "--results", name)
    assert (len(first["studies"]), first["failed"], first["skipped"]) == (2, 1, 0)
    second = classify(call, folder, "--results", name, "--resume")
    assert (len(second["studies"]), second["failed"], second["skipped"]) == (3, 0, 1)
    rows = read_results(tmp_path / name)
    assert len({row["key"] for row in rows}) == len(rows) == 4
    assert {row["status"] for row in rows} == {"ok"}
    assert "Zebulon" not in json.dumps(rows)
    shutil.move(str(folder), tmp_path / "elsewhere")
    third = classify(call, tmp_path / "elsewhere", "--results", name, "--resume")
    assert (third["studies"], third["skipped"]) == ([], 4)


def test_the_pipeline_is_timed_against_the_loop(call: Any, tmp_path: Path) -> None:
    found = classify(call, runs(tmp_path / "in", 2), "--measure")
    assert found["cases"] == 2
    assert len(found["rounds"]["streamed"]) == len(found["rounds"]["one_after_another"]) == 3
    assert found["ratio"] == pytest.approx(found["baseline_seconds"] / found["seconds"])
    assert not (tmp_path / "clipmed-classified").exists()


def test_frames_count_from_one_in_everything_that_is_read(call: Any, tmp_path: Path) -> None:
    folder = runs(tmp_path / "in", 1)
    code, out, err = call("classify", folder, "--model", "tiny-dsa", "--json")
    assert code == 0, err
    (study,) = json.loads(out)["studies"]
    numbers = study["attention"]["AP"]["frame_numbers"]
    assert (min(numbers), max(numbers)) == (1, 6)
    assert study["saliency"]["decisive_frame_number"]["AP"] in numbers


def test_a_folder_of_films_gets_masks(call: Any, tmp_path: Path) -> None:
    for number in range(3):
        write_dx(_in(tmp_path) / f"film{number}.dcm", bolus(1, 60, 70, seed=number)[0], synthetic=True)
    (tmp_path / "in" / "empty.dcm").write_bytes(b"\0" * 128 + b"DICM")
    code, out, err = call(
        "segment", tmp_path / "in", "--prompt", "left lung", "--out", "masks", "--results", "m.jsonl"
    )
    assert code == 0, err
    assert "3 masks, 0 failed" in out
    assert "SIMULATED" in out
    assert len(list((tmp_path / "masks").glob("*-mask.png"))) == 3
    rows = read_results(tmp_path / "m.jsonl")
    assert [row["frame_number"] for row in rows] == [1, 1, 1]
    code, out, _ = call(
        "segment",
        tmp_path / "in",
        "--prompt",
        "right lung",
        "--out",
        "masks",
        "--results",
        "m.jsonl",
        "--resume",
    )
    assert "3 masks, 0 failed" in out, "another sentence is another question"


def _in(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir(exist_ok=True)
    return tmp_path / "in"


def test_a_killed_run_leaves_lines_that_a_later_one_goes_on_from(call: Any, tmp_path: Path) -> None:
    folder = runs(tmp_path / "in", 16)
    command = [sys.executable, "-m", "napari_clipmed.cli", "classify", str(folder), "--model", "tiny-dsa"]
    process = subprocess.Popen(
        [*command, "--explain", "none", "--results", "r.jsonl"],
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "r.jsonl").exists() or not (tmp_path / "r.jsonl").read_text().count("\n"):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = read_results(tmp_path / "r.jsonl")
    assert before
    answer = classify(call, folder, "--results", "r.jsonl", "--resume")
    assert answer["skipped"] == len(before)
    assert len({row["key"] for row in read_results(tmp_path / "r.jsonl")}) == 16


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    """A scheduler and two workers, each a process of its own."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        local_directory=str(tmp_path / "dask"),
        silence_logs=50,
    ) as started:
        yield started


def test_a_worker_that_dies_costs_nothing(call: Any, tmp_path: Path, cluster: Any) -> None:
    count = 12
    folder = runs(tmp_path / "in", count)
    (tmp_path / "in" / "cut.dcm").write_bytes((folder / "Zebulon-0.dcm").read_bytes()[:700])
    results = tmp_path / "r.jsonl"
    victim = next(iter(cluster.workers.values())).pid
    killed_at = []

    def kill_one() -> None:
        while not results.exists() or results.read_text().count("\n") < 2:
            time.sleep(0.01)
        killed_at.append(results.read_text().count("\n"))
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    answer = classify(
        call, folder, "--results", results, "--scheduler", cluster.scheduler_address, "--device", "cpu"
    )
    killer.join(30)
    assert killed_at, "no worker was killed"
    assert killed_at[0] < count, "the batch was over before a worker died"
    ok = [study for study in answer["studies"] if study["status"] == "ok"]
    assert len(ok) == count
    assert len({study["key"] for study in ok}) == count
    rows = read_results(results)
    assert sorted(row["number"] for row in rows) == sorted(study["number"] for study in answer["studies"])
    again = classify(call, folder, "--results", results, "--resume", "--scheduler", cluster.scheduler_address)
    assert again["skipped"] == count


def test_a_cluster_that_is_not_there_is_a_sentence(call: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("napari_clipmed.batch.cluster.CONNECT_SECONDS", 0.3)
    folder = runs(tmp_path / "in", 1)
    code, _, err = call("classify", folder, "--model", "tiny-dsa", "--scheduler", "tcp://127.0.0.1:9")
    assert (code, "No Dask scheduler answers" in err) == (1, True)
