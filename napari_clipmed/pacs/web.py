"""DICOMweb (PS3.18): QIDO-RS, WADO-RS and STOW-RS over requests, streamed to disk within bounds.

`dicomweb-client` (0.61) does not fit: it holds each instance in memory several times over, sets no bound to
an answer, parses and writes anew what it was given, loses why a server refuses to store, and cannot be
stopped amid a transfer. So requests is used directly.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import requests
from pydicom import Dataset
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from napari_clipmed.errors import Cancelled
from napari_clipmed.pacs.link import newest_first
from napari_clipmed.pacs.part10 import check_instance, encoded
from napari_clipmed.pacs.refusals import broken_line, http_refusal, not_let_in
from napari_clipmed.pacs.servers import Server
from napari_clipmed.pacs.words import (
    MOST_ANSWER_BYTES,
    MOST_INSTANCE_BYTES,
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

CHUNK = 64 * 1024
JSON = "application/dicom+json"
PART10 = "application/dicom"
FIELDS = (
    "StudyDescription",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
    "ModalitiesInStudy",
)
_TAGS = {
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "PatientID": "00100020",
    "PatientName": "00100010",
    "StudyDate": "00080020",
    "StudyDescription": "00081030",
    "AccessionNumber": "00080050",
    "ModalitiesInStudy": "00080061",
    "NumberOfStudyRelatedSeries": "00201206",
    "NumberOfStudyRelatedInstances": "00201208",
    "Modality": "00080060",
    "SeriesDescription": "0008103E",
    "NumberOfSeriesRelatedInstances": "00201209",
    "FailedSOPSequence": "00081198",
    "FailureReason": "00081197",
}

Item = dict[str, Any]


class WebLink:
    """Connection to a DICOMweb server; see `link.Link`."""

    def __init__(self, server: Server, progress: Progress, timeouts: Timeouts) -> None:
        self._server, self._progress, self._timeouts = server, progress, timeouts
        self._session = requests.Session()
        self._session.headers["Accept-Encoding"] = "identity"  # nothing that unfolds to more than was sent
        if server.user:
            password = server.password()
            if password is None:
                raise PacsError(
                    f"There is no password for {server.user} at {server.name}.",
                    f"Store it with `napari-clipmed pacs password {server.name}`, "
                    "or set CLIPMED_PACS_PASSWORD.",
                )
            # bytes: of text, requests takes letters outside Latin-1 as an error
            self._session.auth = (server.user.encode(), password.encode())  # type: ignore[assignment]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def echo(self) -> None:
        """See `link.Link`."""
        self._search("studies", {"limit": "1"})

    def find(self, query: Query) -> Found:
        """See `link.Link`; one search for each modality, since servers disagree on lists of them."""
        studies: list[StudyRow] = []
        for modality in query.modalities or ("",):
            asked = query.keys() | ({"ModalitiesInStudy": modality} if modality else {})
            asked |= {"limit": str(MOST_STUDIES + 1), "includefield": ",".join(FIELDS)}
            studies += [row for row in map(_study, self._search("studies", asked)) if row.study_uid]
        return newest_first(studies, MOST_STUDIES)

    def series(self, study_uid: str) -> list[SeriesRow]:
        """See `link.Link`."""
        asked = {"includefield": "SeriesDescription,NumberOfSeriesRelatedInstances"}
        items = self._search(f"studies/{study_uid}/series", asked)
        return [
            SeriesRow(
                _text(item, "SeriesInstanceUID"),
                _text(item, "Modality"),
                _text(item, "SeriesDescription"),
                _count(item, "NumberOfSeriesRelatedInstances"),
            )
            for item in items
        ]

    def instances(self, study_uid: str) -> list[InstanceRef]:
        """See `link.Link`; asks on until the server adds nothing, since some answer in pages."""
        found: dict[str, InstanceRef] = {}
        while True:
            items = self._search(
                f"studies/{study_uid}/instances", {"offset": str(len(found))} if found else {}
            )
            before = len(found)
            for item in items:
                sop = _text(item, "SOPInstanceUID")
                if sop:
                    found.setdefault(sop, InstanceRef(study_uid, _text(item, "SeriesInstanceUID"), sop))
            if len(found) == before:
                return list(found.values())
            if len(found) > MOST_INSTANCES:
                raise PacsError(f"The study has more than {MOST_INSTANCES:,} instances.")

    def fetch(self, wanted: InstanceRef, path: Path) -> None:
        """See `link.Link`; the bytes are written as they come, in the transfer syntax they are stored in."""
        where = f"studies/{wanted.study_uid}/series/{wanted.series_uid}/instances/{wanted.sop_uid}"
        accept = f'multipart/related; type="{PART10}"; transfer-syntax=*'
        with self._asked("GET", where, {"Accept": accept}) as answer:
            if answer.status_code != 200:
                raise InstanceRefused(http_refusal(self._server, answer), "Ask for the study again later.")
            with path.open("wb") as file:
                self._receive(answer, file)
        check_instance(path, wanted)

    def store(self, dataset: Dataset) -> None:
        """See `link.Link`."""
        study = str(dataset.StudyInstanceUID)
        boundary = "napari-clipmed-part"
        opening = f"--{boundary}\r\nContent-Type: {PART10}\r\n\r\n".encode()
        body = _Upload(opening + encoded(dataset) + f"\r\n--{boundary}--\r\n".encode(), self._progress)
        headers = {
            "Accept": JSON,
            "Content-Type": f'multipart/related; type="{PART10}"; boundary={boundary}',
        }
        with self._asked("POST", f"studies/{study}", headers, body=body) as answer:
            content = self._whole(answer, MOST_ANSWER_BYTES)
            items = _items(content) if content and "json" in answer.headers.get("Content-Type", "") else []
            failed = [f for item in items for f in _values(item, "FailedSOPSequence") if isinstance(f, dict)]
            if answer.status_code not in (200, 202) or failed:
                reason = next((_count(item, "FailureReason") for item in failed), None)
                because = "" if reason is None else f", reason 0x{reason:04X}"
                raise InstanceRefused(
                    f"{self._server.name} did not take the object (HTTP {answer.status_code}{because}).",
                    "Ask whoever looks after the server whether it takes SEG and SR, and lets us store.",
                )

    def _search(self, where: str, asked: dict[str, str]) -> list[Item]:
        with self._asked("GET", where, {"Accept": JSON}, asked) as answer:
            if answer.status_code == 204:
                return []
            if answer.status_code != 200:
                raise PacsError(
                    http_refusal(self._server, answer), "Check the address of its DICOMweb services."
                )
            content = self._whole(answer, MOST_ANSWER_BYTES)
        try:
            return _items(content)
        except (ValueError, RecursionError) as error:
            raise PacsError(
                f"{self._server.name} answered with something else than a DICOM list.",
                "Check that the address is that of its DICOMweb services, as in https://host/dicom-web.",
            ) from error

    @contextlib.contextmanager
    def _asked(
        self,
        method: str,
        where: str,
        headers: dict[str, str],
        asked: dict[str, str] | None = None,
        body: _Upload | None = None,
    ) -> Iterator[requests.Response]:
        """The answer, its body still on the line; whatever goes wrong with the line becomes a sentence."""
        if self._progress.cancelled:
            raise Cancelled
        try:
            with self._session.request(
                method,
                f"{self._server.url.rstrip('/')}/{where}{_query_string(asked or {})}",
                headers=headers,
                data=body,
                stream=True,
                allow_redirects=False,  # our password is for this address
                verify=self._server.ca_file or True,  # of the session, the environment would overrule it
                timeout=(self._timeouts.connect, self._timeouts.answer),
            ) as answer:
                if answer.status_code in (401, 403):
                    raise not_let_in(self._server, answer.status_code)
                yield answer
        except requests.RequestException as error:
            raise broken_line(self._server, error) from None  # its own words quote what was searched for

    def _whole(self, answer: requests.Response, most: int) -> bytes:
        return b"".join(self._chunks(answer, most))

    def _chunks(self, answer: requests.Response, most: int) -> Iterator[bytes]:
        size = 0
        for chunk in answer.iter_content(CHUNK):
            if self._progress.cancelled:
                raise Cancelled
            size += len(chunk)
            if size > most:
                raise PacsError(
                    f"{self._server.name} answered with more than {most / 2**20:,.0f} MiB; it was not kept.",
                    "Narrow the search, or tell whoever looks after the server.",
                )
            yield chunk

    def _receive(self, answer: requests.Response, file: BinaryIO) -> None:
        """The one part of a multipart answer, or the whole of a plain one."""
        chunks = self._chunks(answer, MOST_INSTANCE_BYTES)
        kind, options = parse_options_header(answer.headers.get("Content-Type", ""))
        boundary = options.get(b"boundary", b"")
        if kind == PART10.encode():
            file.writelines(chunks)
        elif kind == b"multipart/related" and boundary:
            _write_first_part(boundary, chunks, file)
        else:
            raise InstanceRefused(f"{self._server.name} answered with something else than DICOM.")


@dataclass
class _Upload:
    """A body that is asked for piece by piece, so that an upload can be cancelled."""

    content: bytes
    progress: Progress

    def __post_init__(self) -> None:
        self._stream = BytesIO(self.content)

    def __len__(self) -> int:
        return len(self.content)

    def read(self, size: int = -1) -> bytes:
        """The next piece; raises `Cancelled`."""
        if self.progress.cancelled:
            raise Cancelled
        return self._stream.read(size)


def _write_first_part(boundary: bytes, chunks: Iterable[bytes], file: BinaryIO) -> None:
    parts = 0

    def begin() -> None:
        nonlocal parts
        parts += 1

    def data(piece: bytes, start: int, end: int) -> None:
        if parts == 1:
            file.write(piece[start:end])

    ended = False

    def end() -> None:
        nonlocal ended
        ended = True

    try:
        parser = MultipartParser(
            boundary, {"on_part_begin": begin, "on_part_data": data, "on_end": end}, MOST_INSTANCE_BYTES
        )
        for chunk in chunks:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise InstanceRefused("The answer is not put together as DICOMweb demands.") from error
    if parts != 1 or not ended:
        raise InstanceRefused(
            "The answer ended early." if not ended else "The answer holds several instances."
        )


def _query_string(asked: dict[str, str]) -> str:
    """Keys of a search, with wildcards as they are: older Orthanc servers do not decode percent signs.

    They cannot be asked for a caret at all, since it must be written so; any letter in its place will do.
    """
    pairs = [f"{key}={quote(value.replace('^', '?'), safe='*,?')}" for key, value in asked.items()]
    return f"?{'&'.join(pairs)}" if pairs else ""


def _study(item: Item) -> StudyRow:
    return StudyRow(
        _text(item, "StudyInstanceUID"),
        _text(item, "PatientID"),
        _text(item, "PatientName"),
        _text(item, "StudyDate"),
        _text(item, "StudyDescription"),
        _text(item, "AccessionNumber"),
        tuple(str(value)[:16] for value in _values(item, "ModalitiesInStudy")[:32]),
        _count(item, "NumberOfStudyRelatedSeries"),
        _count(item, "NumberOfStudyRelatedInstances"),
    )


def _items(content: bytes) -> list[Item]:
    """A DICOM JSON list (PS3.18, F.2); an object alone counts as a list of one.

    Raises
    ------
    ValueError
        When it is none.
    """
    found = json.loads(content) if content else []
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError("not a list of objects")
    return found


def _values(item: Item, keyword: str) -> list[Any]:
    element = item.get(_TAGS[keyword])
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(item: Item, keyword: str) -> str:
    """The first value as text, names in their alphabetic form; at most as long as DICOM text may be."""
    value = next(iter(_values(item, keyword)), "")
    if isinstance(value, dict):
        value = value.get("Alphabetic", "")
    return str(value)[:1024] if isinstance(value, str | int | float) else ""


def _count(item: Item, keyword: str) -> int | None:
    try:
        return int(_text(item, keyword))
    except ValueError:
        return None
