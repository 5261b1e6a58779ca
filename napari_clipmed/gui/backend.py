"""What jobs need besides the study: models, the engine and the annotation store, built on first use."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from napari_clipmed.errors import ModelError
from napari_clipmed.gui.garbage import importing_much
from napari_clipmed.gui.settings import read_settings
from napari_clipmed.gui.torch_guard import guard_torch_import

if TYPE_CHECKING:
    from napari_clipmed.inference.disk_features import DiskFeatures
    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.inference.towers import Towers
    from napari_clipmed.models.card import ModelEntry, Task
    from napari_clipmed.models.registry import Registry
    from napari_clipmed.progress import Progress
    from napari_clipmed.records import Store


class Backend:
    """Lazily built, thread-safe; rebuilt when the preferences or the chosen models change."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._engine: Engine | None = None
        self._engine_key: tuple[object, ...] = ()
        self._store: Store | None = None
        self._store_folder: Path | None = None
        self._model_ids: dict[str, str] = {}
        self._towers: Towers | None = None
        self._towers_key: tuple[str, ...] = ()

    def registry(self) -> Registry:
        """Models shipped, of the user, and of the workspace, in this order."""
        guard_torch_import()
        with importing_much():
            from napari_clipmed.models.registry import default_registry

        return default_registry(read_settings().workspace_path)

    def model_id(self, task: str) -> str:
        """The chosen model of a task; empty for the default one."""
        return self._model_ids.get(task, "")

    def choose_model(self, task: str, model_id: str) -> bool:
        """Use another model from the next question on; whether anything changed.

        Takes no lock: the window calls it, and must not wait while a job builds the engine.
        """
        changed = self.model_id(task) != model_id
        self._model_ids[task] = model_id
        return changed

    def engine(self) -> Engine:
        """The engine for the chosen models and the present preferences.

        Raises
        ------
        ModelError
            When a model that was chosen by name is missing; without a choice, a missing default leaves
            that task out.
        """
        guard_torch_import()
        with importing_much():
            from napari_clipmed.inference.cache import FeatureCache
            from napari_clipmed.inference.device import spare_threads
            from napari_clipmed.inference.engine import Engine

        settings = read_settings()
        with self._lock:
            diagnosis, segmentation = self._entry("diagnosis"), self._entry("segmentation")
            models = tuple(entry.card.id if entry else "" for entry in (diagnosis, segmentation))
            inference = (settings.device, settings.precision, settings.cache_mb, settings.disk_cache_mb)
            key = (*models, *inference)
            if self._engine is None or key != self._engine_key:
                self._engine = Engine(
                    diagnosis,
                    segmentation,
                    device=settings.device,
                    precision=settings.precision,
                    cache=FeatureCache(settings.cache_mb, _disk_features(settings.disk_cache_mb)),
                    threads=spare_threads(),
                )
                self._engine_key = key
            return self._engine

    def towers(self, spec: str, progress: Progress) -> Towers:
        """The backbone that answers zero-shot; one is kept in memory.

        Raises
        ------
        ModelError
            As `inference.towers.Towers`.
        """
        guard_torch_import()
        with importing_much():
            from napari_clipmed.inference.device import choose_compute, spare_threads
            from napari_clipmed.inference.towers import Towers

        settings = read_settings()
        with self._lock:
            key = (spec, settings.device, settings.precision)
            if self._towers is None or key != self._towers_key:
                compute = choose_compute(settings.device, settings.precision, spare_threads())
                self._towers = None  # two need not be in memory at once
                self._towers, self._towers_key = Towers(spec, compute, progress=progress), key
            return self._towers

    def store(self) -> Store:
        """The annotation store of the workspace in the preferences, read-only where it cannot be written."""
        from napari_clipmed.records import Store

        folder = read_settings().workspace_path
        with self._lock:
            if self._store is None or folder != self._store_folder:
                self._store = Store.open(folder, fall_back=True)
                self._store_folder = folder
            return self._store

    def forget_store(self) -> None:
        """Open the workspace anew when it is next needed; jobs that hold the store may finish with it."""
        self._store = None

    def _entry(self, task: Task) -> ModelEntry | None:
        registry, chosen = self.registry(), self.model_id(task)
        if chosen:
            return registry.get(chosen)
        try:
            return registry.default(task)
        except ModelError:
            return None


def _disk_features(budget_mb: int) -> DiskFeatures | None:
    """Where features outlive the window, if the person wants that."""
    if budget_mb <= 0:
        return None
    from napari_clipmed.inference.disk_features import DiskFeatures, features_folder

    return DiskFeatures(features_folder(), budget_mb)
