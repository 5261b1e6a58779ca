"""A program whose source was read before has the same variables, without reading it again."""

from __future__ import annotations

import re

import numpy as np
import pytest
from vispy.gloo import program as vispy_program
from vispy.gloo.program import Program

from napari_clipmed.gui import shader_memory
from napari_clipmed.gui.shader_memory import remember_shaders

VERTEX = """
attribute vec2 a_position;  // uniform float commented;
uniform mat4 u_matrix;
uniform float u_weights[3];
varying vec2 v_place;
void main() { v_place = a_position; gl_Position = u_matrix * vec4(a_position, u_weights[0], 1.0); }
"""
FRAGMENT = "varying vec2 v_place; uniform vec3 u_colour; void main() { gl_FragColor = vec4(u_colour, 1.0); }"


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sources that vispy goes through from now on."""
    remember_shaders()
    shader_memory._known.clear()
    seen: list[str] = []
    find = re.sub
    monkeypatch.setattr(
        vispy_program.re, "sub", lambda *given, **how: (seen.append(given[2]), find(*given, **how))[1]
    )
    return seen


def test_the_second_program_of_a_source_is_not_read_and_is_the_same(readings: list[str]) -> None:
    first, second = Program(VERTEX, FRAGMENT), Program(VERTEX, FRAGMENT)
    assert len(readings) == 1
    assert sorted(second.variables) == sorted(first.variables)
    assert {name for _, _, name in second.variables} >= {"a_position", "u_matrix", "u_weights", "u_colour"}
    assert "commented" not in {name for _, _, name in second.variables}
    assert first._code_variables is not second._code_variables


def test_another_source_is_read_and_values_set_before_are_taken(readings: list[str]) -> None:
    program = Program(VERTEX, FRAGMENT)
    program["u_other"] = 2.0
    program.set_shaders(VERTEX, FRAGMENT.replace("uniform vec3", "uniform float u_other; uniform vec3"))
    assert len(readings) == 2
    assert np.isclose(program["u_other"], 2.0)
    with pytest.raises(KeyError):
        Program(VERTEX, FRAGMENT)["u_other"]


def test_it_is_put_there_once() -> None:
    remember_shaders()
    parse = Program._parse_variables_from_code
    remember_shaders()
    assert Program._parse_variables_from_code is parse
