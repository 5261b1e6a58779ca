"""Text that hides among the pixels: comments in compressed frames, overlays in unused bits."""

from __future__ import annotations

import numpy as np

JPEG_START, JPEG_2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
COMMENTS = frozenset({0xFE, *range(0xE0, 0xF0)}) - {0xEE}
"""COM and APP0 to APP15 of JPEG and JPEG-LS, but Adobe's APP14, which says how colours are stored."""

SCAN, JPEG_2000_TILE, JPEG_2000_COMMENT = 0xDA, 0x90, 0x64


def without_comments(stream: bytes) -> bytes:
    """A compressed frame without the comment and application segments of its header.

    JPEG, JPEG-LS and JPEG 2000 codestreams are understood; anything else is returned as it is. Pixels do not
    change (JPEG: ISO/IEC 10918-1 B.2.4; JPEG 2000: 15444-1 A.9.2).
    """
    if stream.startswith(JPEG_2000_START):
        return _without_segments(stream, frozenset({JPEG_2000_COMMENT}), JPEG_2000_TILE)
    if stream.startswith(JPEG_START):
        return _without_segments(stream, COMMENTS, SCAN)
    return stream


def _without_segments(stream: bytes, unwanted: frozenset[int], last: int) -> bytes:
    """Copy the marker segments before `last`, leave the unwanted ones out, and append the rest."""
    kept, position = [stream[:2]], 2
    while position + 4 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == last:
            break
        end = position + 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
        if marker not in unwanted:
            kept.append(stream[position:end])
        position = end
    return b"".join([*kept, stream[position:]])


def without_unused_bits(pixels: bytes, stored: int, high_bit: int, signed: bool = False) -> bytes:
    """Native 16-bit little-endian pixels with nothing in the bits outside the stored range.

    Old files keep overlay planes (PS3.3 C.9.2, retired) in those bits.

    Parameters
    ----------
    pixels : bytes
        16-bit samples.
    stored, high_bit : int
        Bits Stored and High Bit.
    signed : bool
        Whether the unused high bits repeat the sign.
    """
    if not 0 < stored <= high_bit + 1 <= 16 or stored == 16:
        return pixels
    whole = len(pixels) // 2 * 2
    values = np.frombuffer(pixels[:whole], "<i2" if signed else "<u2")
    low = high_bit + 1 - stored
    cleaned = (values << (15 - high_bit)) >> (16 - stored) << low
    return cleaned.astype(values.dtype).tobytes() + pixels[whole:]
