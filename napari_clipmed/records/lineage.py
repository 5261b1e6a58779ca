"""What holds in a slot, and who disagrees: read from the parents that revisions name.

A revision names the one its author saw. Where that is no longer what holds, somebody else was quicker: the
revision is kept as a branch beside the line, what was saved first goes on holding, and the two are a
`Conflict` until a person settles it by a revision that names both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from napari_clipmed.records.words import Revision, Slot


@dataclass(frozen=True)
class Conflict:
    """Two statements about the same thing, neither of whose authors had seen the other.

    Parameters
    ----------
    first : Revision
        What holds now: it was saved first.
    second : Revision
        What was saved meanwhile by somebody who had not seen `first`.
    """

    first: Revision
    second: Revision


@dataclass
class Lineage:
    """The revisions of one slot, taken in one by one, oldest first.

    Attributes
    ----------
    tip : Revision or None
        The revision that holds.
    branches : dict of int to Revision
        By id, the ends of other lines that nobody has settled yet.
    ids : set of int
        All revisions taken in.
    """

    tip: Revision | None = None
    branches: dict[int, Revision] = field(default_factory=dict)
    ids: set[int] = field(default_factory=set)

    def take(self, revision: Revision) -> None:
        """Go on by one revision."""
        self.ids.add(revision.id)
        seen = {revision.parent_id, revision.merges_id}
        if self.tip is None or self.tip.id in seen:
            self.tip = revision
        else:
            self.branches[revision.id] = revision
        for parent in seen:
            if parent is not None:
                self.branches.pop(parent, None)

    @property
    def conflicts(self) -> list[Conflict]:
        """Branches that say something else than what holds."""
        tip = self.tip
        return [Conflict(tip, b) for b in self.branches.values() if tip and not b.says_the_same(tip)]


def lineages(revisions: Iterable[Revision]) -> dict[Slot, Lineage]:
    """The lineage of every slot.

    Parameters
    ----------
    revisions : iterable of Revision
        All of the slots in question, oldest first.
    """
    found: dict[Slot, Lineage] = {}
    for revision in revisions:
        found.setdefault(revision.slot, Lineage()).take(revision)
    return found
