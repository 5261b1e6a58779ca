"""What a compressed stream claims about itself, checked before a decoder believes it.

Decoders are written in C, C++ and Rust. They make room for what the stream claims, and some search a cut
stream for minutes. So each stream is measured here first, with a few comparisons.
"""

from __future__ import annotations

JPEG_START, CODESTREAM, JP2 = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "

FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Markers of a frame header: SOF0 to SOF15 of JPEG, SOF55 of JPEG-LS."""

PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
"""Those of them whose picture comes in many scans."""

MOST_SCANS = 100
"""A progressive JPEG has some ten scans; thousands of empty ones keep a decoder busy for minutes."""

MOST_TILES = 4096
MOST_COMPONENTS = 4

Size = tuple[int, int]


def stream_size(stream: bytes) -> Size | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream itself claims; None where it does not say.

    A decoder makes room for this size, so it is compared with the header before one is called.
    """
    if stream.startswith(JP2):
        stream = stream[max(stream.find(CODESTREAM), 0) :]
    if stream.startswith(CODESTREAM):  # JPEG 2000: SIZ follows at once
        x1, y1, x0, y0 = (_number(stream, at, 4) for at in (8, 12, 16, 20))
        return y1 - y0, x1 - x0
    header = _frame_header(stream)
    return None if header is None else (_number(stream, header + 5, 2), _number(stream, header + 7, 2))


def fault_of(stream: bytes, size: Size) -> str:
    """Why a stream must not be given to a decoder; empty where nothing speaks against it.

    Parameters
    ----------
    stream : bytes
        The compressed stream of one frame; RLE, which knows no size, always passes.
    size : (int, int)
        Rows and columns that the header promises.
    """
    if not stream.startswith((JPEG_START, CODESTREAM, JP2)):
        return ""
    claimed = stream_size(stream)
    if claimed != size:
        return "the stream does not say its size" if claimed is None else f"the stream holds {claimed} pixels"
    if stream.startswith(JPEG_START):
        return _jpeg_fault(stream)
    return _jpeg_2000_fault(stream[max(stream.find(CODESTREAM), 0) :], size)


def _number(stream: bytes, at: int, length: int) -> int:
    return int.from_bytes(stream[at : at + length], "big")


def _frame_header(stream: bytes) -> int | None:
    """Where the frame header of a JPEG or JPEG-LS stream begins; None where there is none."""
    position = 2
    while stream[:2] == JPEG_START and position + 9 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in FRAME_HEADERS:
            return position
        else:
            position += 2 + _number(stream, position + 2, 2)
    return None


def _jpeg_fault(stream: bytes) -> str:
    """A JPEG or JPEG-LS stream that is cut, or made to keep a decoder busy."""
    header = _frame_header(stream) or 0
    components = _number(stream, header + 9, 1)
    if not 1 <= components <= MOST_COMPONENTS:
        return "the stream claims an impossible number of components"
    # A single component without progression is one scan: nothing behind it is read, and counting would take
    # a tenth of the time of decoding.
    several = components > 1 or stream[header + 1] in PROGRESSIVE
    if several and stream.count(b"\xff\xda") > MOST_SCANS:
        return "the stream claims too many scans"
    if stream[header + 1] == 0xF7 and b"\xff\xd9" not in stream.rstrip(b"\0")[-4:]:  # some pad with 0xFF
        return "the stream was cut"  # CharLS searches such a stream for most of a minute
    return ""


def _jpeg_2000_fault(stream: bytes, size: Size) -> str:
    """A JPEG 2000 codestream whose tiles or components make no sense (SIZ, ISO 15444-1 A.5.1)."""
    width, height = _number(stream, 24, 4), _number(stream, 28, 4)
    components = _number(stream, 40, 2)
    if not width or not height or not 1 <= components <= MOST_COMPONENTS:
        return "the stream claims impossible tiles or components"
    if -(-size[0] // height) * -(-size[1] // width) > MOST_TILES:
        return "the stream claims too many tiles"
    steps = stream[42 : 42 + 3 * components]
    if len(steps) < 3 * components or 0 in steps[1::3] or 0 in steps[2::3]:
        return "the stream claims impossible components"
    return ""
