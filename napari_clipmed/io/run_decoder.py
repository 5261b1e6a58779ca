"""The frames of one DICOM file, decoded one by one in the order that somebody wants to see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from threading import Lock

import numpy as np
import psutil
from pydicom import Dataset
from pydicom.uid import RLELossless

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io import codecs
from napari_clipmed.io.dicom_headers import BytesOnDisk, DicomFile, PixelElement
from napari_clipmed.io.dicom_pixels import (
    Decoded,
    Frames,
    PixelLayout,
    decode_native,
    decode_stream,
    decoder_of,
    native_count,
    native_frames,
)
from napari_clipmed.io.fragments import compressed_frames
from napari_clipmed.progress import Progress

LARGE_RUN, HIGHEST_RATIO = 2**29, 500
"""A run of more than 512 MiB is believed only if its bytes are not absurdly few; real ratios are 2 to 50."""

THREADS = 2
"""Decoders at work at the same time, where the codec lets go of the interpreter."""

READ_BY_FRAME = 2**25
"""Bytes of native pixels, 32 MiB, from which a run is read frame by frame; smaller ones are there at once."""

Task = tuple[int, int]
"""Which run, which frame of it (both from 0)."""


def decode(file: DicomFile, progress: Progress | None = None) -> Decoded:
    """Decode all frames of a file.

    Raises
    ------
    UnreadableFileError
        When there is not one whole frame, or nobody decodes the transfer syntax.
    """
    run = RunDecoder(file)
    decode_runs([run], one_by_one([run]), progress or Progress(), f"Decoding {file.path.name}")
    return run.finished()


def one_by_one(runs: Sequence[RunDecoder]) -> Iterator[Task]:
    """Every frame that has not been tried, run by run."""
    return ((number, int(frame)) for number, run in enumerate(runs) for frame in np.flatnonzero(~run.tried))


def decode_runs(
    runs: Sequence[RunDecoder],
    tasks: Iterator[Task],
    progress: Progress,
    what: str,
    on_frame: Callable[[int, int], None] = lambda run, frame: None,
) -> None:
    """Decode the frames that `tasks` names, two at a time where that is faster.

    Parameters
    ----------
    tasks : iterator of (run, frame)
        Asked for the next frame whenever a decoder is free, so that it can follow what a person looks at.
    what : str
        Said to `progress`, with the frames tried so far out of all.
    on_frame : callable
        Told about each frame that was tried, on this thread.

    Raises
    ------
    Cancelled
        After the one or two frames at work are done.
    """
    total = sum(run.count for run in runs)
    threads = THREADS if all(run.frees_threads for run in runs) else 1
    with ThreadPoolExecutor(threads, thread_name_prefix="clipmed decoder") as pool:
        working: dict[Future[None], Task] = {}
        while True:
            for number, frame in islice(tasks, threads - len(working)):
                working[pool.submit(runs[number].decode, frame)] = (number, frame)
            if not working:
                return
            for future in wait(working, return_when=FIRST_COMPLETED).done:
                future.result()
                on_frame(*working.pop(future))
            progress.step(what, sum(int(run.tried.sum()) for run in runs) - len(working), total)


class RunDecoder:
    """The frames of one file, decoded one by one in any order; `decode` may be called by several threads.

    The native frames of a long run are read from the disk one by one; those of a short one need no decoding
    and are there at once. One bad frame costs one frame.

    Parameters
    ----------
    file : DicomFile
        With its pixels.

    Attributes
    ----------
    file : DicomFile
        Without the bytes of its pixels; compressed frames live on as `streams` until each is decoded.
    frames : (T, H, W) array or None
        Stored values; those of frames that have not arrived mean nothing. None before the first one.
    arrived : (T,) bool array
        Which frames are decoded.
    tried : (T,) bool array
        Which are decoded, or were found to be bad.
    frees_threads : bool
        Whether two threads decode faster than one.

    Raises
    ------
    UnreadableFileError
        When there is not one whole frame, or nobody decodes the transfer syntax.
    """

    def __init__(self, file: DicomFile) -> None:
        name, element = file.path.name, file.pixels
        if element is None:
            raise UnreadableFileError(
                f"{name} holds no image, only a header.",
                "Choose a file with pixel data, such as the run itself.",
            )
        self.file = file
        self.layout = PixelLayout.of(file.dataset, element.kind, name)
        self.frames: Frames | None = None
        self.frees_threads = file.transfer_syntax in codecs.SYNTAXES or not element.encapsulated
        self._native: Decoded | None = None
        self._on_disk: PixelElement | None = None
        self._fault = ""
        self._refusal: UnreadableFileError | None = None
        self._lock = Lock()
        if not element.encapsulated and self._reads_by_frame(element):
            count, self._count_notes = native_count(file, element, self.layout)
            self._on_disk = element
            self._held = len(element.data)
            self.streams: list[bytes] = [b""] * count
            self.arrived = np.zeros(count, bool)
        elif not element.encapsulated:
            self._native = decode_native(file, element, self.layout)
            self.frames = self._native.frames
            if not _draws_into_pixels(file.dataset):
                self.file = replace(file, pixels=replace(element, data=b""))
            self.streams = [b""] * len(self.frames)
            self.arrived = np.ones(len(self.frames), bool)
        else:
            self._decoder = decoder_of(file.transfer_syntax, name)
            one_each = file.transfer_syntax == RLELossless
            self.streams = compressed_frames(element.read(), self.layout.declared_frames, one_each)
            if not self.streams:
                raise UnreadableFileError(
                    f"{name} holds no whole frame.", "The file was cut; export it again."
                )
            self._count_notes = _count_notes(len(self.streams), self.layout.declared_frames, name)
            self._held = sum(map(len, self.streams))
            self.file = replace(file, pixels=replace(element, data=b""))
            self.arrived = np.zeros(len(self.streams), bool)
        self.tried = self.arrived.copy()

    @property
    def count(self) -> int:
        """Number of frames, T."""
        return len(self.streams)

    def decode(self, index: int) -> None:
        """Decode a frame that has not been tried yet; whatever is wrong with it is told by `finished`."""
        with self._lock:
            if self.tried[index]:
                return
            self.tried[index] = True
            stream, self.streams[index] = self.streams[index], b""
        try:
            self._put(
                index, self._decoded(stream) if self._on_disk is None else self._read(self._on_disk, index)
            )
        except UnreadableFileError as refusal:
            self._refusal = refusal
            self.tried[:] = True
        except Exception as error:  # noqa: BLE001 - boundary: each codec raises its own; the frame is marked bad
            self._fault = self._fault or type(error).__name__

    def _decoded(self, stream: bytes) -> Frames:
        name = self.file.path.name
        return decode_stream(self._decoder, stream, self.layout, self.file.dataset, name)

    def _reads_by_frame(self, element: PixelElement) -> bool:
        """Whether the native frames are left on the disk until each is wanted."""
        large = isinstance(element.data, BytesOnDisk) and len(element.data) >= READ_BY_FRAME
        return large and self.layout.frame_bits % 8 == 0 and not _draws_into_pixels(self.file.dataset)

    def _read(self, element: PixelElement, index: int) -> Frames:
        """A native frame from the disk."""
        size = self.layout.frame_bits // 8
        data = element.data[index * size : (index + 1) * size]
        return native_frames(self.file, data, self.layout, 1)[0]

    def _put(self, index: int, frame: Frames) -> None:
        """Room for the run is made when its first frame shows how much each takes."""
        with self._lock:
            if self.frames is None:
                self.frames = _room_for(self.count, frame, self.file.path.name, self._held)
        self.frames[index] = frame
        self.arrived[index] = True

    def so_far(self) -> Decoded:
        """The run as it is now, where at least one frame has arrived."""
        if self.frames is None:
            raise ValueError("No frame has arrived yet")
        return self._native or Decoded(self.frames)

    def finished(self) -> Decoded:
        """All frames, when each has been tried; neighbours stand in the place of bad ones.

        Raises
        ------
        UnreadableFileError
            When not one frame could be decoded, the run does not fit into memory, or its header claims the
            impossible.
        """
        if self._native is not None:
            return self._native
        if self._refusal is not None:
            raise self._refusal
        name, syntax = self.file.path.name, self.file.transfer_syntax.name
        if self.frames is None:
            raise UnreadableFileError(
                f"None of the {self.count} frame(s) of {name} could be decoded ({syntax}; {self._fault}).",
                "The file is damaged; export it again, uncompressed if possible.",
            )
        good = [int(index) for index in np.flatnonzero(self.arrived)]
        return _mended(self.frames, good, name, self._count_notes)


def _draws_into_pixels(dataset: Dataset) -> bool:
    """Whether an old overlay may sit in the unused bits of the pixels (PS3.3 C.9.2)."""
    return any(tag.group >> 8 == 0x60 for tag in dataset.keys())  # noqa: SIM118 - values are not to be parsed


def _mended(frames: Frames, good: list[int], name: str, count_notes: tuple[str, ...]) -> Decoded:
    """Put neighbours in the place of bad frames, and say what was wrong."""
    count = len(frames)
    bad = tuple(sorted(set(range(count)) - set(good)))
    for index in bad:
        frames[index] = frames[max((g for g in good if g < index), default=good[0])]
    if not bad:
        return Decoded(frames, bad, count_notes)
    numbers = ", ".join(str(index + 1) for index in bad[:8]) + ("…" if len(bad) > 8 else "")
    note = (
        f"{len(bad)} of {count} frames of {name} could not be decoded (frame {numbers}); "
        "the frame before is shown in their place."
    )
    return Decoded(frames, bad, (note, *count_notes))


def _count_notes(count: int, declared: int | None, name: str) -> tuple[str, ...]:
    """What is wrong with the number of compressed frames that a header declares."""
    if declared is None and count > 1:
        return (f"{name} does not say how many frames it has; {count} were found.",)
    if declared is not None and declared != count:
        return (f"{name} claims {declared} frames but holds {count}; those are shown.",)
    return ()


def _room_for(count: int, frame: Frames, name: str, held: int) -> Frames:
    """An empty run, if its bytes can hold it and it fits into the memory that is free."""
    if count * frame.nbytes > max(LARGE_RUN, HIGHEST_RATIO * held):
        raise UnreadableFileError(
            f"{name} claims {count * frame.nbytes / 2**30:.1f} GiB of frames, "
            f"which its {held:,} bytes cannot hold.",
            "The header is wrong or the file is damaged; export it again.",
        )
    if count * frame.nbytes > psutil.virtual_memory().available // 2:
        raise UnreadableFileError(
            f"The {count} frames of {name} need {count * frame.nbytes / 2**30:.1f} GiB, "
            "more than half of the free memory.",
            "Close other programs, or open it on a machine with more memory.",
        )
    return np.empty((count, *frame.shape), frame.dtype)
