"""What fine-tuning needs of a workspace: model-input frames, and who may be trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import files
from napari_clipmed.records.schema import CaseRow, SnapshotRow, SplitMemberRow
from napari_clipmed.records.sessions import SOFTWARE, Sessions, need, now
from napari_clipmed.records.words import SplitRole
from napari_clipmed.records.workspace import workspace_errors


class TrainingRecords(Sessions):
    """Snapshots of the pictures, and the frozen split by patient."""

    def save_inputs(self, case: str, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
        """Keep the frames that fine-tuning needs, so that it never asks for the files again.

        Parameters
        ----------
        case : str
            Id of the case.
        arrays : mapping of str to uint8 array
            Windowed grey values without identity: (t, h, w) for a run, (h, w) for a single frame. The names
            are the caller's; `training.snapshots` has the ones that fine-tuning reads. A name saved again
            replaces the earlier array in `inputs`. Text burned into the pixels is kept as it is.
        """
        wrong = [
            name for name, array in arrays.items() if array.dtype != np.uint8 or array.ndim not in (2, 3)
        ]
        if wrong or not arrays:
            raise ValueError(f"Model-input frames are uint8 of 2 or 3 axes; wrong: {wrong or 'none given'}")
        self._check_writable()
        with workspace_errors(self.workspace.root):
            digest = files.store_content(
                self.workspace.inputs,
                files.encode_arrays(arrays),
                ".npz",
                self.workspace.root / files.PARTIAL,
            )
        with self._writing() as session:
            need(session.get(CaseRow, case), case)
            newest = session.scalars(
                select(SnapshotRow)
                .where(SnapshotRow.case_id == case)
                .order_by(SnapshotRow.id.desc())
                .limit(1)
            ).first()
            if newest is None or newest.sha256 != digest:
                names = sorted(arrays)
                session.add(
                    SnapshotRow(case_id=case, sha256=digest, names=names, created_at=now(), software=SOFTWARE)
                )

    def input_names(self) -> dict[str, frozenset[str]]:
        """Names of the stored arrays of every case that has some, without reading the files."""
        names: dict[str, frozenset[str]] = {}
        with self._reading() as session:
            for case_id, some in session.execute(select(SnapshotRow.case_id, SnapshotRow.names)):
                names[case_id] = names.get(case_id, frozenset()) | frozenset(some)
        return names

    def inputs(self, case: str) -> dict[str, NDArray[np.uint8]]:
        """The newest array under each name that was saved for a case."""
        query = select(SnapshotRow.sha256).where(SnapshotRow.case_id == case).order_by(SnapshotRow.id)
        with self._reading() as session:
            digests = list(session.scalars(query))
        arrays: dict[str, NDArray[np.uint8]] = {}
        with workspace_errors(self.workspace.root):
            for digest in digests:
                arrays |= files.decode_arrays(files.load_content(self.workspace.inputs, digest, ".npz"))
        return arrays

    def split_roles(self, task: str) -> dict[str, SplitRole]:
        """The role of every patient that a finished round of fine-tuning has seen, by patient key."""
        query = select(SplitMemberRow).where(SplitMemberRow.task == task)
        with self._reading() as session:
            return {row.patient_key: SplitRole(row.role) for row in session.scalars(query)}

    def freeze_roles(self, task: str, roles: Mapping[str, SplitRole]) -> None:
        """Give patients their role for ever.

        Raises
        ------
        WorkspaceError
            When another round has meanwhile given one of them the other role.
        """
        with self._writing() as session:
            self._lock(session, f"split {task}")
            query = select(SplitMemberRow).where(SplitMemberRow.task == task)
            known = {row.patient_key: row.role for row in session.scalars(query)}
            if any(known.get(key, role.value) != role.value for key, role in roles.items()):
                raise WorkspaceError(
                    "Another round of fine-tuning has meanwhile fixed which patients are for validation.",
                    "Start again; the plan will follow that decision.",
                )
            session.add_all(
                SplitMemberRow(task=task, patient_key=key, role=role.value, created_at=now())
                for key, role in roles.items()
                if key not in known
            )
