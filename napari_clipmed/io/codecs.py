"""JPEG through imagecodecs, as a decoding plugin of pydicom.

It adds the 12-bit extended JPEG that no other permissively licensed plugin decodes, and reads JPEG lossless,
the codec of angiographs, more than three times faster than gdcm.
"""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder, DecodeRunner
from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

LABEL = "clipmed-imagecodecs"
SYNTAXES = (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
ORDER = (LABEL, "pylibjpeg", "pyjpegls", "pydicom", "pillow")
"""GDCM is left out: it ends the whole process with an abort on some odd input, which no handler can catch."""

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


def decodes_alone(uid: str) -> bool:
    """Whether `decode_grey` reads this transfer syntax without pydicom, which copies each frame a lot."""
    return uid in SYNTAXES and bool(imagecodecs.JPEG8.available)


def decode_grey(stream: bytes, rows: int, columns: int) -> NDArray[Any]:
    """One grey JPEG stream, lossless or 12-bit; the lock of the interpreter is free meanwhile.

    Raises
    ------
    ValueError
        When the stream holds another picture than (rows, columns).
    """
    frame: NDArray[Any] = imagecodecs.jpeg_decode(stream)
    if frame.shape != (rows, columns):
        raise ValueError(f"the stream holds {frame.shape} values")
    return frame


def register() -> None:
    """Make the plugin known to pydicom; safe to call again."""
    for syntax in SYNTAXES:
        decoder = get_decoder(syntax)
        if LABEL not in decoder.available_plugins:
            decoder.add_plugin(LABEL, (__name__, decode_frame.__name__))


def plugins(decoder: Decoder) -> tuple[str, ...]:
    """The available plugins of a decoder in the order to try."""
    known = tuple(label for label in ORDER if label in decoder.available_plugins)
    return known or decoder.available_plugins


def decode(decoder: Decoder, source: bytes, options: dict[str, Any]) -> NDArray[Any]:
    """One encapsulated frame, by the first plugin that can.

    Parameters
    ----------
    source : bytes
        Encapsulated pixel data of a single frame.
    options : dict
        The image pixel module, as keywords of `Decoder.as_array`.

    Raises
    ------
    Exception
        Whatever the last plugin raised; each codec has its own.
    """
    fault: Exception = ValueError("no plugin")
    for plugin in plugins(decoder):
        try:
            return decoder.as_array(source, index=0, decoding_plugin=plugin, **options)[0]
        except Exception as error:  # noqa: BLE001 - boundary: kept, and raised below when no plugin can
            fault = error
        except BaseException as panic:
            if type(panic).__name__ != "PanicException":  # a codec in Rust that panics raises no Exception
                raise
            fault = ValueError(f"{plugin} failed on damaged data")
    raise fault
