"""The wheel built from the sdist carries manifest and resources, away from the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

PROBE = """
import json, importlib.metadata as md
import napari_clipmed
from napari_clipmed.shipped import resource
from npe2 import PluginManifest
manifest = PluginManifest.from_distribution("napari-clipmed")
print(json.dumps({
    "module": napari_clipmed.__file__,
    "labels": resource("label_sets", "dsa.yaml").read_text(),
    "manifest": manifest.name,
    "widgets": [w.display_name for w in manifest.contributions.widgets or ()],
    "requires": md.distribution("napari-clipmed").requires,
    "licence": md.distribution("napari-clipmed").metadata["License-Expression"],
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Build sdist and wheel, install the wheel into an empty environment, and ask it what it carries."""
    work = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "build", "--no-isolation", "-o", str(work / "dist"), str(REPOSITORY)])
    wheel = next((work / "dist").glob("*.whl"))
    venv.create(work / "env", with_pip=False)
    python = work / "env" / "bin" / "python"
    site = Path(
        _run([str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]).strip()
    )
    _run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)])
    # The dependencies are gigabytes: they are borrowed, behind the environment's own packages.
    (site / "zz_borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    answer = json.loads(_run([str(python), "-c", PROBE], cwd=work))
    assert Path(answer["module"]).is_relative_to(site), "the checkout was imported instead of the wheel"
    return answer


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_carries_the_manifest(installed: dict) -> None:
    assert installed["manifest"] == "napari-clipmed"
    assert {"Study", "Diagnosis", "Segment", "Fine-tune"} <= set(installed["widgets"])


def test_wheel_carries_the_resources(installed: dict) -> None:
    assert "moyamoya" in installed["labels"]


def test_base_install_brings_no_qt_binding_and_torch_has_a_floor_only(installed: dict) -> None:
    requires = [line.replace("'", '"') for line in installed["requires"]]
    base = [line for line in requires if "extra ==" not in line]
    assert not any(name in line.lower() for line in base for name in ("pyqt5", "pyqt6", "pyside", "napari["))
    assert any("pyside6" in line.lower() for line in requires if 'extra == "all"' in line)
    torch = next(line for line in base if line.split(">")[0].strip() == "torch")
    assert "<" not in torch
    assert "==" not in torch
    assert installed["licence"] == "BSD-3-Clause"
