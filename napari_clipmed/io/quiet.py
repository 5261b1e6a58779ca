"""Reading without pydicom's remarks, which quote header values and so may name a patient in a log."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import Lock
from typing import ParamSpec, TypeVar

from pydicom import config

P = ParamSpec("P")
R = TypeVar("R")

_lock = Lock()
_depth = 0
_before: tuple[int, warnings.catch_warnings[None]] | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's value checks and warnings; they are global, so nested and parallel uses share one."""
    global _depth, _before
    with _lock:
        _depth += 1
        if _depth == 1:
            catcher = warnings.catch_warnings()
            _before = (config.settings.reading_validation_mode, catcher)
            catcher.__enter__()
            warnings.simplefilter("ignore")
            config.settings.reading_validation_mode = config.IGNORE
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0 and _before is not None:
                config.settings.reading_validation_mode = _before[0]
                _before[1].__exit__(None, None, None)
                _before = None


def quiet_pydicom(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function under `quiet`."""

    @wraps(function)
    def silenced(*args: P.args, **kwargs: P.kwargs) -> R:
        with quiet():
            return function(*args, **kwargs)

    return silenced
