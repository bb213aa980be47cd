"""A reader of PNG, as the specification (W3C, third edition) has it, with Python's own zlib."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# How many samples a pixel has, by colour type: grey, RGB, palette, grey with alpha, RGB with alpha.
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# A picture is decoded whole: what is larger was not drawn by hand.
MAX_PIXELS = 1 << 22


class Broken(ValueError):
    """What is no PNG file, or one of a kind that is not read."""


def greys(file):
    """Width, height and grey values of a file."""
    header, palette, transparent, data = None, b"", b"", []
    for kind, content in chunks(file):
        if kind == b"IHDR":
            header = read_header(content)
        elif kind == b"PLTE":
            palette = content
        elif kind == b"tRNS":
            transparent = content
        elif kind == b"IDAT":
            data.append(content)
    if header is None:
        raise Broken("it has no header")
    width, height, depth, colour = header
    rows = unfiltered(inflated(b"".join(data), width, height, depth, colour), width, height, depth, colour)
    shade = shader(depth, colour, palette, transparent)
    return width, height, bytes(shade(pixel) for row in rows for pixel in pixels(row, width, depth, colour))


def chunks(file):
    if not file.startswith(SIGNATURE):
        raise Broken("it does not begin as one")
    offset = len(SIGNATURE)
    while offset + 12 <= len(file):
        (length,) = struct.unpack_from(">I", file, offset)
        kind, content = file[offset + 4 : offset + 8], file[offset + 8 : offset + 8 + length]
        checksum = file[offset + 8 + length : offset + 12 + length]
        if len(checksum) < 4 or zlib.crc32(kind + content) != int.from_bytes(checksum, "big"):
            raise Broken(f"chunk {kind.decode('latin-1')} is damaged")
        yield kind, content
        if kind == b"IEND":
            return
        offset += 12 + length
    raise Broken("it ends too early")


def read_header(content):
    if len(content) != 13:
        raise Broken("its header has another length")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", content)
    depths = {0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(colour, (8, 16))
    if colour not in SAMPLES or depth not in depths:
        raise Broken(f"there is no colour type {colour} of depth {depth}")
    if not 0 < width * height <= MAX_PIXELS:
        raise Broken(f"it has {width} × {height} pixels; up to {MAX_PIXELS} are read")
    if interlace:
        raise Broken("it is interlaced")
    return width, height, depth, colour


def stride(width, depth, colour):
    return (width * SAMPLES[colour] * depth + 7) // 8


def inflated(data, width, height, depth, colour):
    wanted = height * (1 + stride(width, depth, colour))
    try:
        raw = zlib.decompressobj().decompress(data, wanted)
    except zlib.error as error:
        raise Broken(str(error)) from None
    if len(raw) < wanted:
        raise Broken("its pixels end too early")
    return raw


def unfiltered(raw, width, height, depth, colour):
    """The rows, each as bytes without its filter."""
    length, back = stride(width, depth, colour), max(1, SAMPLES[colour] * depth // 8)
    above = bytearray(length)
    for start in range(0, height * (length + 1), length + 1):
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + length])
        if kind > 4:
            raise Broken(f"there is no filter {kind}")
        for index in range(length if kind else 0):
            left = row[index - back] if index >= back else 0
            corner = above[index - back] if index >= back else 0
            row[index] = (row[index] + predicted(kind, left, above[index], corner)) & 255
        yield row
        above = row


def predicted(kind, left, above, corner):
    if kind == 1:
        return left
    if kind == 2:
        return above
    if kind == 3:
        return (left + above) // 2
    # Paeth: whichever of the three is nearest to left + above - corner.
    target = left + above - corner
    distance, _, nearest = min((abs(target - value), order, value) for order, value in enumerate((left, above, corner)))
    return nearest


def pixels(row, width, depth, colour):
    """The samples of each pixel."""
    count = SAMPLES[colour]
    if depth == 8:
        samples = row
    elif depth == 16:
        samples = struct.unpack(f">{len(row) // 2}H", row)
    else:
        mask = (1 << depth) - 1
        samples = [byte >> shift & mask for byte in row for shift in range(8 - depth, -1, -depth)]
    for start in range(0, width * count, count):
        yield samples[start : start + count]


def shader(depth, colour, palette, transparent):
    """What makes one grey value of a pixel's samples."""
    most = (1 << depth) - 1

    def paletted(pixel):
        entry = palette[3 * pixel[0] : 3 * pixel[0] + 3]
        if len(entry) < 3:
            raise Broken(f"its palette has no colour {pixel[0]}")
        return on_white(luminance(*entry), transparent[pixel[0]] / 255 if pixel[0] < len(transparent) else 1)

    def plain(pixel):
        scaled = [sample * 255 / most for sample in pixel]
        alpha = scaled.pop() / 255 if colour in (4, 6) else 1
        return on_white(luminance(*scaled) if len(scaled) == 3 else scaled[0], alpha)

    return paletted if colour == 3 else plain


def luminance(red, green, blue):
    return 0.299 * red + 0.587 * green + 0.114 * blue


def on_white(grey, alpha):
    return round(grey * alpha + 255 * (1 - alpha))
