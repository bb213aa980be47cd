"""Writes pictures of digits as PNG files, each of another kind than the one before.

Usage: png.py ROWS.csv COUNT FOLDER; a row is 64 values from 0 (paper) to 16 (ink) and a label. A file 0.png, 1.png, …
a row, of 32 × 32 pixels.
"""

import pathlib
import struct
import sys
import zlib

SIDE = 32


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def filtered(rows, back):
    """Each row with another of the five filters, as encoders choose them."""
    above, out = bytes(len(rows[0])), b""
    for number, row in enumerate(rows):
        kind = number % 5
        left = [row[index - back] if index >= back else 0 for index in range(len(row))]
        corner = [above[index - back] if index >= back else 0 for index in range(len(row))]

        def paeth(a, b, c):
            distances = [(abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c)]
            return min(distances)[2]

        predicted = {
            0: lambda a, b, c: 0, 1: lambda a, b, c: a, 2: lambda a, b, c: b, 3: lambda a, b, c: (a + b) // 2, 4: paeth,
        }[kind]
        out += bytes([kind]) + bytes((value - predicted(*of)) % 256 for value, *of in zip(row, left, above, corner))
        above = row
    return out


def png(inks, kind):
    """A picture of inks from 0 to 1, row by row."""
    grey = [[255 - round(255 * ink) for ink in row] for row in inks]
    dark = [[255 - value for value in row] for row in grey]
    extra = b""
    if kind == "grey":
        depth, colour, back, rows = 8, 0, 1, [bytes(row) for row in grey]
    elif kind == "light on dark":
        depth, colour, back, rows = 8, 0, 1, [bytes(row) for row in dark]
    elif kind == "deep":
        depth, colour, back, rows = 16, 0, 2, [b"".join(struct.pack(">H", 257 * value) for value in row) for row in grey]
    elif kind == "colours":
        depth, colour, back, rows = 8, 2, 3, [bytes(value for grey in row for value in (grey, grey, grey)) for row in grey]
    elif kind == "transparent":
        depth, colour, back, rows = 8, 4, 2, [bytes(value for ink in row for value in (0, ink)) for row in dark]
    elif kind == "palette":
        extra = chunk(b"PLTE", bytes(value for entry in range(17) for value in [255 - round(255 * entry / 16)] * 3))
        depth, colour, back, rows = 8, 3, 1, [bytes(round(16 * ink) for ink in row) for row in inks]
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(filtered(rows, back)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


KINDS = ["grey", "light on dark", "deep", "colours", "transparent", "palette"]


def main():
    rows, count, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    lines = pathlib.Path(rows).read_text().splitlines()[1 : count + 1]
    for number, line in enumerate(lines):
        values = [int(value) for value in line.split(",")][:64]
        inks = [[values[row // 4 * 8 + column // 4] / 16 for column in range(SIDE)] for row in range(SIDE)]
        (folder / f"{number}.png").write_bytes(png(inks, KINDS[number % len(KINDS)]))


main()
