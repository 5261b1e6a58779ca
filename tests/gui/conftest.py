"""No window of a test reads or writes the person's own preferences, or collects the garbage of libraries."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import IO, Any

import pytest
from npe2.manifest import _bases


@pytest.fixture(autouse=True)
def own_preferences(clipmed_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin's preferences at their defaults, kept in the test's own folder."""
    from napari import settings

    from napari_clipmed.gui import settings as own

    settings._clear_plugin_settings_cache()
    monkeypatch.setattr(settings, "_CFG_PATH", str(clipmed_home / "settings.yaml"))
    monkeypatch.setattr(own, "_unknown_to_napari", {})
    yield
    settings._clear_plugin_settings_cache()


@pytest.fixture(autouse=True)
def libraries_left_out() -> None:
    """napari collects garbage with each layer that goes; closing a window shows it everything again."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def manifests_read_once() -> Iterator[None]:
    """Every window of a test looks for plugins anew, and most of that is PyYAML on the same few manifests."""
    read, known = _bases._load_yaml_no_duplicates, {}

    def load(stream: IO[str]) -> Any:
        text = stream.read()
        if text not in known:
            known[text] = read(text)
        return deepcopy(known[text])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_bases, "_load_yaml_no_duplicates", load)
        yield
