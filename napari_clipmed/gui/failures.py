"""Any exception of a job as one sentence for the person, and as a trace without identity for the log."""

from __future__ import annotations

import errno
import logging
import traceback

from napari_clipmed.errors import ClipmedError

log = logging.getLogger(__name__)


class UnexpectedError(ClipmedError):
    """A defect of ours, or of a library: shown as one sentence, its trace behind a fold.

    Parameters
    ----------
    message, hint : str
        As for every `ClipmedError`.
    details : str
        The whole trace; for the screen only, since a message may name a patient's file.
    """

    def __init__(self, message: str, hint: str, details: str) -> None:
        super().__init__(message, hint)
        self.details = details


def explain_failure(error: Exception, doing: str) -> ClipmedError:
    """Turn what a job raised into something a person can read.

    Parameters
    ----------
    error : Exception
        `ClipmedError` passes unchanged.
    doing : str
        What the job was doing, as a title ("Classify").

    Returns
    -------
    ClipmedError
        With a `details` attribute where the sentence does not tell everything.
    """
    if isinstance(error, ClipmedError):
        return error
    log.error("%s failed with %s\n%s", doing, type(error).__name__, trace_without_identity(error))
    details = "".join(traceback.format_exception(error))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return UnexpectedError(
            f"{doing}: the memory is full.",
            "Close other studies or programs, or choose the CPU as device in the preferences, and try again.",
            details,
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return UnexpectedError(f"{doing}: the disk is full.", "Make room and try again.", details)
    if isinstance(error, PermissionError):
        return UnexpectedError(
            f"{doing}: a file or folder may not be read or written.",
            "Choose a workspace folder that you may write to in the preferences.",
            details,
        )
    return UnexpectedError(
        f"{doing} stopped on an unexpected error ({type(error).__name__}).",
        "Nothing was lost. Try again; if it happens again, report the details below.",
        details,
    )


def trace_without_identity(error: BaseException) -> str:
    """Name the functions and lines passed through; no message, path of a study or value of a variable."""
    frames = traceback.extract_tb(error.__traceback__)
    return "\n".join(f"  {frame.name}, line {frame.lineno}" for frame in frames)
