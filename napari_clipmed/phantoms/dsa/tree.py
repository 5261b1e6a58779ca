"""A vessel tree: nodes in millimetres, each joined to its parent, grown towards targets.

Axes of the patient: x to the patient's left, y to the front, z up; the origin lies between the two ends of
the internal carotid arteries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

Points = NDArray[np.float64]

STEP_MM = 1.2
"""Distance between neighbouring nodes."""


@dataclass
class Tree:
    """Nodes ordered so that a parent always precedes its children.

    Parameters
    ----------
    position : (N, 3) float64 array
        Millimetres.
    parent : (N,) int array
        Index of the upstream node, -1 at a root.
    radius : (N,) float64 array
        Millimetres.
    segment : (N,) array of str
        Anatomical name, for example ``"M1"``.
    """

    position: Points
    parent: NDArray[np.int64]
    radius: NDArray[np.float64]
    segment: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.parent)

    @property
    def edge(self) -> Points:
        """From the parent to each node; 0 at a root. Shape (N, 3)."""
        upstream = self.position[np.where(self.parent < 0, np.arange(len(self)), self.parent)]
        return self.position - upstream

    @property
    def edge_mm(self) -> NDArray[np.float64]:
        """Length of each edge. Shape (N,)."""
        return np.linalg.norm(self.edge, axis=1)

    @property
    def leaves(self) -> NDArray[np.int64]:
        """Indices of the nodes without children."""
        has_child = np.zeros(len(self), bool)
        has_child[self.parent[self.parent >= 0]] = True
        return np.flatnonzero(~has_child)

    def named(self, *names: str) -> NDArray[np.int64]:
        """Indices of all nodes of these segments, upstream first."""
        return np.flatnonzero(np.isin(self.segment, names))

    def accumulate(self, amount: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of `amount` from the root down to each node. Shape (N,)."""
        total = amount.tolist()
        for node, parent in enumerate(self.parent.tolist()):
            if parent >= 0:
                total[node] += total[parent]
        return np.asarray(total)

    def descendants(self, root: int) -> NDArray[np.bool_]:
        """Which nodes lie at or beyond `root`. Shape (N,)."""
        inside = [False] * len(self)
        inside[root] = True
        for node, parent in enumerate(self.parent.tolist()):
            if parent >= 0 and inside[parent]:
                inside[node] = True
        return np.asarray(inside)

    def path_to_root(self, node: int) -> NDArray[np.int64]:
        """Nodes from `node` up to its root, downstream first."""
        path = []
        while node >= 0:
            path.append(node)
            node = int(self.parent[node])
        return np.asarray(path)


