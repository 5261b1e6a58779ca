"""DIMSE (PS3.4, PS3.7) over pynetdicom: C-ECHO, C-FIND, C-GET, C-MOVE with our own storage, C-STORE."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Self, cast

from pydicom import Dataset, uid
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event as Happening
from pynetdicom.presentation import PresentationContext

from napari_clipmed.io.dicom_values import text
from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.pacs.association import Guard, associated, entity, gone
from napari_clipmed.pacs.link import newest_first
from napari_clipmed.pacs.part10 import check_instance, encoded
from napari_clipmed.pacs.servers import Server
from napari_clipmed.pacs.words import (
    MOST_INSTANCES,
    MOST_STUDIES,
    Found,
    InstanceRef,
    InstanceRefused,
    PacsError,
    Query,
    SeriesRow,
    StudyRow,
    Timeouts,
)
from napari_clipmed.progress import Progress

VERIFICATION = "1.2.840.10008.1.1"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{operation}" for operation in (1, 2, 3))
"""Study Root Query/Retrieve Information Model (PS3.4, C.6.2)."""

STORED = (
    uid.XRayAngiographicImageStorage,
    uid.EnhancedXAImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    uid.EnhancedXRFImageStorage,
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.SegmentationStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
)
"""What a study of angiograms or films holds; a server sends only what was agreed on beforehand."""

SYNTAXES = (
    ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"),
    ("1.2.840.10008.1.2.4.70",),
    ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"),
    ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"),
)
"""Transfer syntaxes, one context each: as it is stored comes before decoded, where the server can choose."""

ARRIVAL_S = 5.0
"""How long an instance may lag behind the C-MOVE answer that says it was sent."""

_STUDY_KEYS = (
    *("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "StudyDescription", "AccessionNumber"),
    *("ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
)
_SERIES_KEYS = ("SeriesInstanceUID", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances")


class DimseLink:
    """Associations with a DIMSE server; see `link.Link`. Two stay open: for finding and for fetching."""

    def __init__(self, server: Server, progress: Progress, timeouts: Timeouts) -> None:
        self._server, self._timeouts = server, timeouts
        self._guard = Guard(progress, timeouts.answer)
        self._open = ExitStack()
        self._finding: Association | None = None
        self._fetching: Association | None = None
        self._landing: _Landing | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def echo(self) -> None:
        """See `link.Link`."""
        with self._associated([build_context(VERIFICATION)]) as association:
            if getattr(association.send_c_echo(), "Status", None) != 0:
                raise gone(self._server, self._guard)

    def find(self, query: Query) -> Found:
        """See `link.Link`; one C-FIND for each modality, since servers disagree on lists of them."""
        studies: list[StudyRow] = []
        for modality in query.modalities or ("",):
            asked = dict.fromkeys(_STUDY_KEYS, "") | query.keys() | {"ModalitiesInStudy": modality}
            answers = self._ask("STUDY", asked, MOST_STUDIES + 1)
            studies += [row for row in map(_study, answers) if row.study_uid]
        return newest_first(studies, MOST_STUDIES)

    def series(self, study_uid: str) -> list[SeriesRow]:
        """See `link.Link`."""
        asked = dict.fromkeys(_SERIES_KEYS, "") | {"StudyInstanceUID": study_uid}
        return [
            SeriesRow(
                _text(answer, "SeriesInstanceUID"),
                _text(answer, "Modality"),
                _text(answer, "SeriesDescription"),
                _count(answer, "NumberOfSeriesRelatedInstances"),
            )
            for answer in self._ask("SERIES", asked, MOST_INSTANCES)
        ]

    def instances(self, study_uid: str) -> list[InstanceRef]:
        """See `link.Link`."""
        found: dict[str, InstanceRef] = {}
        for series in self.series(study_uid):
            asked = {
                "StudyInstanceUID": study_uid,
                "SeriesInstanceUID": series.series_uid,
                "SOPInstanceUID": "",
            }
            for answer in self._ask("IMAGE", asked, MOST_INSTANCES + 1):
                sop = _text(answer, "SOPInstanceUID")
                if sop:
                    found.setdefault(sop, InstanceRef(study_uid, series.series_uid, sop))
            if len(found) > MOST_INSTANCES:
                raise PacsError(f"The study has more than {MOST_INSTANCES:,} instances.")
        return list(found.values())

    def fetch(self, wanted: InstanceRef, path: Path) -> None:
        """See `link.Link`."""
        self._guard.check(self._server)
        association = self._for_fetching()
        landing = self._landing = _Landing(wanted, path)
        self._guard.began()
        asked = _identifier(
            "IMAGE",
            {
                "StudyInstanceUID": wanted.study_uid,
                "SeriesInstanceUID": wanted.series_uid,
                "SOPInstanceUID": wanted.sop_uid,
            },
        )
        try:
            if self._server.route == "move":
                answers = association.send_c_move(asked, self._server.calling_ae, MOVE)
            else:
                answers = association.send_c_get(asked, GET)
            status = [answer for answer, _ in answers][-1]
        except (ValueError, RuntimeError) as error:  # not agreed on, or no longer associated
            raise self._not_offered(error) from error
        self._judge(status, landing)
        check_instance(path, wanted)

    def store(self, dataset: Dataset) -> None:
        """See `link.Link`."""
        encoded(dataset)  # says what is wrong with it before anybody is called
        context = build_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        with self._associated([context]) as association:
            if not association.accepted_contexts:
                raise self._not_taken("it does not take this kind of object")
            status = getattr(association.send_c_store(dataset), "Status", None)
            if status is None:
                raise gone(self._server, self._guard)
            if (
                status != 0 and status & 0xF000 != 0xB000
            ):  # 0xBxxx: stored, with a remark (PS3.4, table B.2-1)
                raise self._not_taken(f"status 0x{status:04X}")

    # -- inside -------------------------------------------------------------------------------------------

    def _associated(self, contexts: list[PresentationContext], roles: Any = (), handlers: Any = ()) -> Any:
        return associated(self._server, contexts, self._guard, self._timeouts, roles, handlers)

    def _not_taken(self, why: str) -> InstanceRefused:
        return InstanceRefused(
            f"{self._server.name} did not take the object ({why}).",
            "Ask whoever looks after the server whether it takes SEG and SR, and whether we may store.",
        )

    def _not_offered(self, error: Exception) -> PacsError:
        if isinstance(error, RuntimeError):
            return gone(self._server, self._guard)
        hint = "Add it with the other --route (get or move), or use DICOMweb."
        return PacsError(f"{self._server.name} does not offer this service.", hint)

    def _ask(self, level: str, keys: dict[str, str], most: int) -> list[Dataset]:
        """Answers to one C-FIND, at most so many; further ones are not waited for."""
        self._guard.check(self._server)
        if self._finding is None or not self._finding.is_established:
            self._finding = self._open.enter_context(self._associated([build_context(FIND)]))
        self._guard.began()
        found: list[Dataset] = []
        try:
            for status, identifier in self._finding.send_c_find(_identifier(level, keys), FIND):
                code = getattr(status, "Status", None)
                if code is None:
                    raise gone(self._server, self._guard)
                if code in (0xFF00, 0xFF01):
                    if identifier is not None:
                        found.append(identifier)
                    if len(found) >= most:
                        self._finding.abort()
                        break
                elif code != 0:
                    raise PacsError(
                        f"{self._server.name} did not answer the search (status 0x{code:04X}).",
                        "Ask for less, or ask whoever looks after the server.",
                    )
        except (ValueError, RuntimeError) as error:
            raise self._not_offered(error) from error
        return found

    def _for_fetching(self) -> Association:
        if self._fetching is None or not self._fetching.is_established:
            if self._server.route == "move":
                if self._fetching is None:
                    self._receive_moved()
                self._fetching = self._open.enter_context(self._associated([build_context(MOVE)]))
            else:
                storage = [build_context(kind, list(some)) for kind in STORED for some in SYNTAXES]
                roles = [build_role(kind, scp_role=True) for kind in STORED]
                handlers = [(evt.EVT_C_STORE, self._land)]
                self._fetching = self._open.enter_context(
                    self._associated([build_context(GET), *storage], roles, handlers)
                )
        return self._fetching

    def _receive_moved(self) -> None:
        """Listen for the associations that the server opens to us; only what was asked for is taken."""
        ae = entity(self._server, self._timeouts)
        ae.require_called_aet = True
        ae.maximum_associations = 4
        for kind in STORED:
            ae.add_supported_context(kind, [syntax for some in SYNTAXES for syntax in some])
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, self._guard.watch), (evt.EVT_C_STORE, self._land)]
        try:
            listener = ae.start_server(("", self._server.listen_port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise PacsError(
                f"{self._server.name} should send to port {self._server.listen_port} of this computer, "
                "but the port is in use.",
                "Close the other program, or agree on another --listen port with whoever looks after it.",
            ) from error
        if listener is not None:
            self._open.callback(listener.shutdown)

    def _land(self, happening: Happening) -> int:
        """Handler of ``EVT_C_STORE``; 0xA900 says that the instance is not the one asked for."""
        landing, request = self._landing, cast("C_STORE", happening.request)
        if landing is None or str(request.AffectedSOPInstanceUID) != landing.wanted.sop_uid:
            return 0xA900
        try:
            landing.path.write_bytes(happening.encoded_dataset())
        except OSError as error:
            landing.failure = error
            landing.arrived.set()
            return 0xA700
        landing.arrived.set()
        return 0

    def _judge(self, status: Dataset, landing: _Landing) -> None:
        """Raise for a transfer that did not end with the instance on our disk."""
        name, code = self._server.name, getattr(status, "Status", None)
        if landing.failure is not None:
            raise landing.failure
        if code is None:
            raise gone(self._server, self._guard)
        if code == 0xA801:
            raise PacsError(
                f"{name} does not know {self._server.calling_ae} as a place to send to.",
                f"Ask whoever looks after it to enter {self._server.calling_ae} "
                f"with the address of this computer and port {self._server.listen_port}.",
            )
        if not landing.arrived.wait(ARRIVAL_S if code == 0 and self._server.route == "move" else 0):
            self._guard.check(self._server)
            why = "sent nothing, as if it were not there" if code == 0 else f"status 0x{code:04X}"
            hint = "Ask for the study again later"
            if self._server.route == "move":
                hint += f"; check that {name} can reach port {self._server.listen_port} of this computer"
            raise InstanceRefused(f"{name} did not give an instance ({why}).", f"{hint}.")


class _Landing:
    """Where the instance on its way should land."""

    def __init__(self, wanted: InstanceRef, path: Path) -> None:
        self.wanted, self.path = wanted, path
        self.arrived = Event()
        self.failure: OSError | None = None


@quiet_pydicom
def _identifier(level: str, keys: dict[str, str]) -> Dataset:
    identifier = Dataset()
    identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def _study(answer: Dataset) -> StudyRow:
    return StudyRow(
        _text(answer, "StudyInstanceUID"),
        _text(answer, "PatientID"),
        _text(answer, "PatientName"),
        _text(answer, "StudyDate"),
        _text(answer, "StudyDescription"),
        _text(answer, "AccessionNumber"),
        tuple(part[:16] for part in _text(answer, "ModalitiesInStudy").split("\\")[:32] if part),
        _count(answer, "NumberOfStudyRelatedSeries"),
        _count(answer, "NumberOfStudyRelatedInstances"),
    )


@quiet_pydicom
def _text(answer: Dataset, keyword: str) -> str:
    return text(answer, keyword)[:1024]


def _count(answer: Dataset, keyword: str) -> int | None:
    try:
        return int(_text(answer, keyword))
    except ValueError:
        return None
