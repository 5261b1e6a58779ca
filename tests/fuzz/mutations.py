"""Damage, by seed: the same seed and number always give the same bytes."""

from __future__ import annotations

import random
import re
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO

import pydicom

from seeds import DEFLATED, deflate_bomb  # isort: skip

EXTREMES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VRS = [
    *(
        b"AE",
        b"AS",
        b"AT",
        b"CS",
        b"DA",
        b"DS",
        b"DT",
        b"FD",
        b"FL",
        b"IS",
        b"LO",
        b"LT",
        b"OB",
        b"OD",
        b"OF",
    ),
    *(
        b"OL",
        b"OW",
        b"PN",
        b"SH",
        b"SL",
        b"SQ",
        b"SS",
        b"ST",
        b"TM",
        b"UC",
        b"UI",
        b"UL",
        b"UN",
        b"US",
        b"UT",
    ),
]
SYNTAXES = [b"1.2.840.10008.1.2" + tail for tail in (b"", b".1", b".2", b".5", b".1.99")] + [
    b"1.2.840.10008.1.2.4.%d" % number for number in (50, 51, 57, 70, 80, 81, 90, 91, 102, 110, 201, 203)
]
COUNTED = (
    *("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel"),
    *("PixelRepresentation", "PlanarConfiguration", "WindowWidth", "WindowCenter", "FrameTime", "CineRate"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept"),
    *("PositionerPrimaryAngle", "DistanceSourceToDetector", "DistanceSourceToPatient"),
    *("ShutterLeftVerticalEdge", "RadiusOfCircularShutter"),
)
WORDS = {
    "PhotometricInterpretation": (
        "MONOCHROME1",
        "RGB",
        "YBR_FULL_422",
        "YBR_FULL",
        "PALETTE COLOR",
        "XYZ",
        "",
    ),
    "PixelIntensityRelationship": ("LIN", "LOG", "DISP", "?"),
    "VOILUTFunction": ("SIGMOID", "LINEAR_EXACT", "?"),
    "ShutterShape": ("BITMAP", "POLYGONAL", "CIRCULAR", "?"),
    "SOPClassUID": ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.12.2", ""),
    "Modality": ("XA", "RF", "CR", "OT", ""),
}

Mutation = Callable[[random.Random, bytes], bytes]


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    """Turn over some bits anywhere."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 2, 4, 16, 64))):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def flip_header_bits(rng: random.Random, data: bytes) -> bytes:
    """Turn over some bits near the beginning."""
    return flip_bits(rng, data[:1500]) + data[1500:]


def flip_pixel_bits(rng: random.Random, data: bytes) -> bytes:
    """Turn over some bits near the end, where compressed streams are."""
    place = max(data.find(b"\xe0\x7f\x10\x00"), 0) + 12
    return data[:place] + flip_bits(rng, data[place:]) if place < len(data) else flip_bits(rng, data)


def truncate(rng: random.Random, data: bytes) -> bytes:
    """Cut the end off."""
    return data[: rng.randrange(len(data))]


def move_blocks(rng: random.Random, data: bytes) -> bytes:
    """Delete, repeat or overwrite a block."""
    start, length = rng.randrange(len(data)), rng.choice((1, 2, 8, 100, 1000))
    block = data[start : start + length]
    return rng.choice(
        (
            data[:start] + data[start + length :],
            data[:start] + block * rng.choice((2, 50)) + data[start:],
            data[:start] + bytes(length) + data[start + length :],
            data[:start] + b"\xff" * length + data[start + length :],
        )
    )


def lie_about_length(rng: random.Random, data: bytes) -> bytes:
    """Give an element another length."""
    places = [match.start() for match in re.finditer(rb"[A-Z]{2}(?=..)", data[:4000], re.DOTALL)]
    if not places:
        return flip_bits(rng, data)
    place = rng.choice(places)
    long = data[place : place + 2] in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"OF", b"OD", b"OL")
    length = rng.choice(EXTREMES) if rng.random() < 0.7 else rng.randrange(2**16)
    patch = struct.pack("<I", length) if long else struct.pack("<H", length & 0xFFFF)
    at = place + (4 if long else 2)
    return data[:at] + patch + data[at + len(patch) :]


def swap_vr(rng: random.Random, data: bytes) -> bytes:
    """Give an element another value representation."""
    places = [m.start() for m in re.finditer(b"|".join(VRS), data[:4000])]
    if not places:
        return flip_bits(rng, data)
    place = rng.choice(places)
    return data[:place] + rng.choice(VRS) + data[place + 2 :]


def swap_syntax(rng: random.Random, data: bytes) -> bytes:
    """Claim another transfer syntax."""
    match = re.search(rb"\x02\x00\x10\x00UI(..)(1\.2\.840\.10008\.1\.2[.\d]*\0?)", data, re.DOTALL)
    if not match:
        return flip_bits(rng, data)
    uid = rng.choice(SYNTAXES)
    uid += b"\0" * (len(uid) % 2)
    return data[: match.start(1)] + struct.pack("<H", len(uid)) + uid + data[match.end() :]


def damage_fragments(rng: random.Random, data: bytes) -> bytes:
    """Overwrite lengths of items and entries of the offset table."""
    places = [match.start() for match in re.finditer(b"\xfe\xff\x00\xe0", data)]
    if not places:
        return flip_bits(rng, data)
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 3))):
        at = rng.choice(places) + rng.choice((4, 8, 12, 16))
        raw[at : at + 4] = struct.pack("<I", rng.choice((*EXTREMES, rng.randrange(5000))))
    return bytes(raw)


def overwrite_numbers(rng: random.Random, data: bytes) -> bytes:
    """Put extreme numbers somewhere, in either byte order."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 2, 5))):
        at, order = rng.randrange(len(raw)), rng.choice("<>")
        patch = struct.pack(f"{order}I", rng.choice(EXTREMES))
        raw[at : at + 4] = patch if rng.random() < 0.5 else patch[:2]
    return bytes(raw)


def lie_in_header(rng: random.Random, data: bytes) -> bytes:
    """Well-formed lies: extreme counts, sizes and words, written by pydicom."""
    try:
        dataset = pydicom.dcmread(BytesIO(data))
        for _ in range(rng.choice((1, 1, 2, 4))):
            if rng.random() < 0.7:
                keyword = rng.choice(COUNTED)
                setattr(dataset, keyword, rng.choice(EXTREMES[:11]))
                if keyword == "NumberOfFrames":
                    dataset.NumberOfFrames = rng.choice((-1, *EXTREMES))
            else:
                keyword = rng.choice(list(WORDS))
                setattr(dataset, keyword, rng.choice(WORDS[keyword]))
            if rng.random() < 0.2 and keyword in dataset:
                del dataset[keyword]
        buffer = BytesIO()
        dataset.save_as(buffer)
        return buffer.getvalue()
    except Exception:  # noqa: BLE001 - pydicom refuses to write some lies; any damage will do
        return overwrite_numbers(rng, data)


def bomb(rng: random.Random, data: bytes) -> bytes:
    """A deflated data set, or a zip member, that unpacks to very much."""
    packed = deflate_bomb(rng.choice((80, 300, 1200)))
    meta = data[: data.find(b"\x08\x00")] if data[128:132] == b"DICM" else b""
    if b"\x02\x00\x10\x00UI" not in meta or rng.random() < 0.4:
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("bomb.dcm", data + bytes(rng.choice((1, 30)) * 2**20))
        return buffer.getvalue()
    match = re.search(rb"\x02\x00\x10\x00UI..[.\d]*\0?", meta, re.DOTALL)
    uid = DEFLATED.encode() + b"\0" * (len(DEFLATED) % 2)
    element = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid
    start = 132 if rng.random() < 0.3 else 0  # without the preamble, now and then
    return meta[start : match.start()] + element + meta[match.end() :] + packed


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, flip_header_bits, flip_pixel_bits, flip_pixel_bits, truncate, move_blocks),
    *(lie_about_length, swap_vr, swap_syntax, damage_fragments, overwrite_numbers),
    *(lie_in_header, lie_in_header, lie_in_header),
)
RARE = 60
"""One case in so many is a bomb, which takes a while to unpack."""


def damaged(seeds: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """Case `number` of a campaign: what was done to which seed, and the bytes."""
    rng = random.Random(f"{seed}:{number}")
    name = rng.choice(sorted(seeds))
    if rng.randrange(RARE) == 0:
        return f"{name} bomb", bomb(rng, seeds[name])
    data, done = seeds[name], []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutation = rng.choice(MUTATIONS)
        data = mutation(rng, data) or b"\0"
        done.append(mutation.__name__)
    return f"{name} {'+'.join(done)}", data
