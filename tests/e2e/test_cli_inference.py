"""The command line from files on disk to files on disk, in process, with tiny models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from small_models import add_diagnosis_model, add_segmentation_model  # noqa: E402
from small_studies import bolus  # noqa: E402

from napari_clipmed.cli import _app, _checks  # noqa: E402
from napari_clipmed.io.dicom_write import Uids, write_dx, write_xa  # noqa: E402
from napari_clipmed.models.registry import Registry  # noqa: E402
from napari_clipmed.study import PatientIdentity  # noqa: E402

PATIENT = PatientIdentity(name="Doe^Jane", patient_id="SECRET-77")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny_models")
    registry = Registry([root])
    add_diagnosis_model(registry)
    add_segmentation_model(registry)
    return root


@pytest.fixture(autouse=True)
def installed(tiny_models: Path, clipmed_home: Path) -> Path:
    shutil.copytree(tiny_models, clipmed_home / "models")
    return clipmed_home


def biplane(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """A biplane run whose two files name each other."""
    folder.mkdir(parents=True, exist_ok=True)
    ap, la = Uids(), Uids()
    la = Uids(study=ap.study, series=ap.series) if hasattr(ap, "study") else la
    files = (folder / "a.dcm", folder / "b.dcm")
    for file, own, other, plane, angle in zip(
        files, (ap, la), (la, ap), ("BIPLANE A", "BIPLANE B"), (0.0, 90.0), strict=True
    ):
        write_xa(
            file, bolus(12, seed=seed + int(angle)), timing_ms=250.0, angles=(angle, 0.0), uids=own,
            patient=PATIENT, plane=plane, partner_sop=other.sop, synthetic=True,
        )  # fmt: skip
    return files


def film(path: Path) -> Path:
    write_dx(path, bolus(1, 100, 120)[0], patient=PATIENT)
    return path


def test_two_planes_given_as_files_are_one_study_with_an_overlay(call: Any, tmp_path: Path) -> None:
    files = biplane(tmp_path / "study")
    code, out, err = call(
        "classify", *files, "--model", "tiny-dsa", "--out", "answers", "--json", "--cam-mask", "0.5"
    )
    assert code == 0, err
    answer = json.loads(out)
    assert len(answer["studies"]) == 1
    study = answer["studies"][0]
    for found in study["cam_masks"].values():
        mask = np.array(Image.open(Path("answers") / found["file"]))
        assert set(np.unique(mask)) <= {0, 255}
        assert int((mask > 0).sum()) == found["pixels"]
    assert max(found["pixels"] for found in study["cam_masks"].values()) > 0  # the decisive frame is hot
    assert set(study["probabilities"]) == {"AP", "LA", "both"}
    assert sum(study["probabilities"]["both"].values()) == pytest.approx(1)
    assert study["synthetic"] is True
    assert (
        study["uncertain"] is True and study["uncertain_because"]
    )  # an untrained network is sure of nothing
    assert study["headline"].startswith("Uncertain: ") and len(study["candidates"]) >= 2
    assert study["candidates"][0] == study["predicted"] and study["possible"] is None
    assert set(study["saliency"]["decisive_frame_number"]) == {"AP", "LA"}
    with Image.open(tmp_path / "answers" / study["overlay"]) as picture:
        assert picture.width > 1000
    stored = (tmp_path / "answers" / study["file"]).read_text()
    assert json.loads(stored)["predicted"] == study["predicted"]
    assert "Doe" not in stored + out
    assert "SECRET" not in stored + out


def test_a_bad_file_never_stops_the_rest(call: Any, tmp_path: Path) -> None:
    files = biplane(tmp_path / "study")
    bad = tmp_path / "poem.dcm"
    bad.write_text("Shall I compare thee to a summer's day?")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(files[0].read_bytes()[:400])
    code, out, _ = call(
        "classify", bad, tmp_path / "missing.dcm", cut, tmp_path / "study", "--model", "tiny-dsa",
        "--explain", "none", "--json",
    )  # fmt: skip
    assert code == 1
    answer = json.loads(out)
    assert [s["status"] for s in answer["studies"]] == ["failed", "failed", "failed", "ok"]
    assert answer["failed"] == 3
    assert all(len(s["error"]) > 10 and "Traceback" not in s["error"] for s in answer["studies"][:3])
    assert answer["studies"][3]["saliency"] is None


def test_a_folder_gives_all_its_studies_and_people_get_tables(call: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        biplane(tmp_path / "all" / name, seed=len(name))
    film(tmp_path / "all" / "film.dcm")
    code, out, err = call("classify", tmp_path / "all", "--explain", "layercam")
    assert code == 0, err
    assert "3 answered by" in out
    assert "0 failed" in out
    assert "not for diagnosis" in out
    assert "chest film" in out, "the film is flagged"
    film_rows = out[out.index("film.dcm") :].splitlines()
    assert film_rows[1].startswith("Uncertain: ") and " or " in film_rows[1]
    assert "unlike what the model learned from" in film_rows[2]
    assert len(list((tmp_path / "clipmed-classified").glob("*-layercam.png"))) == 3
    assert "Doe" not in out + err


def test_wrong_words_are_sentences(call: Any, tmp_path: Path) -> None:
    files = biplane(tmp_path / "study")
    code, _, err = call("classify", files[0], "--explain", "magic")
    assert (code, "no saliency method" in err) == (1, True)
    code, _, err = call("classify", files[0], "--model", "nobody")
    assert (code, "Models here:" in err) == (1, True)
    code, _, err = call("classify", files[0], "--workspace", tmp_path / "nowhere")
    assert (code, "no workspace folder" in err) == (1, True)
    (tmp_path / "file").write_text("in the way")
    code, _, err = call("classify", files[0], "--out", tmp_path / "file" / "x")
    assert (code, "could be written" in err) == (1, True)
    code, _, _ = call("classify")
    assert code == 2


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_a_sentence_becomes_a_mask_file(call: Any, tmp_path: Path, suffix: str) -> None:
    image = film(tmp_path / "film.dcm")
    out = tmp_path / "masks" / f"mask{suffix}"
    code, printed, err = call(
        "segment", image, "--prompt", "lower left lung", "--out", out, "--model", "tiny-seg",
        "--convention", "patient", "--threshold", 0.5, "--json",
    )  # fmt: skip
    assert code == 0, err
    if suffix == ".npy":
        mask = np.load(out)
    elif suffix == ".tif":
        import tifffile

        mask = tifffile.imread(out) > 0
    else:
        mask = np.asarray(Image.open(out)) > 0
    assert mask.shape == (100, 120)
    details = json.loads(out.with_suffix(".json").read_text())
    assert details["pixels"] == mask.sum()
    assert "right lung" in details["read_as"]
    assert details["convention"] == "patient"
    assert json.loads(printed)["out"] == str(out)
    assert "SECRET" not in out.with_suffix(".json").read_text()


def test_several_sentences_become_one_label_image(call: Any, tmp_path: Path) -> None:
    image, out = film(tmp_path / "film.dcm"), tmp_path / "labels.png"
    sentences = ("lower left lung", "upper right lung", "both lungs")
    asked = [part for text in sentences for part in ("--prompt", text)]
    code, printed, err = call("segment", image, *asked, "--out", out, "--threshold", 0.01, "--json")
    assert code == 0, err
    values = np.asarray(Image.open(out))
    assert values.shape == (100, 120)
    assert values.max() <= 3
    assert len(np.unique(values)) > 1
    labels = json.loads(out.with_suffix(".json").read_text())["labels"]
    assert [(label["value"], label["prompt"]) for label in labels] == list(enumerate(sentences, start=1))
    assert json.loads(printed)["out"] == str(out)
    second = film(tmp_path / "second.dcm")
    code, _, err = call("segment", image, second, *asked, "--out", tmp_path / "folder")
    assert (code, "one sentence" in err) == (1, True)


def test_a_mask_that_is_not_what_its_sentence_says_is_pointed_out(call: Any, tmp_path: Path) -> None:
    image = film(tmp_path / "film.dcm")
    typed = "nine infected areas, lower left lung"
    asked = ("segment", image, "--prompt", typed, "--out", "m.png", "--model", "tiny-seg", "--threshold", 0)
    code, printed, err = call(*asked, "--json")
    assert code == 0, err
    said = json.loads(printed)["contradictions"]
    assert said == json.loads((tmp_path / "m.json").read_text())["contradictions"]
    assert "but 50 % of the mask lies on the right of the picture" in said[0]
    assert said[1] == "The sentence names nine areas, the mask has one area."
    code, printed, err = call(*asked)
    assert printed.count("Mask and sentence disagree") == 2


def test_segmenting_a_frame_of_a_run_with_an_outline(call: Any, tmp_path: Path) -> None:
    run, _ = biplane(tmp_path / "study")
    code, out, err = call(
        "segment", run, "--prompt", "left lung", "--out", "m.png", "--frame", 12, "--overlay", "o.png"
    )
    assert code == 0, err
    assert "angiogram" in out
    assert np.asarray(Image.open("o.png")).shape == (80, 80, 3)
    code, _, err = call("segment", run, "--prompt", "left lung", "--out", "m.png", "--frame", 13)
    assert (code, "no frame 13" in err) == (1, True)


def test_prompts_and_formats_that_cannot_be_used_are_sentences(call: Any, tmp_path: Path) -> None:
    image = film(tmp_path / "film.dcm")
    code, _, err = call("segment", image, "--prompt", "  ", "--out", "m.png")
    assert (code, "empty" in err) == (1, True)
    code, _, err = call("segment", image, "--prompt", "left lung", "--out", "m.bmp")
    assert (code, ".png" in err) == (1, True)
    code, _, err = call("segment", tmp_path / "none.dcm", "--prompt", "left lung", "--out", "m.png")
    assert code == 1
    assert not (tmp_path / "m.png").exists()


def test_models_travel(call: Any, tmp_path: Path, installed: Path) -> None:
    code, out, _ = call("models", "list", "--json")
    assert code == 0
    listed = {row["id"]: row for row in json.loads(out)["models"]}
    assert {"tiny-dsa", "tiny-seg"} <= set(listed)
    code, out, _ = call("models", "show", "tiny-dsa")
    assert (code, "Knows nothing." in out, "val.auc_ovr" in out) == (0, True, True)
    assert call("models", "export", "tiny-seg", tmp_path / "stick")[0] == 0
    shutil.rmtree(installed / "models" / "tiny-seg")
    code, out, err = call("models", "import", tmp_path / "stick" / "tiny-seg")
    assert code == 0, err
    assert (installed / "models" / "tiny-seg" / "model.safetensors").is_file()
    assert call("models", "use", "tiny-seg")[0] == 0
    code, out, _ = call("models", "list")
    assert code == 0
    assert "tiny-seg" in out


@pytest.fixture
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening Qt takes seconds and is tried in one test only."""
    monkeypatch.setattr(
        _checks, "check_window", lambda: _checks.Check("window", _checks.State.OK, "not tried")
    )


