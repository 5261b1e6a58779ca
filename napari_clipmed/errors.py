"""The one exception that a person is meant to read.

Every job of the command line and of the window catches `ClipmedError` and shows its sentence; anything
else is a defect of ours.
"""


class ClipmedError(Exception):
    """Something the person can understand and mend.

    Parameters
    ----------
    message : str
        What happened, to which file, in one sentence.
    hint : str, optional
        What to do about it, in one sentence.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message} {hint}".strip())


class UnreadableFileError(ClipmedError):
    """A file that cannot be understood as an image or a study."""


class ModelError(ClipmedError):
    """A model that is missing, altered, unsafe or of another architecture."""


class WorkspaceError(ClipmedError):
    """A workspace that cannot be read or written."""


class Cancelled(ClipmedError):
    """The person asked for the job to stop."""

    def __init__(self) -> None:
        super().__init__("Cancelled.")
