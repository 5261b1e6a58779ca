"""What is kept of a model's answer: the answer itself, the embedding, a thumbnail."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_clipmed.records import Answer, Store
from napari_clipmed.worklist.embeddings import Embeddings
from napari_clipmed.worklist.thumbnails import Thumbnails, thumbnail_of

if TYPE_CHECKING:
    from napari_clipmed.inference.results import Diagnosis
    from napari_clipmed.study import Study


@dataclass(frozen=True, eq=False)
class Shelves:
    """The places of a workspace where answers and what belongs to them are kept."""

    store: Store
    embeddings: Embeddings
    thumbnails: Thumbnails

    @classmethod
    def of(cls, store: Store) -> Shelves:
        """Those of a workspace."""
        cache = store.workspace.cache
        return cls(store, Embeddings(cache / "embeddings"), Thumbnails(cache / "thumbnails"))

    def keep(self, study: Study, diagnosis: Diagnosis) -> str:
        """Keep an answer about a study; the same answer twice is kept once.

        Returns
        -------
        str
            Id of the case.

        Raises
        ------
        WorkspaceError
            When the database refuses. Where only the cache does, the answer is kept all the same.
        """
        case = self.store.case_for(study)
        known = self.store.newest_answer(case, diagnosis.model_version)
        if known is None or not same_answer(known, diagnosis):
            self.store.add_answer(
                case,
                diagnosis.model_id,
                diagnosis.probabilities,
                model_version=diagnosis.model_version,
                unlike_training=diagnosis.unlike_training,
                possible=diagnosis.possible,
            )
        with suppress(OSError):
            if diagnosis.embedding:
                self.embeddings.put(diagnosis.model_version, case, diagnosis.embedding, diagnosis.key)
            if self.thumbnails.get(case) is None:
                self.thumbnails.put(case, thumbnail_of(study))
        return case


def same_answer(known: Answer, diagnosis: Diagnosis) -> bool:
    """Whether a model has said the same before, to a thousandth."""
    said, before = diagnosis.probabilities, known.probabilities
    possible = None if diagnosis.possible is None else set(diagnosis.possible)
    return (
        known.model_id == diagnosis.model_id
        and known.unlike_training == diagnosis.unlike_training
        and (None if known.possible is None else set(known.possible)) == possible
        and {n: set(p) for n, p in said.items()} == {n: set(p) for n, p in before.items()}
        and all(math.isclose(said[n][k], before[n][k], abs_tol=1e-3) for n in said for k in said[n])
    )
