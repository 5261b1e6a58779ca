"""``napari-clipmed finetune`` as the window runs it: a process of its own that talks in JSON lines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from tiny_models import diagnosis_model, labelled_study

from napari_clipmed.models.registry import Registry
from napari_clipmed.records import Store

PROGRAM = "from napari_clipmed.cli import main; main()"
FULL_DISK = """
import errno, os, pathlib
def write_bytes(self, content):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
pathlib.Path.write_bytes = write_bytes
"""


@pytest.fixture
def workspace() -> Iterator[Path]:
    """A workspace with six labelled studies and a tiny model, where other accounts can reach it."""
    place = Path(tempfile.mkdtemp(prefix="clipmed-test-"))
    place.chmod(0o755)
    with Store.open(place / "workspace") as store:
        for label in range(3):
            for n in range(2):
                labelled_study(store, label, f"P{label}-{n}", 10 * label + n)
        diagnosis_model(store.workspace.models)
    yield place / "workspace"
    shutil.rmtree(place)


def command(workspace: Path, *options: str, program: str = PROGRAM) -> list[str]:
    wanted = [
        "--workspace",
        str(workspace),
        "--task",
        "diagnosis",
        "--base",
        "tiny-dsa",
        "--progress",
        "json",
    ]
    return [sys.executable, "-c", program, "finetune", *wanted, *options]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def events_of(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def models_of(workspace: Path) -> list[str]:
    registry = Registry([workspace / "models"])
    assert registry.problems() == []
    return [entry.id for entry in registry.list()]


def state_of(workspace: Path) -> tuple[Any, ...]:
    """Everything that a cancelled or failed round must leave as it was."""
    with Store.open(workspace, read_only=True) as store:
        revisions = [store.revisions(case.id) for case in store.cases()]
        return models_of(workspace), revisions, store.split_roles("diagnosis")


def test_a_round_tells_its_story_in_json_lines(workspace: Path) -> None:
    done = subprocess.run(
        command(workspace, "--seed", "1"), capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 0, done.stderr
    events = events_of(done.stdout)
    kinds = [event["event"] for event in events]
    assert kinds.index("plan") < kinds.index("epoch")
    assert kinds[-1] == "done"
    assert set(kinds) == {"plan", "step", "epoch", "done"}
    plan = events[kinds.index("plan")]
    assert plan["base"] == "tiny-dsa"
    assert plan["training_patients"] + plan["validation_patients"] == 6
    epochs = [event for event in events if event["event"] == "epoch"]
    assert {"epoch", "epochs", "train_loss", "val_loss", "metric", "eta_s"} <= epochs[0].keys()
    assert [event["epoch"] for event in epochs] == list(range(1, len(epochs) + 1))
    assert models_of(workspace) == sorted(["tiny-dsa", events[-1]["model_id"]])
    assert events[-1]["after"]["loss"] < events[-1]["before"]["loss"]
    assert (workspace / "runs" / events[-1]["run"] / "report.html").is_file()
    assert events[-1]["message"].startswith(("It improved", "It did not improve"))


@pytest.mark.skipif(os.name != "posix", reason="Windows has no polite kill")
def test_terminated_it_leaves_everything_as_it_was(workspace: Path) -> None:
    before = state_of(workspace)
    with subprocess.Popen(
        command(workspace, "--strategy", "full", "--epochs", "5000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "epoch":
                break
        process.send_signal(signal.SIGTERM)
        rest, complaints = process.communicate(timeout=120)
    assert process.returncode == 130, complaints
    assert events_of(rest)[-1]["event"] == "cancelled"
    assert "Traceback" not in complaints
    assert state_of(workspace) == before


def run_models(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    said = [sys.executable, "-c", PROGRAM, "models", *arguments, "--workspace", str(workspace)]
    home = environment(CLIPMED_HOME=str(workspace.parent / "home"))
    return subprocess.run(said, capture_output=True, text=True, check=False, env=home)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
def test_killed_it_goes_on_and_a_person_compares_promotes_and_goes_back(workspace: Path) -> None:
    before = state_of(workspace)
    with subprocess.Popen(
        command(workspace, "--strategy", "full", "--epochs", "20"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("epoch") == 2:
                break
        process.kill()
        process.communicate(timeout=120)
    assert state_of(workspace) == before
    (run,) = (workspace / "runs").iterdir()
    done = subprocess.run(
        command(workspace, "--resume", run.name),
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    events = events_of(done.stdout)
    assert next(event["epoch"] for event in events if event["event"] == "epoch") >= 3
    model = events[-1]["model_id"]

    page = workspace.parent / "page.html"
    compared = run_models(workspace, "compare", "tiny-dsa", model, "--out", str(page), "--json")
    assert compared.returncode == 0, compared.stderr
    assert json.loads(compared.stdout)["figures"].keys() == {"macro_f1", "accuracy"}
    assert page.is_file()
    promoted = run_models(workspace, "promote", model, "--reason", "For the test")
    assert promoted.returncode == 0, promoted.stderr
    assert Registry([workspace / "models"]).default("diagnosis").id == model
    back = run_models(workspace, "rollback", "diagnosis", "--to", "tiny-dsa")
    assert back.returncode == 0, back.stderr
    assert Registry([workspace / "models"]).default("diagnosis").id == "tiny-dsa"


def test_the_plan_tells_what_is_needed_and_writes_nothing(workspace: Path) -> None:
    before = state_of(workspace)
    done = subprocess.run(
        command(workspace, "--plan-only"), capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 0, done.stderr
    plan, needs = [e for e in events_of(done.stdout) if e["event"] in ("plan", "needs")]
    assert plan["validation_fingerprint"]
    assert needs["seconds"] > 0
    assert needs["memory_bytes"] > 0
    assert state_of(workspace) == before


def test_a_full_disk_is_one_sentence(workspace: Path, tmp_path: Path) -> None:
    before = state_of(workspace)
    (tmp_path / "sitecustomize.py").write_text(FULL_DISK)
    done = subprocess.run(
        command(workspace, "--epochs", "1"),
        capture_output=True,
        text=True,
        check=False,
        env=environment(PYTHONPATH=str(tmp_path)),
    )
    assert done.returncode == 1, done.stderr
    last = events_of(done.stdout)[-1]
    assert last["event"] == "error"
    assert "full" in last["message"] or "space" in last["message"]
    assert "Traceback" not in done.stderr
    assert state_of(workspace)[:2] == before[:2]


def test_what_cannot_start_says_so_at_once(workspace: Path, tmp_path: Path) -> None:
    nowhere = [command(tmp_path / "nothing"), command(workspace, "--base", "no-such-model")]
    for wrong, sentence in zip(nowhere, ("There is no workspace", "There is no model"), strict=True):
        done = subprocess.run(wrong, capture_output=True, text=True, check=False, env=environment())
        assert done.returncode == 1, done.stderr
        assert sentence in events_of(done.stdout)[-1]["message"]
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "nothing").exists()


@pytest.mark.skipif(os.name != "posix", reason="folders without write access are made by chmod")
def test_a_read_only_workspace_is_one_sentence(workspace: Path) -> None:
    before = state_of(workspace)
    guest = "import os\nif os.geteuid() == 0:\n    os.setgid(65534)\n    os.setuid(65534)\n"
    # All is imported first: the guest may not be allowed to read the interpreter's own folder.
    preload = f"""
import pathlib, tempfile
from napari_clipmed.models.registry import default_registry
from napari_clipmed.records import Store
import napari_clipmed.cli, napari_clipmed.training.finetune_plan
for name in napari_clipmed.cli._app.COMMAND_MODULES:
    __import__(f"napari_clipmed.cli.{{name}}")
default_registry(pathlib.Path({str(workspace)!r})).list()
Store.open({str(workspace)!r}, read_only=True).close()
tempfile.gettempdir()
"""
    program = preload + guest + PROGRAM
    everything = [workspace, *workspace.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    home = environment(CLIPMED_HOME=str(workspace.parent / "home"))
    done = subprocess.run(
        command(workspace, program=program), capture_output=True, text=True, check=False, env=home
    )
    for path in everything:
        path.chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in events_of(done.stdout)[-1]["message"]
    assert "Traceback" not in done.stderr
    assert state_of(workspace) == before
