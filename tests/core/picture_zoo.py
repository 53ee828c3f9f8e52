"""Small picture files of every kind that people have, each with the same smooth picture in it."""

from __future__ import annotations

import functools
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

WIDTH, HEIGHT = 41, 26
ORIENTATION = 0x0112


def picture():
    """uint8 [26, 41, 3]: a ramp in each direction."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    ramps = columns / (WIDTH - 1), rows / (HEIGHT - 1), (rows + columns) / (WIDTH + HEIGHT - 2)
    return (np.stack(ramps, -1) * 255).astype(np.uint8)


def grey16():
    """uint16 [26, 41]: a ramp over the whole range."""
    return np.tile(np.linspace(0, 65535, WIDTH).astype(np.uint16), (HEIGHT, 1))


def file_of(image, form, **options):
    buffer = io.BytesIO()
    image.copy().save(buffer, form, **options)
    return buffer.getvalue()


def png(values, bits, colour_type, *chunks):
    """A PNG of unsigned `values` [H, W, C], written by hand: Pillow writes few of the kinds that it reads."""
    rows = values.astype(">u2") if bits == 16 else values.astype("u1")
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour_type, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
        (b"IEND", b""),
    ]
    body = (
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data)) for tag, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tiff(values, photometric, sample_format=1, extra=()):
    """A TIFF of `values` [H, W] or [H, W, C] in one strip, written by hand. `extra` holds further tags, each one SHORT."""
    data, channels = values.tobytes(), values.shape[2] if values.ndim == 3 else 1
    values_of = {256: [values.shape[1]], 257: [values.shape[0]], 258: [values.itemsize * 8] * channels, 259: [1],
                 262: [photometric], 273: [8], 277: [channels], 278: [values.shape[0]], 279: [len(data)],
                 339: [sample_format] * channels, **{tag: [value] for tag, value in extra}}  # fmt: skip
    head = 8 + len(data)
    beyond, entries, far = head + 6 + 12 * len(values_of), b"", b""
    for tag, numbers in sorted(values_of.items()):
        long = tag in (256, 257, 273, 278, 279)
        packed = struct.pack(f"<{len(numbers)}{'I' if long else 'H'}", *numbers)
        if len(packed) > 4:
            far, packed = far + packed, struct.pack("<I", beyond + len(far))
        entries += struct.pack("<HHI", tag, 4 if long else 3, len(numbers)) + packed.ljust(4, b"\0")
    return struct.pack("<2sHI", b"II", 42, head) + data + struct.pack("<H", len(values_of)) + entries + b"\0" * 4 + far


def with_orientation(number):
    exif = Image.Exif()
    exif[ORIENTATION] = number
    return exif


def _grey():
    whole, deep = Image.fromarray(picture()), grey16()
    grey, bilevel, clear = whole.convert("L"), whole.convert("1"), int(deep[3, 5])
    floats = (deep / 65535).astype(np.float32)
    turned = np.stack([deep, deep[:, ::-1]], -1)
    big = Image.frombytes("I;16B", (WIDTH, HEIGHT), deep.astype(">u2").tobytes())
    return {
        "grey.png": file_of(grey, "PNG"), "grey.jpg": file_of(grey, "JPEG", quality=95), "grey.bmp": file_of(grey, "BMP"),
        "grey alpha.png": file_of(Image.merge("LA", (grey, whole.getchannel(0))), "PNG"),
        "grey alpha.tif": file_of(Image.merge("LA", (grey, whole.getchannel(0))), "TIFF"),
        "grey transparent.png": file_of(grey, "PNG", transparency=int(np.asarray(grey)[3, 3])),
        "one bit.png": file_of(bilevel, "PNG"), "one bit.bmp": file_of(bilevel, "BMP"),
        "fax.tif": file_of(bilevel, "TIFF", compression="group4"),
        "16 bits.png": file_of(Image.fromarray(deep), "PNG"), "16 bits.tif": file_of(Image.fromarray(deep), "TIFF"),
        "16 bits flat.png": file_of(Image.fromarray(np.full((HEIGHT, WIDTH), 32768, np.uint16)), "PNG"),
        "16 bits turned.png": file_of(Image.fromarray(deep), "PNG", exif=with_orientation(6)),
        "16 bits transparent.png": png(deep[..., None], 16, 0, (b"tRNS", struct.pack(">H", clear))),
        "16 bits alpha.png": png(turned, 16, 4),
        "16 bits big-endian.tif": file_of(big, "TIFF"),
        "16 bits big-endian turned.tif": file_of(big, "TIFF", tiffinfo={ORIENTATION: 6}),
        "16 bits white is zero.tif": tiff(deep.astype("<u2"), 0),
        "16 bits signed.tif": tiff((deep.astype(np.int32) - 32768).astype("<i2"), 1, 2),
        "32 bits.tif": file_of(Image.fromarray(deep.astype(np.int32)), "TIFF"),
        "float of 0 to 1.tif": file_of(Image.fromarray(floats), "TIFF"),
        "float of 0 to 255.tif": file_of(Image.fromarray(floats * 255), "TIFF"),
        "float below 0.tif": file_of(Image.fromarray(floats * 300 - 40), "TIFF"),
    }  # fmt: skip


def _coloured():
    whole = Image.fromarray(picture())
    paletted, alpha, deep = whole.quantize(32), whole.copy(), picture().astype(np.uint16) * 257
    alpha.putalpha(whole.getchannel(0))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", struct.pack(">I", 100000))
    colour = struct.pack(">HHH", *(int(value) for value in deep[3, 5]))
    with_alpha = np.concatenate([deep, deep[..., :1]], -1)
    return {
        "colour.png": file_of(whole, "PNG"), "colour.bmp": file_of(whole, "BMP"), "colour.tif": file_of(whole, "TIFF"),
        "colour.jpg": file_of(whole, "JPEG", quality=95, subsampling=0), "lossless.webp": file_of(whole, "WEBP", lossless=True),
        "transparent.png": file_of(whole, "PNG", transparency=tuple(int(value) for value in picture()[3, 3])),
        "alpha.png": file_of(alpha, "PNG"), "alpha.tif": file_of(alpha, "TIFF"),
        "alpha.webp": file_of(alpha, "WEBP", lossless=True),
        "16 bits colour.png": png(deep, 16, 2), "16 bits colour.tif": tiff(deep.astype("<u2"), 2),
        "16 bits colour alpha.png": png(with_alpha, 16, 6),
        "16 bits colour alpha.tif": tiff(with_alpha.astype("<u2"), 2, extra=[(338, 2)]),
        "16 bits colour transparent.png": png(deep, 16, 2, (b"tRNS", colour)),
        "palette.png": file_of(paletted, "PNG"), "palette.bmp": file_of(paletted, "BMP"),
        "palette.gif": file_of(paletted, "GIF"), "palette.tif": file_of(paletted, "TIFF"),
        "palette transparent.png": file_of(paletted, "PNG", transparency=3),
        "palette alpha.png": file_of(paletted, "PNG", transparency=bytes(range(0, 256, 8))),
        "palette transparent.gif": file_of(paletted, "GIF", transparency=3),
        "inks.jpg": file_of(whole.convert("CMYK"), "JPEG", quality=95), "inks.tif": file_of(whole.convert("CMYK"), "TIFF"),
        "inks turned.jpg": file_of(whole.convert("CMYK"), "JPEG", quality=95, exif=with_orientation(8)),
        "profile.png": file_of(whole, "PNG", icc_profile=profile), "gamma.png": file_of(whole, "PNG", pnginfo=gamma),
        "profile.jpg": file_of(whole, "JPEG", quality=95, subsampling=0, icc_profile=profile),
        "packed.tif": file_of(whole, "TIFF", compression="tiff_lzw"),
        "zipped.tif": file_of(whole, "TIFF", compression="tiff_adobe_deflate"),
    }  # fmt: skip


def _of_several():
    whole, second = Image.fromarray(picture()), Image.fromarray(255 - picture())
    alpha = whole.copy()
    alpha.putalpha(whole.getchannel(0))
    further = {"save_all": True, "append_images": [second], "duration": 100}
    return {
        "animated.gif": file_of(whole.quantize(32), "GIF", save_all=True, append_images=[second.quantize(32)], duration=100),
        "animated transparent.gif": file_of(whole.quantize(16), "GIF", save_all=True, transparency=0, disposal=2,
                                            append_images=[second.quantize(16)], duration=100),
        "animated.png": file_of(whole, "PNG", **further),
        "animated with a stand-in.png": file_of(second, "PNG", save_all=True, append_images=[whole, second], duration=100,
                                                default_image=True),
        "animated.webp": file_of(whole, "WEBP", lossless=True, **further),
        "animated alpha.webp": file_of(alpha, "WEBP", lossless=True, **further),
        "pages.tif": file_of(whole, "TIFF", save_all=True, append_images=[second]),
        "two eyes.jpg": file_of(whole, "MPO", save_all=True, append_images=[second], quality=95, subsampling=0),
        "two eyes turned.jpg": file_of(whole, "MPO", save_all=True, append_images=[second], quality=95, subsampling=0,
                                       exif=with_orientation(3)),
    }  # fmt: skip


def _held(numbers):
    whole = Image.fromarray(picture())
    found = {}
    for number in numbers:
        exif = with_orientation(number)
        found |= {
            f"held {number}.png": file_of(whole, "PNG", exif=exif),
            f"held {number}.jpg": file_of(whole, "JPEG", quality=95, subsampling=0, exif=exif),
            f"held {number}.webp": file_of(whole, "WEBP", lossless=True, exif=exif),
            f"held {number}.tif": file_of(whole, "TIFF", tiffinfo={ORIENTATION: number}),
        }
    return found


@functools.cache
def zoo():
    """Name → bytes of the files that a host is expected to read as we do."""
    return {**_grey(), **_coloured(), **_of_several(), **_held((1, 3, 6, 8))}


@functools.cache
def mirrored():
    """Files whose EXIF says that they are mirrored, as some front cameras write them."""
    return _held((2, 4, 5, 7))