@dataclass
class TreeBuilder:
    """Collects paths and grown branches, then gives the finished `Tree`."""

    rng: np.random.Generator
    _position: list[Points] = field(default_factory=list)
    _parent: list[NDArray[np.int64]] = field(default_factory=list)
    _radius: list[NDArray[np.float64]] = field(default_factory=list)
    _segment: list[NDArray[np.str_]] = field(default_factory=list)
    _count: int = 0

    def _append(
        self, points: Points, parent: NDArray[np.int64], radius: NDArray[np.float64], name: str
    ) -> None:
        self._position.append(points)
        self._parent.append(parent)
        self._radius.append(radius)
        self._segment.append(np.full(len(points), name, dtype="<U24"))
        self._count += len(points)

    def path(
        self,
        name: str,
        controls: Points,
        radius: tuple[float, float],
        parent: int = -1,
        wiggle: float = 0.0,
        shape: Callable[[Points], Points] | None = None,
    ) -> NDArray[np.int64]:
        """Add a smooth vessel through `controls`; gives the indices of its nodes, upstream first.

        Parameters
        ----------
        name : str
            Segment name.
        controls : (K, 3) array
            Points it passes, after its parent.
        radius : (float, float)
            Millimetres at both ends, tapering linearly.
        parent : int
            Node from which it branches, or -1.
        wiggle : float
            Amplitude in mm of a smooth random meander.
        shape : callable, optional
            Bends the (K', 3) points afterwards, for example on to the brain's surface.
        """
        course = np.asarray(controls, float)
        if parent >= 0:
            course = np.vstack([self.at(parent), course])
        points = smooth_curve(course, STEP_MM)
        if wiggle:
            points = points + meander(self.rng, len(points), wiggle)
        if shape is not None:
            points = shape(points)
        if parent >= 0:
            points = points[1:]
        start = self._count
        nodes = np.arange(start, start + len(points))
        parents = nodes - 1
        parents[0] = parent
        self._append(points, parents, np.linspace(*radius, len(points)), name)
        return nodes

    def at(self, node: int) -> Points:
        """Position of one node, (3,)."""
        for chunk in self._position:
            if node < len(chunk):
                return chunk[node]
            node -= len(chunk)
        raise IndexError("no such node")

    def named(self, name: str) -> NDArray[np.int64]:
        """Nodes of a segment so far, upstream first."""
        return np.flatnonzero(np.concatenate(self._segment) == name)

    def grow(
        self,
        name: str,
        targets: Points,
        candidates: NDArray[np.int64],
        tortuosity: float,
        shape: Callable[[Points], Points] | None = None,
        leaf_radius: float = 0.2,
    ) -> NDArray[np.int64]:
        """Join every target to the nearest well-aligned vessel, in batches that double (constrained growth).

        Parameters
        ----------
        name : str
            Segment name of the new nodes.
        targets : (K, 3) array
            Points to be supplied.
        candidates : int array
            Nodes from which branches may spring; grown nodes join them.
        tortuosity : float
            Meander amplitude as a share of a branch's length.
        shape : callable, optional
            Bends new points, (M, 3) to (M, 3).
        leaf_radius : float
            Millimetres at the tips; the stems follow later by Murray's law.

        Returns
        -------
        int array
            Indices of the new nodes.
        """
        first = self._count
        pool = candidates
        done, batch = 0, 10
        while done < len(targets):
            chunk = targets[done : done + batch]
            fresh = self._grow_batch(name, chunk, pool, tortuosity, shape, leaf_radius)
            pool = np.concatenate([pool, fresh])
            done += batch
            batch = int(batch * 1.8)
        return np.arange(first, self._count)

    def _grow_batch(
        self,
        name: str,
        targets: Points,
        pool: NDArray[np.int64],
        tortuosity: float,
        shape: Callable[[Points], Points] | None,
        leaf_radius: float,
    ) -> NDArray[np.int64]:
        position, parent = np.concatenate(self._position), np.concatenate(self._parent)
        where = position[pool]
        direction = where - position[np.maximum(parent[pool], 0)]
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
        distance, index = cKDTree(where).query(targets, k=min(24, len(pool)))
        reach = (targets[:, None] - where[index]) / (distance[..., None] + 1e-9)
        cosine = np.einsum("nkd,nkd->nk", reach, direction[index])
        best = np.argmin(distance * (1.25 - 0.75 * cosine), axis=1)
        rows = np.arange(len(targets))
        chosen = index[rows, best]
        first = self._count
        for target, node, length in zip(targets, chosen, distance[rows, best], strict=True):
            start = where[node]
            n = max(3, int(length / STEP_MM) + 1)
            leave = direction[node] * length * 0.55
            curve = hermite(start, leave, target, (target - start) * 0.7, n)
            curve = curve + meander(self.rng, n, tortuosity * length)
            if shape is not None:
                curve = shape(curve)
            nodes = np.arange(self._count, self._count + n - 1)
            parents = nodes - 1
            parents[0] = pool[node]
            self._append(curve[1:], parents, np.full(n - 1, leaf_radius), name)
        return np.arange(first, self._count)

    def finish(self, grown: tuple[str, ...], leaf_radius: float, murray: float = 2.7) -> Tree:
        """The tree, its `grown` segments given radii by Murray's law from the tips up."""
        tree = Tree(
            np.concatenate(self._position),
            np.concatenate(self._parent),
            np.concatenate(self._radius),
            np.concatenate(self._segment),
        )
        parents = tree.parent.tolist()
        flow = [0.0] * len(tree)
        for leaf in tree.leaves.tolist():
            flow[leaf] = 1.0
        for node in range(len(tree) - 1, -1, -1):
            if parents[node] >= 0:
                flow[parents[node]] += flow[node]
        law = leaf_radius * np.asarray(flow) ** (1 / murray)
        free = np.isin(tree.segment, grown)
        radius = np.where(free, law, tree.radius).tolist()
        for node, above in enumerate(parents):
            if above >= 0 and free[node]:
                radius[node] = min(radius[node], 0.92 * radius[above] if not free[above] else radius[above])
        tree.radius = np.asarray(radius)
        return tree


def smooth_curve(controls: Points, step: float) -> Points:
    """Cubic spline through the controls, sampled about every `step` mm. (K, 3) to (M, 3)."""
    chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(controls, axis=0), axis=1) ** 0.6)])
    spline = CubicSpline(chord, controls)
    fine = spline(np.linspace(0, chord[-1], 12 * len(controls)))
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    wanted = np.linspace(0, along[-1], max(3, int(along[-1] / step) + 1))
    return np.stack([np.interp(wanted, along, fine[:, axis]) for axis in range(3)], axis=1)


def hermite(p0: Points, t0: Points, p1: Points, t1: Points, n: int) -> Points:
    """Cubic Hermite curve of n points from p0 (tangent t0) to p1 (tangent t1)."""
    u = np.linspace(0, 1, n)[:, None]
    return (
        (2 * u**3 - 3 * u**2 + 1) * p0
        + (u**3 - 2 * u**2 + u) * t0
        + (-2 * u**3 + 3 * u**2) * p1
        + (u**3 - u**2) * t1
    )


def meander(rng: np.random.Generator, n: int, amplitude: float) -> Points:
    """A smooth random displacement of n points that vanishes at both ends. Shape (n, 3)."""
    u = np.linspace(0, 1, n)[:, None, None]
    waves = np.arange(1, 6)[None, :, None]
    weight = rng.normal(size=(1, 5, 3)) / np.sqrt(waves)
    return amplitude * (np.sin(np.pi * waves * u) * weight).sum(1) * 0.6