def test_an_altered_model_is_refused_and_the_doctor_sees_it(
    call: Any, tmp_path: Path, installed: Path, no_window: None
) -> None:
    weights = installed / "models" / "tiny-dsa" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 255
    weights.write_bytes(data)
    code, _, err = call("classify", biplane(tmp_path / "study")[0], "--model", "tiny-dsa")
    assert code == 1
    assert "altered or damaged" in err
    code, out, _ = call("doctor", "--json")
    models = next(check for check in json.loads(out)["checks"] if check["name"] == "models")
    assert models["state"] in ("warn", "fail")
    assert "altered" in models["detail"]
    assert models["fix"]


def test_the_doctor_names_what_there_is(call: Any) -> None:
    code, out, _ = call("doctor", "--json")
    report = json.loads(out)
    checks = {check["name"]: check for check in report["checks"]}
    assert set(checks) == {"packages", "device", "decoders", "models", "folder", "window"}
    assert code == (0 if report["ok"] else 1)
    assert checks["folder"]["state"] != "fail"
    assert "JPEG lossless" in checks["decoders"]["detail"]
    assert all(check["fix"] for check in checks.values() if check["state"] != "ok")


def test_the_doctor_speaks_to_people(call: Any, no_window: None) -> None:
    _, out, _ = call("doctor")
    assert "decoders" in out
    assert "tiny-dsa" in out


def test_help_answers_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['napari-clipmed', 'classify', '--help']\n"
        "from napari_clipmed.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert 'torch' not in sys.modules and 'napari' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "bad file" in shown.stdout or "cannot be read" in shown.stdout


def test_all_commands_are_there() -> None:
    for name in _app.COMMAND_MODULES:
        import_module(f"napari_clipmed.cli.{name}")
    names = {command.name or command.callback.__name__ for command in _app.app.registered_commands}
    groups = {group.name or group.typer_instance.info.name for group in _app.app.registered_groups}
    assert {"classify", "segment", "doctor"} <= names
    assert "models" in groups
