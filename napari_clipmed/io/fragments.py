"""Encapsulated pixel data (PS3.5 A.4) split into the compressed stream of each frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ITEM = b"\xfe\xff\x00\xe0"
STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
"""The first bytes of a JPEG or JPEG-LS stream, a JPEG 2000 codestream and a JP2 file."""

FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Markers of a frame header: SOF0 to SOF15 of JPEG, SOF55 of JPEG-LS."""


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


def stream_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream itself claims; None where it does not say.

    A decoder makes room for this size, so it is compared with the header before one is called.
    """
    if stream.startswith(b"\xff\x4f\xff\x51"):  # JPEG 2000: SIZ follows at once
        x1, y1, x0, y0 = (int.from_bytes(stream[at : at + 4], "big") for at in (8, 12, 16, 20))
        return y1 - y0, x1 - x0
    position = 2
    while stream[:2] == b"\xff\xd8" and position + 9 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in FRAME_HEADERS:
            height, width = (
                int.from_bytes(stream[position + at : position + at + 2], "big") for at in (5, 7)
            )
            return height, width
        position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
    return None


def is_cut_jpeg_ls(stream: bytes) -> bool:
    """Whether a JPEG-LS stream lacks its end; CharLS searches such a stream for most of a minute."""
    return b"\xff\xf7" in stream[:64] and b"\xff\xd9" not in stream.rstrip(b"\0")[-4:]  # some pad with 0xFF
