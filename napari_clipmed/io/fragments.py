"""Encapsulated pixel data (PS3.5 A.4) split into the compressed stream of each frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from napari_clipmed.io.streams import CODESTREAM, JP2, JPEG_START

ITEM = b"\xfe\xff\x00\xe0"
STARTS = (JPEG_START + b"\xff", CODESTREAM, JP2)
"""The first bytes of a JPEG or JPEG-LS stream, a JPEG 2000 codestream and a JP2 file."""


def compressed_frames(data: bytes, declared: int | None, one_fragment_each: bool = False) -> list[bytes]:
    """Split the value of an encapsulated pixel element into the streams of its frames.

    The offset table is believed where it fits; else a frame begins where a stream begins. A frame that the
    end of the file cuts is left out, unless it is the only one.

    Parameters
    ----------
    data : bytes
        Items, starting with the basic offset table.
    declared : int or None
        Number of Frames, where the header has one.
    one_fragment_each : bool
        True for RLE, which allows one fragment a frame only.
    """
    offsets, fragments, cut = _fragments(data)
    bodies = [body for _, body in fragments]
    if _fits(offsets, [start for start, _ in fragments]):
        streams = _by_offsets(offsets, fragments)
    elif declared == len(bodies) or one_fragment_each:
        streams = bodies
    elif declared == 1:
        streams = [b"".join(bodies)] if bodies else []
    else:
        streams = list(_by_markers(bodies))
    return streams[:-1] if cut and len(streams) > 1 else streams


def _fits(offsets: tuple[int, ...], starts: list[int]) -> bool:
    """Whether a table of several offsets rises from 0 and points at fragments, as far as the file goes."""
    rising = len(offsets) > 1 and offsets[0] == 0 and list(offsets) == sorted(set(offsets))
    return rising and bool(starts) and {o for o in offsets if o <= starts[-1]} <= set(starts)


def _by_offsets(offsets: tuple[int, ...], fragments: list[tuple[int, bytes]]) -> list[bytes]:
    """Join fragments into streams as the offset table says."""
    groups: list[list[bytes]] = [[] for _ in offsets]
    for start, body in fragments:
        groups[int(np.searchsorted(offsets, start, side="right")) - 1].append(body)
    return [b"".join(group) for group in groups if group]


def _by_markers(bodies: list[bytes]) -> Iterator[bytes]:
    """Join fragments into streams: a new frame begins with the first bytes of a stream."""
    parts: list[bytes] = []
    for body in bodies:
        if parts and body.startswith(STARTS):
            yield b"".join(parts)
            parts = []
        parts.append(body)
    if parts:
        yield b"".join(parts)


def _fragments(data: bytes) -> tuple[tuple[int, ...], list[tuple[int, bytes]], bool]:
    """Offset table, fragments with their offsets, and whether the end of the file cut the last one."""
    position, found, cut = 0, list[tuple[int, bytes]](), False
    while position + 8 <= len(data) and data[position : position + 4] == ITEM:
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        body = data[position + 8 : position + 8 + length]
        cut = len(body) < length
        found.append((position, body))
        position += 8 + length
    if not found:
        return (), [], False
    (_, table), *fragments = found
    offsets = tuple(int(offset) for offset in np.frombuffer(table[: len(table) // 4 * 4], "<u4"))
    first = 8 + len(table)
    return offsets, [(start - first, body) for start, body in fragments if body], cut
