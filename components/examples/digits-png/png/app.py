"""PNG files as grey values."""

from dataclasses import dataclass

import eyot
import png


@dataclass
class Greys:
    width: int
    height: int
    # One byte a pixel, row by row, 0 for black.
    values: bytes


@eyot.function
def decode(file: bytes) -> Greys:
    """The picture of a PNG file, whatever its kind, in grey and on white where it is transparent."""
    try:
        return Greys(*png.greys(file))
    except png.Broken as error:
        raise eyot.InvalidInput(f"no PNG file that can be read: {error}") from None
