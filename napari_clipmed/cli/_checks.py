"""What `doctor` looks at. Each check answers in one line, with the exact fix where something is missing.

Nothing here reads studies or records, so that a report can be sent to a stranger.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from napari_clipmed.errors import ClipmedError, ModelError


class State(StrEnum):
    """Verdict of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Parameters
    ----------
    name, detail : str
        What was looked at, and what was found.
    state : State
        "warn": something optional is missing; "fail": a main job will not work.
    fix : str
        What to type or do; empty when all is well.
    """

    name: str
    state: State
    detail: str
    fix: str = ""


PACKAGES = (
    "napari-clipmed", "napari", "torch", "open-clip-torch", "grad-cam", "numpy", "pydicom", "sqlalchemy",
    "lightning", "pyqtgraph", "superqt",
)  # fmt: skip
QT_BINDINGS = ("PySide6", "PySide6-Essentials", "PyQt6", "PyQt5")

WINDOW_TRIAL = """
from qtpy import API_NAME
from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtWidgets import QApplication
application = QApplication([])
surface = QOffscreenSurface()
surface.create()
context = QOpenGLContext()
works = context.create() and context.makeCurrent(surface)
form = context.format()
gl = f"OpenGL {form.majorVersion()}.{form.minorVersion()}" if works else "NO-OPENGL"
print(f"{API_NAME} on {application.platformName()}, {gl}")
"""
"""Opens Qt and an OpenGL context; in a process of its own, because Qt aborts where a library is missing."""


def check_packages() -> Check:
    """Versions of what matters, and whether a Qt binding is there."""
    found = [f"{name} {number}" for name in PACKAGES if (number := _version(name))]
    missing = [name for name in PACKAGES if not _version(name)]
    detail = f"Python {sys.version.split()[0]}, {', '.join(found)}"
    if missing:
        return Check("packages", State.FAIL, f"missing: {', '.join(missing)}", "pip install napari-clipmed")
    if not any(_version(name) for name in QT_BINDINGS):
        return Check("packages", State.WARN, f"{detail}; no Qt binding", 'pip install "napari-clipmed[all]"')
    return Check("packages", State.OK, detail)


def check_device() -> Check:
    """Where models compute, and why; the memory there is."""
    import psutil

    from napari_clipmed.inference.device import available_cores, choose_compute

    compute = choose_compute()
    memory = psutil.virtual_memory()
    detail = (
        f"{compute.device}, {compute.precision}. {compute.reason} {available_cores()} cores, "
        f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB of memory free."
    )
    if memory.available < 2 * 2**30:
        return Check("device", State.WARN, detail, "Close other programs: less than 2 GiB of memory is free.")
    return Check("device", State.OK, detail)


def check_decoders() -> Check:
    """Which DICOM transfer syntaxes can be decoded."""
    from pydicom import uid
    from pydicom.pixels import get_decoder

    import napari_clipmed.io  # noqa: F401  registers its decoders

    wanted = {
        "JPEG baseline": uid.JPEGBaseline8Bit,
        "JPEG extended": uid.JPEGExtended12Bit,
        "JPEG lossless": uid.JPEGLosslessSV1,
        "JPEG-LS": uid.JPEGLSLossless,
        "JPEG 2000": uid.JPEG2000Lossless,
        "HTJ2K": uid.HTJ2KLossless,
        "RLE": uid.RLELossless,
    }
    missing = [name for name, syntax in wanted.items() if not get_decoder(syntax).is_available]
    if missing:
        packages = "imagecodecs pyjpegls pylibjpeg pylibjpeg-openjpeg pylibjpeg-rle"
        return Check("decoders", State.WARN, f"cannot read {', '.join(missing)}", f"pip install {packages}")
    return Check("decoders", State.OK, f"uncompressed, {', '.join(wanted)}")


def check_models(workspace: Path | None) -> Check:
    """Whether the models are there and are what their cards say."""
    from napari_clipmed.models.loading import refuse_unsafe, verify_hash
    from napari_clipmed.models.registry import default_registry

    registry = default_registry(workspace)
    problems, whole = list(registry.problems()), []
    for entry in registry.list():
        try:
            refuse_unsafe(entry.weights)
            verify_hash(entry)
            whole.append(entry)
        except ModelError as problem:
            problems.append(problem.message)
    missing = [t for t in ("diagnosis", "segmentation") if t not in {entry.card.task for entry in whole}]
    detail = ", ".join(f"{entry.id} ({entry.card.task})" for entry in whole) or "none"
    if missing:
        return Check(
            "models",
            State.FAIL,
            "; ".join([f"no whole model for {' and '.join(missing)}", *problems]),
            "napari-clipmed models import FOLDER, or install napari-clipmed again",
        )
    if problems:
        return Check(
            "models", State.WARN, "; ".join([detail, *problems]), "Remove or replace that model folder."
        )
    return Check("models", State.OK, f"{detail}; all hashes right")


def check_window() -> Check:
    """Whether a window with OpenGL can be opened."""
    name = "window"
    if not any(_version(binding) for binding in QT_BINDINGS):
        return Check(name, State.WARN, "no Qt binding is installed", 'pip install "napari-clipmed[all]"')
    command = [sys.executable, "-c", WINDOW_TRIAL]
    where = ""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        if not shutil.which("xvfb-run"):
            fix = "Log in to a desktop, or: sudo apt-get install xvfb"
            return Check(name, State.WARN, "no display here; the command line works without one", fix)
        command = ["xvfb-run", "-a", *command]
        where = "no display here, but off-screen windows work (xvfb-run): "
    try:
        trial = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return Check(
            name, State.WARN, "opening a window took more than a minute", "Check the graphics driver."
        )
    if trial.returncode or "NO-OPENGL" in trial.stdout:
        said = next(
            (line for line in reversed(trial.stderr.splitlines()) if line.strip()), "no OpenGL context"
        )
        fix = "sudo apt-get install libegl1 libgl1 libgl1-mesa-dri libxcb-cursor0 libxkbcommon-x11-0"
        return Check(name, State.WARN, f"a window cannot be opened: {said[:200]}", fix)
    return Check(name, State.OK, where + trial.stdout.strip())


def check_folder(workspace: Path | None) -> Check:
    """Whether models, labels and masks can be saved."""
    from napari_clipmed.models.registry import user_folder

    folder = workspace or user_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"napari-clipmed")
    except OSError as error:
        fix = "Make it writable, or set CLIPMED_HOME to a folder that is."
        return Check("folder", State.FAIL, f"{folder} cannot be written to ({error.strerror})", fix)
    free = shutil.disk_usage(folder).free / 2**30
    detail = f"{folder} is writable, {free:.1f} GiB free"
    if free < 1:
        return Check("folder", State.WARN, detail, "Free some disk space.")
    return Check("folder", State.OK, detail)


def run_checks(workspace: Path | None = None) -> list[Check]:
    """All checks, in the order in which things go wrong; a check that fails itself is a failed check."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("packages", check_packages),
        ("device", check_device),
        ("decoders", check_decoders),
        ("models", lambda: check_models(workspace)),
        ("folder", lambda: check_folder(workspace)),
        ("window", check_window),
    ]
    answers = []
    for name, check in checks:
        try:
            answers.append(check())
        except (ImportError, OSError, ClipmedError) as error:
            fix = "pip install --force-reinstall napari-clipmed"
            answers.append(Check(name, State.FAIL, f"could not be checked: {error}", fix))
    return answers


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
