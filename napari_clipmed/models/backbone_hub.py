"""Files from the Hugging Face hub: what is cached first, one look at the network, progress and cancel.

open_clip's own download tries again for half a minute for each file when there is no network, and cannot be
stopped; a person who works offline is told at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napari_clipmed.errors import Cancelled, ModelError
from napari_clipmed.progress import Progress

CONFIG_FILE = "open_clip_config.json"
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""In order of preference; the second is read with ``weights_only=True``."""

_PATIENCE = 10.0
"""Seconds for the first answer of the hub."""


def cached(repository: str, names: Iterable[str]) -> Path | None:
    """The first of these files that the hub's cache on this machine holds, or None; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch(repository: str, names: Iterable[str], progress: Progress | None = None) -> Path:
    """A file of a repository: the first of `names` that is cached, else the first that the hub has.

    Parameters
    ----------
    repository : str
        ``owner/name``.
    names : iterable of str
        Names of the file, in order of preference.

    Raises
    ------
    ModelError
        Offline and not cached, no such repository or file, no permission; says which and what to do.
    Cancelled
        At the next piece of a download.
    """
    names = tuple(names)
    known = cached(repository, names)
    if known is not None:
        return known
    return _download(repository, names, progress or Progress())


def _download(repository: str, names: tuple[str, ...], progress: Progress) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, is_offline_mode
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    if is_offline_mode():
        raise ModelError(
            f"{repository} is not in the hub's cache on this machine, and HF_HUB_OFFLINE keeps it offline.",
            _HOW_OFFLINE.format(repository=repository),
        )
    progress.step(f"Asking the hub for {repository}")
    for name in names:
        try:
            get_hf_file_metadata(hf_hub_url(repository, name), timeout=_PATIENCE)
            path = hf_hub_download(
                repository, name, tqdm_class=_bar_for(progress, f"Downloading {repository}")
            )
        except GatedRepoError as error:
            raise ModelError(
                f"{repository} is given out on request only.",
                "Ask for access on its page, then log in with `hf auth login`.",
            ) from error
        except RepositoryNotFoundError as error:
            raise ModelError(
                f"The hub has no repository {repository}, or it is private.", "Check the spelling."
            ) from error
        except EntryNotFoundError:
            continue
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - httpx or requests, by the version of the hub's client
            raise ModelError(
                f"The hub could not be reached for {repository} ({type(error).__name__}).",
                _HOW_OFFLINE.format(repository=repository),
            ) from error
        return Path(path)
    raise ModelError(
        f"{repository} holds none of {', '.join(names)}, so it is no model of open_clip.",
        "Models for transformers alone (PubMedCLIP, PLIP, MedSigLIP) cannot be used.",
    )


_HOW_OFFLINE = (
    "Go online once, or copy a folder with open_clip_config.json and the weights of {repository} here and "
    "name it local-dir:FOLDER."
)


def _bar_for(progress: Progress, what: str) -> type[Any]:
    """A tqdm that draws nothing, tells a job how far it is, and stops it when asked to."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **options | {"disable": True})
            self.total, self.n = options.get("total") or 0, options.get("initial") or 0

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            mega = 2**20
            progress.step(f"{what} (MiB)", round(self.n / mega), round((self.total or 0) / mega))
            return None

    return Bar
