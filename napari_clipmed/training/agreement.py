"""Agreement of the readers of a workspace, per pair, per reader and per class, from what they saved.

A reader's reading of a case is the last label (or mask of a frame and name) that this reader gave; settling a
conflict is no reading, and what a reader took back counts no more. Two readings of one case are independent
only where the second reader did not look at the first one's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, median
from typing import Any

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import Revision, RevisionKind, Store
from napari_clipmed.records.words import Slot
from napari_clipmed.training.agreement_figures import (
    EMPTY_MASKS,
    Kappa,
    MaskAgreement,
    cohen_kappa,
    fleiss_kappa,
    mask_agreement,
)

INTERVALS = (
    "Intervals are 95 %: of Cohen's kappa by its large-sample variance (Fleiss, Cohen and Everitt 1969), "
    "of Fleiss' kappa by drawing patients with replacement."
)

Readings = dict[str, dict[Slot, Revision]]
"""By reader and slot, the reader's last word."""

Tell = Callable[[str, int, int], object]


@dataclass(frozen=True)
class AgreementReport:
    """All figures; `as_dict` gives plain data for JSON and tables."""

    readers: tuple[str, ...]
    labels: dict[str, Any]
    masks: dict[str, Any]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "readers": list(self.readers),
            "labels": self.labels,
            "masks": self.masks,
            "notes": list(self.notes),
        }


def readings_of(revisions: Iterable[Revision], kind: RevisionKind) -> Readings:
    """Each reader's last word about each thing.

    Parameters
    ----------
    revisions : iterable of Revision
        Oldest first.
    kind : RevisionKind
        Label or mask.
    """
    known: dict[int, Revision] = {}
    found: Readings = {}
    for revision in revisions:
        known[revision.id] = revision
        if revision.kind != kind or revision.merges_id is not None:
            continue
        own = found.setdefault(revision.author, {})
        origin = known.get(revision.restored_from or -1)
        if revision.withdrawn or (origin is not None and origin.author != revision.author):
            own.pop(revision.slot, None)  # taken back, or gone back to somebody else's word
        else:
            own[revision.slot] = revision
    return {reader: own for reader, own in found.items() if own}


def agreement(
    store: Store, readers: Sequence[str] = (), *, seed: int = 0, tell: Tell = lambda *step: None
) -> AgreementReport:
    """Figures of a workspace.

    Parameters
    ----------
    readers : sequence of str
        Only these authors; default: all who gave a name.

    Raises
    ------
    WorkspaceError
        When fewer than two readers are there.
    """
    revisions = store.revisions()
    labels = readings_of(revisions, RevisionKind.LABEL)
    masks = readings_of(revisions, RevisionKind.MASK)
    known = sorted({*labels, *masks} - {""})
    chosen = tuple(readers) or tuple(known)
    missing = [reader for reader in chosen if reader not in known]
    if missing or len(chosen) < 2:
        raise WorkspaceError(
            f"There is nothing by {', '.join(missing)} in this workspace."
            if missing
            else "Agreement needs at least two readers who saved under different initials.",
            f"Readers here: {', '.join(known) or 'none'}.",
        )
    patients = {case.id: case.patient_key for case in store.cases()}
    unnamed = len({*labels.get("", {}), *masks.get("", {})})
    notes = [
        INTERVALS,
        f"Distances are in pixels; {EMPTY_MASKS}.",
    ]
    if unnamed:
        notes.append(f"{unnamed} labels and masks were saved without initials and are left out.")
    return AgreementReport(
        chosen,
        _label_figures({r: labels.get(r, {}) for r in chosen}, patients, seed),
        _mask_figures(store, {r: masks.get(r, {}) for r in chosen}, tell),
        tuple(notes),
    )


# -- labels -----------------------------------------------------------------------------------------------


def _label_figures(readings: Readings, patients: dict[str, str], seed: int) -> dict[str, Any]:
    words = {
        reader: {slot[0]: r.label for slot, r in own.items() if r.label is not None}
        for reader, own in readings.items()
    }
    pairs = [_pair(words, a, b) for a, b in combinations(words, 2)]
    by_all = sorted(set.intersection(*(set(own) for own in words.values())))
    table = [[words[reader][case] for reader in words] for case in by_all]
    owners = [patients[case] for case in by_all]
    classes = sorted({label for own in words.values() for label in own.values()})
    return {
        "read_by_all": len(by_all),
        "fleiss": fleiss_kappa(table, owners, seed=seed).as_dict(),
        "pairs": [
            {"readers": [p.first, p.second], **p.kappa.as_dict(), "confusion": p.confusion} for p in pairs
        ],
        "classes": [_class_figures(name, words, table, owners, seed) for name in classes],
        "readers": [_reader_figures(reader, readings, words, pairs) for reader in words],
    }


