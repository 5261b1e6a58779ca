"""Which variables a shader program has, read once for each source: vispy reads it again for every new layer.

It takes the comments out of a source by an expression that goes through each line from each of its ends,
twelve milliseconds for a picture, in the middle of drawing. The same kind of layer has the same source.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

MOST = 512
"""Sources that are remembered; a review uses some twenty."""

_known: dict[tuple[str, ...], dict[str, Any]] = {}


def remember_shaders() -> None:
    """Have vispy's programs look a source up before they read it; a second call changes nothing."""
    from vispy.gloo.program import Program

    read = Program._parse_variables_from_code
    if hasattr(read, "__wrapped__"):
        return

    @wraps(read)
    def parse(self: Any, update_variables: bool = True) -> None:
        source = tuple(shader.code for shader in self._shaders)
        if source in _known:
            self._code_variables = dict(_known[source])
        else:
            read(self, update_variables=False)
            if len(_known) >= MOST:
                _known.clear()
            _known[source] = dict(self._code_variables)
        if update_variables:
            self._process_pending_variables()

    Program._parse_variables_from_code = parse
