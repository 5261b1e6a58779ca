"""No window of a test reads or writes the person's own preferences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


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