@dataclass(frozen=True)
class _Pair:
    first: str
    second: str
    kappa: Kappa
    confusion: dict[str, dict[str, int]]


def _pair(words: dict[str, dict[str, str]], first: str, second: str) -> _Pair:
    both = sorted(words[first].keys() & words[second].keys())
    said = [(words[first][case], words[second][case]) for case in both]
    confusion: dict[str, dict[str, int]] = {}
    for (a, b), n in sorted(Counter(said).items()):
        confusion.setdefault(a, {})[b] = n
    return _Pair(first, second, cohen_kappa([a for a, _ in said], [b for _, b in said]), confusion)


def _class_figures(
    name: str, words: dict[str, dict[str, str]], table: list[list[str]], owners: list[str], seed: int
) -> dict[str, Any]:
    """One class against all others (Fleiss 1971, eq. 8)."""
    one_against_rest = [[name if label == name else "other" for label in case] for case in table]
    return {
        "label": name,
        "readings": {reader: sum(label == name for label in own.values()) for reader, own in words.items()},
        "fleiss": fleiss_kappa(one_against_rest, owners, seed=seed).as_dict(),
    }


def _reader_figures(
    reader: str, readings: Readings, words: dict[str, dict[str, str]], pairs: list[_Pair]
) -> dict[str, Any]:
    own = [p.kappa for p in pairs if reader in (p.first, p.second)]
    kappas = [kappa.value for kappa in own if kappa.value is not None]
    judged = [r for r in readings[reader].values() if r.label is not None and r.model_label]
    agreed = [kappa.agreement for kappa in own if kappa.agreement is not None]
    return {
        "reader": reader,
        "cases": len(words[reader]),
        "mean_kappa": fmean(kappas) if kappas else None,
        "mean_agreement": fmean(agreed) if agreed else None,
        "agrees_with_model": sum(r.label == r.model_label for r in judged) / len(judged) if judged else None,
        "judged_answers": len(judged),
    }


# -- masks ------------------------------------------------------------------------------------------------


def _mask_figures(store: Store, readings: Readings, tell: Tell) -> dict[str, Any]:
    shared = [
        (a, b, slot)
        for a, b in combinations(readings, 2)
        for slot in sorted(readings[a].keys() & readings[b].keys(), key=str)
    ]
    rows: list[tuple[str, str, Slot, MaskAgreement]] = []
    for number, (a, b, slot) in enumerate(shared, 1):
        tell("Comparing masks", number, len(shared))
        masks = [store.read_mask(readings[reader][slot]) for reader in (a, b)]
        rows.append((a, b, slot, mask_agreement(masks[0], masks[1])))
    names = sorted({slot[4] for _, _, slot, _ in rows})
    return {
        "pairs": [
            {"readers": [a, b], **_summary([r[3] for r in rows if r[:2] == (a, b)])}
            for a, b in combinations(readings, 2)
        ],
        "classes": [{"name": n, **_summary([r[3] for r in rows if r[2][4] == n])} for n in names],
        "readers": [
            {
                "reader": reader,
                "masks": len(own),
                **_summary([r[3] for r in rows if reader in r[:2]]),
            }
            for reader, own in readings.items()
        ],
    }


def _summary(found: list[MaskAgreement]) -> dict[str, Any]:
    distances = [m.hausdorff for m in found if m.hausdorff is not None]
    mostly = [m.hausdorff95 for m in found if m.hausdorff95 is not None]
    return {
        "n": len(found),
        "dice_mean": fmean(m.dice for m in found) if found else None,
        "dice_median": median(m.dice for m in found) if found else None,
        "dice_lowest": min((m.dice for m in found), default=None),
        "hausdorff_mean": fmean(distances) if distances else None,
        "hausdorff_largest": max(distances, default=None),
        "hausdorff95_mean": fmean(mostly) if mostly else None,
    }
