"""What npe2 and napari learn of the plugin, and that learning it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import pytest
from npe2 import PluginManifest

from napari_clipmed.gui.commands import DOCKS
from napari_clipmed.gui.samples import SAMPLES
from napari_clipmed.gui.settings import Settings


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("napari-clipmed")


def test_every_command_can_be_imported(manifest):
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(import_module(module), name)), command.id


def test_docks_are_tabs_on_the_right(manifest):
    assert tuple(widget.display_name for widget in manifest.contributions.widgets) == DOCKS
    assert all(w.tabify and w.default_dock_area == "right" for w in manifest.contributions.widgets)


def test_there_is_a_sample_of_each_kind(manifest):
    assert len(manifest.contributions.sample_data) == len(SAMPLES)


def test_menus_reach_the_docks(manifest):
    menus = manifest.contributions.menus
    known = {command.id for command in manifest.contributions.commands}
    assert {"napari/file/io_utilities", "napari/layers/classify", "napari/layers/segment"} <= set(menus)
    assert {item.command for items in menus.values() for item in items} <= known


def test_preferences_and_their_fallback_agree(manifest):
    offered = {
        key: setting.default
        for group in manifest.contributions.configurations.values()
        for key, setting in group.properties.items()
    }
    assert offered == {field.name: field.default for field in fields(Settings)}


def test_activation_imports_neither_torch_nor_open_clip():
    modules = "napari_clipmed.gui." + ",napari_clipmed.gui.".join(
        ("readers", "samples", "commands", "session")
    )
    code = (
        "import sys, npe2\n"
        "pm = npe2.PluginManager.instance(); pm.discover()\n"
        "pm.activate('napari-clipmed')\n"
        f"import {modules}\n"
        "print([m for m in ('torch', 'open_clip', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
