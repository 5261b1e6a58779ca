"""Where cases lie in the model's embedding, and the cases nearest to one of them or to a sentence.

One safetensors file a model and case, written whole or not at all: a float32 unit vector for each of "AP",
"LA" and "both". A case is named by the hash of its frames and UIDs, a model by that of its weights, so that
no vector is ever taken for another one's. Files from elsewhere are read without pickle and within a size.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from napari_clipmed.whole_files import whole_file

SUFFIX = ".safetensors"
LARGEST = 2**20
"""Bytes; three vectors of a large CLIP take 12 KiB."""

NAMES = ("both", "AP", "LA")
"""Which vectors are compared, the best first: those of both views, else of a view that both cases have."""

Vectors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Match:
    """A case that resembles another one.

    Parameters
    ----------
    case : str
        Its id.
    similarity : float
        Cosine in [-1, 1]; not calibrated.
    by : str
        Which vectors were compared: "both", "AP" or "LA".
    """

    case: str
    similarity: float
    by: str


@dataclass(frozen=True, eq=False)
class Bank:
    """The embeddings of one model.

    Parameters
    ----------
    cases : tuple of str
        Ids, n of them.
    vectors : dict of str to (n, d) array
        For each of `NAMES`; a row of zeros where a case lacks it.
    """

    cases: tuple[str, ...] = ()
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Mapping[str, Vectors]) -> Bank:
        """Stack vectors by case; those of another length than most are left out."""
        cases = tuple(found)
        stacked = {}
        for name in NAMES:
            lengths = [len(some[name]) for some in found.values() if name in some]
            if lengths:
                d = max(set(lengths), key=lengths.count)
                rows = np.zeros((len(cases), d), np.float32)
                for row, some in enumerate(found.values()):
                    if name in some and len(some[name]) == d:
                        rows[row] = some[name]
                stacked[name] = rows
        return cls(cases, stacked)

    def nearest(self, query: Vectors, k: int, without: Iterable[str] = ()) -> list[Match]:
        """The k cases nearest to another one, nearest first.

        Parameters
        ----------
        query : mapping of str to (d,) array
            Unit vectors of the other case; see `NAMES` for which are compared.
        k : int
        without : iterable of str
            Cases to leave out, such as the one that is asked about.
        """
        return self._nearest({name: query[name] for name in NAMES if name in query}, k, without)

    def nearest_to_sentence(
        self, sentence: NDArray[np.float32], k: int, without: Iterable[str] = ()
    ) -> list[Match]:
        """The k cases nearest to the unit vector (d,) of a sentence."""
        return self._nearest(dict.fromkeys(NAMES, sentence), k, without)

    def best(self) -> dict[str, NDArray[np.float32]]:
        """One vector a case: that of both views, else of the only one."""
        found = {}
        for row, case in enumerate(self.cases):
            there = (self.vectors[name][row] for name in NAMES if name in self.vectors)
            vector = next((v for v in there if v.any()), None)
            if vector is not None:
                found[case] = vector
        return found

    def _nearest(self, query: Vectors, k: int, without: Iterable[str]) -> list[Match]:
        similar = np.full(len(self.cases), -np.inf, np.float32)
        by = np.full(len(self.cases), -1)
        for number, (name, vector) in enumerate(query.items()):
            rows = self.vectors.get(name)
            if rows is None or rows.shape[1] != len(vector):
                continue
            new = (by < 0) & rows.any(axis=1)
            similar[new] = rows[new] @ vector
            by[new] = number
        similar[[row for row, case in enumerate(self.cases) if case in set(without)]] = -np.inf
        names = list(query)
        ranked = np.argsort(-similar, kind="stable")[:k]
        return [Match(self.cases[i], float(similar[i]), names[by[i]]) for i in ranked if similar[i] > -np.inf]


class Embeddings:
    """The embeddings of a workspace; safe for several programs at once.

    Parameters
    ----------
    folder : Path
        Made when the first one is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[int, Vectors]] = {}

    def put(self, model: str, case: str, vectors: Vectors, about: str = "") -> None:
        """Keep the vectors of a case; nothing is written where they are there already.

        Parameters
        ----------
        model : str
            SHA-256 of the weights.
        case : str
            Id of the case.
        vectors : mapping of str to (d,) array
        about : str
            What exactly was read, such as `Diagnosis.key`; another subtraction gives other vectors.
        """
        path = self._path(model, case)
        content = save({n: np.ascontiguousarray(v, np.float32) for n, v in vectors.items()}, {"about": about})
        try:
            if path.stat().st_size == len(content) and path.read_bytes() == content:
                return
        except OSError:
            pass  # not there yet
        with whole_file(path, replace=True) as unfinished:
            unfinished.write_bytes(content)

    def get(self, model: str, case: str) -> Vectors | None:
        """The vectors of a case; None where there are none that can be read."""
        return self._read(self._path(model, case))

    def bank(self, model: str) -> Bank:
        """All embeddings of a model; files that were read before are not read again."""
        found: dict[str, Vectors] = {}
        folder = self._path(model, "").parent
        if folder.is_dir():
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    vectors = self._read(Path(entry.path)) if entry.name.endswith(SUFFIX) else None
                    if vectors:
                        found[entry.name.removesuffix(SUFFIX)] = vectors
        return Bank.of(found)

    def _path(self, model: str, case: str) -> Path:
        return self._folder / (model or "unknown") / f"{case}{SUFFIX}"

    def _read(self, path: Path) -> Vectors | None:
        try:
            state = path.stat()
            known = self._known.get(path)
            if known is not None and known[0] == state.st_mtime_ns:
                return known[1]
            if state.st_size > LARGEST:
                return None
            vectors = {n: v for n, v in load(path.read_bytes()).items() if n in NAMES and _is_vector(v)}
        except (OSError, SafetensorError, KeyError, ValueError, json.JSONDecodeError):
            return None
        self._known[path] = (state.st_mtime_ns, vectors)
        return vectors


def caveats(limits: Iterable[str]) -> list[str]:
    """What a model's card says about its text tower, which a search by sentence hangs on."""
    return [limit for limit in limits if "text tower" in limit]


def _is_vector(array: NDArray[np.float32]) -> bool:
    return array.ndim == 1 and array.dtype == np.float32 and bool(np.isfinite(array).all())
