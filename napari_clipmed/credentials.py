"""Passwords: from the environment or the system's keyring, and never written anywhere else."""

from __future__ import annotations

import os
from collections.abc import Sequence

from napari_clipmed.errors import ClipmedError


def password_for(service: str, user: str, variables: Sequence[str] = ()) -> str | None:
    """Look a password up.

    Parameters
    ----------
    service, user : str
        Under which the keyring keeps it.
    variables : sequence of str
        Environment variables that are asked first.

    Returns
    -------
    str or None
        None where neither knows it, or the computer has no keyring.
    """
    for variable in variables:
        if os.environ.get(variable):
            return os.environ[variable]
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(service, user)
    except KeyringError:
        return None


def keep_password(service: str, user: str, password: str) -> None:
    """Store a password in the system's keyring.

    Raises
    ------
    ClipmedError
        When the computer has no keyring, or it is locked.
    """
    import keyring
    from keyring.errors import KeyringError

    try:
        keyring.set_password(service, user, password)
    except KeyringError as error:
        raise ClipmedError(
            f"The system's keyring did not take the password ({error}).",
            "Unlock it, or set the password in the environment instead.",
        ) from error
