"""Where models live.

A model is a folder ``<root>/<model_id>/`` with ``model.safetensors`` and ``card.json``. Versions are
immutable: a fine-tuned model is a new folder that names its parent.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clipmed.errors import ModelError
from napari_clipmed.models.card import CARD_FILE, WEIGHTS_FILE, ModelCard, ModelEntry, Task, read_entry
from napari_clipmed.models.loading import (
    build_network,
    hash_file,
    load_network,
    load_tensors,
    refuse_unsafe,
    verify_hash,
)
from napari_clipmed.shipped import resource

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ModelEntry",
    "Registry",
    "build_network",
    "default_registry",
    "load_network",
    "load_tensors",
    "read_entry",
    "user_folder",
]

ACTIVE_FILE = "active.json"
"""Beside the models of a root: which model a person chose for each task."""


Entries = list[ModelEntry]  # inside the class, `list` is the method


class Registry:
    """All models of some roots; an earlier root wins where two hold the same id.

    Parameters
    ----------
    roots : sequence of Path
        Folders of model folders. Missing ones are empty. The last is where new models go by default.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        if not roots:
            raise ValueError("A registry needs at least one root")
        self.roots = tuple(Path(root) for root in roots)

    def list(self, task: Task | None = None) -> Entries:
        """Every readable model, of one task if given, in the order of the roots and then by id."""
        entries = [entry for entry, _ in self._scan() if entry is not None]
        return [entry for entry in entries if task in (None, entry.card.task)]

    def problems(self) -> Sequence[str]:
        """One sentence for each folder that holds a card which cannot be used."""
        return [problem for entry, problem in self._scan() if entry is None]

    def get(self, model_id: str) -> ModelEntry:
        """The model of that id.

        Raises
        ------
        ModelError
            When there is none; the hint lists what there is.
        """
        entries = self.list()
        for entry in entries:
            if entry.id == model_id:
                return entry
        known = ", ".join(entry.id for entry in entries) or "none"
        raise ModelError(f"There is no model {model_id!r}.", f"Models here: {known}.")

    def default(self, task: Task) -> ModelEntry:
        """The model that a person chose for a task, else the first one of the roots.

        Raises
        ------
        ModelError
            When no model answers that task.
        """
        entries = self.list(task)
        for root in reversed(self.roots):
            chosen = _read_active(root).get(task)
            for entry in entries:
                if entry.id == chosen:
                    return entry
        if not entries:
            raise ModelError(
                f"No {task} model is installed.",
                "Import one with `napari-clipmed models import`, or train one with `napari-clipmed train`.",
            )
        return entries[0]

    def set_default(self, task: Task, model_id: str, root: Path | None = None) -> None:
        """Choose the model that answers a task from now on, for all who read `root` (default: the last)."""
        entry = self.get(model_id)
        if entry.card.task != task:
            raise ModelError(f"{model_id!r} is a {entry.card.task} model, not a {task} model.")
        root = root or self.roots[-1]
        with _disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            text = json.dumps(_read_active(root) | {task: model_id}, indent=2)
            fresh = root / f".{ACTIVE_FILE}.{os.getpid()}"
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(root / ACTIVE_FILE)

    def register(
        self,
        card: ModelCard,
        state_dict: Mapping[str, Tensor],
        root: Path | None = None,
        *,
        replace: bool = False,
    ) -> ModelEntry:
        """Write a new model, whole or not at all.

        Parameters
        ----------
        card : ModelCard
            Its `sha256` is filled in here.
        state_dict : mapping of str to Tensor
            Parameters and buffers (half precision is kept on disk), and statistics under ``ood.``.
        root : Path, optional
            Default: the last root.
        replace : bool
            Allow an existing model of this id to be exchanged; for building shipped models, not for versions.

        Raises
        ------
        ModelError
            When the id is taken, or the disk is full or read-only.
        """
        from safetensors.torch import save

        root = root or self.roots[-1]
        with _new_model_folder(root, card.id, replace=replace) as folder:
            # Tied or sliced tensors would be refused by safetensors or drag their whole storage along.
            tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state_dict.items()}
            (folder / WEIGHTS_FILE).write_bytes(save(tensors, metadata={"format": "pt", "model": card.id}))
            card = card.model_copy(update={"sha256": hash_file(folder / WEIGHTS_FILE)})
            (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return ModelEntry(card, root / card.id)

    def import_model(self, path: Path, root: Path | None = None) -> ModelEntry:
        """Copy a model folder (or a safetensors file with its card beside it) into a root.

        The network is built and loaded once before anything is copied, so that a model which cannot work
        is refused here. Importing the same model twice gives the one that is there.

        Raises
        ------
        ModelError
            For an unsafe format, a missing or broken card, an altered file, a wrong architecture, a taken id.
        """
        source = _entry_of(Path(path))
        taken = next((entry for entry in self.list() if entry.id == source.id), None)
        if taken is not None and taken.card.sha256 == source.card.sha256:
            return taken
        if taken is not None:
            raise ModelError(
                f"Another model with the id {source.id!r} is already in {taken.folder.parent}.",
                'Change "id" in the card of one of them.',
            )
        load_network(source)
        root = root or self.roots[-1]
        with _new_model_folder(root, source.id, replace=False) as folder:
            _copy_model(source, folder)
        return ModelEntry(source.card, root / source.id)

    def export_model(self, model_id: str, folder: Path) -> Path:
        """Copy a model to ``folder/<model_id>``, verified, for another machine. Returns that path."""
        entry = self.get(model_id)
        verify_hash(entry)
        with _new_model_folder(Path(folder), model_id, replace=False) as target:
            _copy_model(entry, target)
        return Path(folder) / model_id

    def _scan(self) -> Iterator[tuple[ModelEntry | None, str]]:
        """Every model folder as (entry, "") or (None, what is wrong)."""
        seen: set[str] = set()
        for root in self.roots:
            try:
                cards = sorted(root.glob(f"*/{CARD_FILE}"))
            except OSError as error:
                yield None, f"The models in {root} cannot be read ({error.strerror})."
                continue
            for card_file in cards:
                folder = card_file.parent
                if folder.name.startswith("."):
                    continue  # half-made by a process that was killed
                try:
                    entry = read_entry(folder)
                except ModelError as error:
                    yield None, str(error)
                    continue
                if entry.id not in seen:
                    seen.add(entry.id)
                    yield entry, ""


def user_folder() -> Path:
    """The person's own data folder; the variable ``CLIPMED_HOME`` overrules the platform's place."""
    from platformdirs import user_data_path

    chosen = os.environ.get("CLIPMED_HOME")
    return Path(chosen) if chosen else user_data_path("napari-clipmed", appauthor=False)


def default_registry(workspace: Path | None = None) -> Registry:
    """Shipped models, the person's own, and those of a workspace if given, in this order."""
    roots = [user_folder() / "models"]
    with suppress(FileNotFoundError):  # a build without shipped weights
        roots.insert(0, resource("models"))
    if workspace is not None:
        roots.append(Path(workspace) / "models")
    return Registry(roots)


def _entry_of(path: Path) -> ModelEntry:
    """The model that a person points at: its folder, its card or its weights."""
    if path.is_dir():
        return read_entry(path)
    if not path.exists():
        raise ModelError(f"There is nothing at {path}.")
    if path.name != CARD_FILE:
        refuse_unsafe(path)
    if path.name not in (CARD_FILE, WEIGHTS_FILE):
        raise ModelError(
            f"{path.name} alone is not a model.",
            f"Put it into a folder as {WEIGHTS_FILE}, with its {CARD_FILE} beside it, and import the folder.",
        )
    return read_entry(path.parent)


def _copy_model(entry: ModelEntry, folder: Path) -> None:
    """Copy the two files that make a model, and nothing else that may lie in its folder."""
    for name in (WEIGHTS_FILE, CARD_FILE):
        shutil.copyfile(entry.folder / name, folder / name)


def _read_active(root: Path) -> dict[str, Any]:
    """What a person chose in a root; an unreadable file means nothing was chosen."""
    try:
        answer = json.loads((root / ACTIVE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


@contextmanager
def _new_model_folder(root: Path, model_id: str, *, replace: bool) -> Iterator[Path]:
    """A hidden folder that becomes ``root/model_id`` when the block ends well, else vanishes."""
    final = root / model_id
    if final.exists() and not replace:
        raise ModelError(f"There is already a model {model_id!r} in {root}.", "Choose another id.")
    with _disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{model_id}-", dir=root, ignore_cleanup_errors=True
        ) as temporary:
            fresh = Path(temporary) / "new"
            fresh.mkdir()
            yield fresh
            for file in fresh.iterdir():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
            if final.exists():
                final.replace(Path(temporary) / "old")
            fresh.replace(final)


@contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a sentence."""
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"Nothing could be written to {root} ({error.strerror or error}).",
            "Free some space, or choose a folder that you may write to.",
        ) from error
