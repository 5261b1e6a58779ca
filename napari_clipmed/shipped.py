"""Where the shipped data lie, from a wheel, an editable install or a checkout alike."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def resource(*parts: str) -> Path:
    """Path of a file or folder under `resources/`.

    Parameters
    ----------
    *parts : str
        Path components, for example ``resource("label_sets", "dsa.yaml")``.

    Raises
    ------
    FileNotFoundError
        When nothing of that name is shipped.
    """
    path = Path(str(files("napari_clipmed"))) / "resources" / Path(*parts)
    if not path.exists():
        raise FileNotFoundError(f"No shipped resource {'/'.join(parts)!r}")
    return path
