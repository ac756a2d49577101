"""Every kind of picture becomes what a viewer shows: samples scaled, transparent ones on white, large ones small."""

import logging
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from lapilli.core.errors import LapilliError
from lapilli.core.pictures import ALPHA
from lapilli.data import decode, levels
from lapilli.data.pictures import open_picture

RAMP = np.linspace(0, 1, 256).reshape(16, 16)  # every level of 8 bits, in order
SIZES = {"width": 256, "height": 257, "bits": 258, "white": 262, "format": 339}


@pytest.fixture(autouse=True)
def _nothing_reported():
    levels._reported.clear()


def _opened(folder, name="picture"):
    return open_picture(folder, name)


def _grey(folder, name="picture"):
    return np.asarray(_opened(folder, name))[..., 0]


def _png(folder, depth, color, rows, *chunks):
    """A PNG of `rows` of big-endian samples."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = rows.shape[:2]
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    more = b"".join(chunk(*one) for one in chunks)
    body = head + more + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    (folder / "picture").write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def _tiff(folder, samples, **tags):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for name, (tag, kind, value) in tags.items():
        info.tagtype[tag] = kind
        info[tag] = value
        assert name
    Image.fromarray(samples).save(folder / "picture", "TIFF", tiffinfo=info)


def _raw_tiff(folder, samples, bits, photometric=1, sample_format=1):
    """An uncompressed TIFF with tags as given, which Pillow does not write."""
    body = samples.tobytes()
    height, width = samples.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(body)), (339, sample_format)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    (folder / "picture").write_bytes(b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + bytes(4))


EVEN = (RAMP * 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("form", "samples"),
    [
        ("TIFF", RAMP.astype(np.float32)),
        ("TIFF", (RAMP * 255).astype(np.float32)),
        ("TIFF", (RAMP * 7e6 - 3e6).astype(np.float32)),
        ("TIFF", (RAMP * 3071 - 1024).astype(np.int16).astype(np.int32)),
        ("TIFF", (RAMP * 2_000_000_000).astype(np.int32)),
        ("TIFF", (RAMP * 1000).astype(np.int32)),
        ("TIFF", (RAMP * 4095).round().astype(np.uint16)),
        ("PNG", (RAMP * 4095).round().astype(np.uint16)),
        ("PNG", (RAMP * 1023).round().astype(np.uint16)),
        ("PNG", (RAMP * 255).round().astype(np.uint16)),
        ("PNG", (RAMP * 65535).round().astype(np.uint16)),
        ("PPM", (RAMP * 65535).round().astype(np.int32)),
        ("PPM", (RAMP * 4095).round().astype(np.int32)),
    ],
)
def test_deep_samples_fill_the_levels(tmp_path, form, samples):
    Image.fromarray(samples).save(tmp_path / "picture", form)
    assert np.abs(_grey(tmp_path).astype(int) - EVEN).max() <= 1


def test_samples_that_mean_nothing_are_refused_and_gaps_are_the_lower_end(tmp_path):
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "picture", "TIFF")
    with pytest.raises(LapilliError, match="picture: cannot be decoded: no sample of it is a number; "):
        _opened(tmp_path)
    samples = np.array([[0, 0.5, 1, np.nan, np.inf, -np.inf]], np.float32)
    Image.fromarray(samples).save(tmp_path / "picture", "TIFF")
    assert _grey(tmp_path)[0].tolist() == [0, 128, 255, 0, 255, 0]


@pytest.mark.parametrize(
    ("samples", "tags", "expected"),
    [
        (np.array([[0, 1000, 2000]], np.uint16), {"max": (341, 3, 2000)}, [0, 128, 255]),
        (np.array([[100, 150, 200]], np.int32), {"min": (340, 9, 100), "max": (341, 9, 300)}, [0, 64, 128]),
        (np.array([[-1, 0, 1]], np.float32), {"min": (340, 11, -1.0), "max": (341, 11, 3.0)}, [0, 64, 128]),
        (np.array([[0, 500, 1000]], np.uint16), {"max": (281, 3, 1000)}, [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.uint16), {"max": (281, 3, 0)}, [0, 128, 255]),  # nonsense: not heeded
    ],
)
def test_what_a_tiff_declares_is_its_range(tmp_path, samples, tags, expected):
    _tiff(tmp_path, samples, **tags)
    assert np.abs(_grey(tmp_path)[0].astype(int) - expected).max() <= 1


def test_a_tiff_of_12_bits_of_white_zeros_and_of_unsigned_32_bits(tmp_path):
    _raw_tiff(tmp_path, np.array([[0x10, 0x08, 0x00]], np.uint8).repeat(1, 0), 12)  # 0x100 and 0x800, packed
    (tmp_path / "picture").write_bytes((tmp_path / "picture").read_bytes().replace(
        struct.pack("<HHII", 256, 4, 1, 3), struct.pack("<HHII", 256, 4, 1, 2)))  # fmt: skip
    assert _grey(tmp_path)[0].tolist() == [16, 128]
    _raw_tiff(tmp_path, np.array([[0, 32768, 65535]], np.uint16), 16, photometric=0)
    assert _grey(tmp_path)[0].tolist() == [255, 127, 0]
    _raw_tiff(tmp_path, np.array([[0, 2**31, 2**32 - 1]], np.uint32), 32)
    assert _grey(tmp_path)[0].tolist() == [0, 128, 255]


def test_a_dark_pgm_stays_as_dark_as_its_maxval_says(tmp_path):
    (tmp_path / "picture").write_bytes(b"P5 2 1 4095\n" + np.array([0, 100], ">u2").tobytes())
    assert _grey(tmp_path)[0].tolist() == [0, 6]
    (tmp_path / "picture").write_bytes(b"P5 2 1 65535\n" + np.array([0, 4095], ">u2").tobytes())
    assert _grey(tmp_path)[0].tolist() == [0, 255]


@pytest.mark.parametrize("color", [2, 6])
def test_colors_of_12_in_16_bits_are_read_whole(tmp_path, color):
    channels = {2: 3, 6: 4}[color]
    rows = np.full((1, 3, channels), 0xFFFF, ">u2")
    rows[0, :, :3] = [[0, 100, 4095], [2048, 16, 255], [1, 2, 3]]
    _png(tmp_path, 16, color, rows)
    expected = (rows[0, :, :3] / 4095 * 255).round()
    assert np.array_equal(np.asarray(_opened(tmp_path))[0], expected)
    rows[0, 0, 2] = 0x4321  # now it uses more, and is what Pillow makes of it
    _png(tmp_path, 16, color, rows)
    assert np.array_equal(np.asarray(_opened(tmp_path))[0], rows[0, :, :3] >> 8)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_grey_with_alpha_of_few_in_16_bits_is_read_whole(tmp_path, bits):
    rows = np.full((1, 32, 2), 0xFFFF, ">u2")
    rows[0, :, 0] = np.linspace(0, 2**bits - 1, 32)
    rows[0, 3, 1] = 0
    _png(tmp_path, 16, 4, rows)
    expected = (rows[0, :, 0] / (2**bits - 1) * 255).round()
    expected[3] = 255  # transparent
    assert np.abs(_grey(tmp_path)[0] - expected).max() <= 1


def test_black_stays_black_in_every_depth(tmp_path):
    for samples in (np.zeros((4, 4), kind) for kind in (np.uint16, np.int32, np.float32)):
        Image.fromarray(samples).save(tmp_path / "picture", "TIFF")
        assert not np.asarray(_opened(tmp_path)).any()
    _png(tmp_path, 16, 2, np.zeros((4, 4, 3), ">u2"))
    assert not np.asarray(_opened(tmp_path)).any()


def test_it_is_said_once_how_they_are_scaled_and_of_plain_16_bits_nothing(tmp_path, caplog):
    for name, top in (("one", 4095), ("other", 4095), ("full", 65535), ("\x1b[31m", 1023)):
        Image.fromarray((RAMP * top).astype(np.uint16)).save(tmp_path / name, "PNG")
    with caplog.at_level(logging.WARNING):
        for name in ("one", "other", "full", "\x1b[31m"):
            _opened(tmp_path, name)
    said = [record.getMessage() for record in caplog.records]
    assert [line.split("samples")[1][:10] for line in said] == [" of 0 to 4", " of 0 to 1"]
    assert "one" in said[0]
    assert "\x1b" not in said[1]


RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)
COVER = [255, 0, 51]  # opaque, hidden, a fifth
ON_WHITE = [RED, (255, 255, 255), (204, 204, 244)]


def _half_hidden():
    drawn = Image.new("RGBA", (3, 1))
    for x, (color, alpha) in enumerate(zip((RED, GREEN, BLUE), COVER, strict=True)):
        drawn.putpixel((x, 0), (*color, alpha))
    return drawn


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_is_white(tmp_path, form):
    _half_hidden().save(tmp_path / "picture", form, **({"lossless": True, "exact": True} if form == "WEBP" else {}))
    picture = _opened(tmp_path)
    assert picture.mode == "RGB"
    assert np.abs(np.asarray(picture)[0].astype(int) - ON_WHITE).max() <= 1
    assert np.asarray(picture.info[ALPHA])[0].tolist() == COVER


def _palette(**settings):
    picture = Image.new("P", (3, 1))
    picture.putpalette([*RED, *GREEN, *BLUE])
    for x in range(3):
        picture.putpixel((x, 0), x)
    return picture, settings


@pytest.mark.parametrize(
    ("form", "settings", "expected"),
    [
        ("PNG", {"transparency": bytes(COVER)}, ON_WHITE),
        ("PNG", {"transparency": 1}, [RED, (255, 255, 255), BLUE]),
        ("GIF", {"transparency": 2}, [RED, GREEN, (255, 255, 255)]),
        ("PNG", {}, [RED, GREEN, BLUE]),
    ],
)
def test_palettes_too(tmp_path, form, settings, expected):
    picture, settings = _palette(**settings)
    picture.save(tmp_path / "picture", form, **settings)
    assert np.abs(np.asarray(_opened(tmp_path))[0].astype(int) - expected).max() <= 1


def test_grey_with_alpha_and_premultiplied_alpha(tmp_path):
    Image.fromarray(np.array([[[100, 255], [100, 0]]], np.uint8), "LA").save(tmp_path / "picture", "PNG")
    assert _grey(tmp_path)[0].tolist() == [100, 255]
    Image.fromarray(np.array([[[100, 255], [100, 0]]], np.uint8), "LA").save(tmp_path / "picture", "TIFF")
    assert _grey(tmp_path)[0].tolist() == [100, 255]
    for mode in ("RGBa", "La", "PA"):
        source = _half_hidden() if mode == "RGBa" else Image.new("LA", (2, 1), (100, 0))
        drawn = source.convert(mode) if mode != "PA" else _palette()[0].convert("PA")
        drawn.putalpha(0) if mode == "PA" else None
        part, alpha = decode._paint(drawn, 0)
        assert alpha is not None
        assert part.mode == "RGB"


@pytest.mark.parametrize(
    ("depth", "color", "rows", "transparent", "expected"),
    [
        (8, 0, np.array([[7, 9]], ">u1"), b"\0\x07", [255, 9]),
        (16, 0, np.array([[700, 65535, 514]], ">u2"), struct.pack(">H", 700), [255, 255, 2]),
        (4, 0, np.array([[0x35]], ">u1"), b"\0\x03", [255, 0x55]),
        (2, 0, np.array([[0b01_10_0000]], ">u1"), b"\0\x01", [255, 170]),
    ],
)
def test_the_one_color_that_a_png_declares_transparent(tmp_path, depth, color, rows, transparent, expected):
    _png(tmp_path, depth, color, rows, (b"tRNS", transparent))
    content = bytearray((tmp_path / "picture").read_bytes())
    content[16:20] = struct.pack(">I", len(expected))  # packed samples: several in a byte
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "picture").write_bytes(content)
    assert _grey(tmp_path)[0].tolist() == expected


def test_colors_of_16_bits_too(tmp_path):
    _png(tmp_path, 16, 2, np.array([[[0x1234, 0x5678, 0x9ABC], [0x4321] * 3]], ">u2"),
         (b"tRNS", struct.pack(">HHH", 0x1234, 0x5678, 0x9ABC)))  # fmt: skip
    assert np.asarray(_opened(tmp_path))[0].tolist() == [[255] * 3, [0x43] * 3]


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "CMYK"])
def test_other_color_spaces(tmp_path, mode):
    color = {"LAB": (136, 208, 195), "YCbCr": (76, 85, 255), "CMYK": (0, 255, 255, 0)}[mode]  # each a red
    form = "JPEG" if mode == "CMYK" else "TIFF"
    Image.new(mode, (8, 8), color).save(tmp_path / "picture", form)
    red, green, blue = np.asarray(_opened(tmp_path))[4, 4].tolist()
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_it_is_the_first(tmp_path, form):
    Image.new("RGB", (8, 8), RED).save(
        tmp_path / "picture", form, save_all=True, append_images=[Image.new("RGB", (8, 8), BLUE)]
    )
    assert np.abs(np.asarray(_opened(tmp_path))[4, 4].astype(int) - RED).max() < 10


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_alpha_is_turned_with_its_picture(tmp_path, form):
    exif = Image.Exif()
    exif[0x0112] = 6
    settings = {"lossless": True} if form == "WEBP" else {}
    _half_hidden().save(tmp_path / "picture", form, exif=exif, **settings)
    assert np.asarray(_opened(tmp_path).info[ALPHA]).tolist() == [[alpha] for alpha in COVER]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_large_pictures_are_turned_as_all_are(tmp_path, form, orientation, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawn = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)).resize((60, 40))
    drawn.save(tmp_path / "picture", form, exif=exif)
    with Image.open(tmp_path / "picture") as plain:
        expected = ImageOps.exif_transpose(plain).convert("RGB")
    assert np.array_equal(np.asarray(_opened(tmp_path)), np.asarray(expected))
    monkeypatch.setattr(decode, "WHOLE", 60 * 40 // 4)
    small = expected.reduce(2)
    assert _opened(tmp_path).size == small.size
    assert np.abs(np.asarray(_opened(tmp_path)).astype(int) - np.asarray(small)).max() < (12 if form == "JPEG" else 2)


@pytest.mark.parametrize(("mode", "form"), [("RGB", "PNG"), ("L", "PNG"), ("P", "GIF"), ("CMYK", "TIFF"), ("1", "BMP")])
def test_up_to_the_stated_size_nothing_changes_to_the_last_bit(tmp_path, mode, form, monkeypatch):
    monkeypatch.setattr(levels, "_STRIP", 100)  # many strips, and the last one is not full
    drawn = Image.fromarray(np.random.default_rng(1).integers(0, 256, (37, 23, 3), np.uint8)).convert(mode)
    drawn.save(tmp_path / "picture", form)
    monkeypatch.setattr(decode, "WHOLE", 37 * 23)
    with Image.open(tmp_path / "picture") as plain:
        assert np.array_equal(np.asarray(_opened(tmp_path)), np.asarray(plain.convert("RGB")))
    monkeypatch.setattr(decode, "WHOLE", 37 * 23 - 1)
    assert _opened(tmp_path).size == (12, 19)


def test_what_can_only_be_decoded_whole_is_refused_above_what_memory_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "WHOLE", 1000)
    monkeypatch.setattr(decode, "_ROOM", 16 * 64 * 64 - 1)
    for form, settings in (("WEBP", {}), ("JPEG", {"progressive": True}), ("PNG", {})):
        side = 64 if form == "WEBP" else 200
        Image.new("RGB", (side, side)).save(tmp_path / "picture", form, **settings)
        with pytest.raises(LapilliError, match=r"of this kind take .* to decode, more than .*; scale the picture down"):
            _opened(tmp_path)
    Image.new("RGB", (200, 200)).save(tmp_path / "picture", "JPEG")
    assert _opened(tmp_path).size == (25, 25)  # an eighth of each side, where a seventh would do


_PEAK = """
import sys
from pathlib import Path
from transformers import LlavaImageProcessorPil
from lapilli.data.pictures import open_picture
from lapilli.model.pixels import Pixels
processor = LlavaImageProcessorPil(do_pad=True, size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
Pixels(processor, 32, 8)(open_picture(Path(sys.argv[1]), name) for name in sys.argv[2:])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc of Linux, whose peak of memory is no parent's")
def test_the_largest_pictures_take_less_than_a_gigabyte(tmp_path):
    """Of a process with torch and all, with the longest of pictures, and one of 100 megapixels."""
    Image.new("RGB", (20_000, 100), RED).save(tmp_path / "long.png")
    Image.new("L", (10_000, 10_000), 77).save(tmp_path / "large.png", compress_level=1)
    command = [sys.executable, "-c", _PEAK, tmp_path, "long.png", "large.png"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 1_000_000  # kB
