"""Pictures that are none, or too much of one, given to `ask`."""

import io
import os
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image
from tests.hostile.refusal import assert_bounded, assert_one_line, assert_refused, say, snapshot
from tests.parts import joined, picture

BIG = 300  # megabytes in a chunk, packed to a thousandth
FEW_ROWS = bytes(20)  # of a picture of 4 x 4

NO_PICTURE = "not a picture; save it as one of JPEG, PNG"
DAMAGED = "; fetch or save the picture again"
TOO_LARGE = "could be decompression bomb DOS attack; scale the picture down"
TOO_LONG = "; scale the picture down, or cut it"


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *more, rows=b""):
    """A PNG in grey that says it has this size, whatever it holds."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + data + chunk(b"IEND", b"")


def zeros(megabytes):
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()


def gif(width, height):
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def tiff(width, height):
    """One strip of 4 GB that is not there."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, 2**32 - 1)]]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)


def bmp(side):
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)


def saved(form, image=None, **settings):
    buffer = io.BytesIO()
    (image or picture(1, 64, 64)).save(buffer, form, **settings)
    return buffer.getvalue()


def half(form):
    whole = saved(form)
    return whole[: len(whole) // 2]


REFUSED = {
    "a png of 3.6 gigapixels": (lambda: png(60_000, 60_000), TOO_LARGE),
    "a png of 2^31 pixels a side": (lambda: png(2**31 - 1, 2**31 - 1), TOO_LARGE),
    "a gif of 4.3 gigapixels": (lambda: gif(65_535, 65_535), TOO_LARGE),
    "a tiff of 2^64 pixels": (lambda: tiff(2**32 - 1, 2**32 - 1), TOO_LARGE),
    "a bmp of 2^62 pixels": (lambda: bmp(2**31 - 1), TOO_LARGE),
    "a ppm of 10^18 pixels": (lambda: b"P6 1000000000 1000000000 255\n", TOO_LARGE),
    "a webp of 2^48 pixels": (lambda: b"RIFF\x1a\0\0\0WEBPVP8X\x0a" + bytes(7) + b"\xff" * 6, TOO_LARGE),
    "a ribbon that would be padded to 3.6 gigapixels": (lambda: saved("PNG", Image.new("L", (60_000, 400))), TOO_LONG),
    "a thread that would be scaled to 300 megapixels": (lambda: saved("PNG", Image.new("L", (2, 16_000))), TOO_LONG),
    "a text of 300 MB in a png": (lambda: png(4, 4, chunk(b"zTXt", b"a\0\0" + zeros(BIG)), rows=FEW_ROWS), DAMAGED),
    "an international one": (lambda: png(4, 4, chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(BIG)), rows=FEW_ROWS), DAMAGED),
    "300 texts of 1 MB": (lambda: png(4, 4, chunk(b"zTXt", b"a\0\0" + zeros(1)) * BIG, rows=FEW_ROWS), DAMAGED),
    "a color profile of 300 MB": (lambda: png(4, 4, chunk(b"iCCP", b"a\0\0" + zeros(BIG)), rows=FEW_ROWS), DAMAGED),
    "a chunk that says it has 2 GB": (lambda: png(4, 4, b"\x7f\xff\xff\xfftEXt", rows=FEW_ROWS), DAMAGED),
    "a tiff of 100 megapixels that are not there": (lambda: tiff(10_000, 10_000), DAMAGED),
    "a size of 5,000 digits": (lambda: b"P6 " + b"9" * 5000 + b" 1 255\n", DAMAGED),
    "half a jpeg": (lambda: half("JPEG"), DAMAGED),
    "half a png": (lambda: half("PNG"), DAMAGED),
    "half a webp": (lambda: half("WEBP"), DAMAGED),
    "a png without width": (lambda: png(0, 5), NO_PICTURE),
    "nothing": (lambda: b"", NO_PICTURE),
    "a program": (lambda: b"\x7fELF\x02\x01\x01" + bytes(200), NO_PICTURE),
    "a document": (lambda: b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj", NO_PICTURE),
    "a drawing that names a file": (lambda: b'<svg><image href="file:///etc/passwd"/></svg>', NO_PICTURE),
    "a web page": (lambda: b"<!doctype html><title>404</title>", NO_PICTURE),
    "a web page behind a png's first bytes": (lambda: b"\x89PNG\r\n\x1a\n<!doctype html>", DAMAGED),
    "a program for printers": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", NO_PICTURE),
}

TAKEN = {
    "300 MB of rows for a picture of 16 pixels": lambda: png(4, 4, rows=bytes(BIG << 20)),
    "100,000 texts": lambda: png(4, 4, chunk(b"tEXt", b"a\0b") * 100_000, rows=FEW_ROWS),
    "a gif of 2,000 frames": lambda: frames("GIF"),
    "a moving png of 2,000 frames": lambda: frames("PNG"),
}


def frames(form):
    return saved(
        form,
        Image.new("L", (9, 9)),
        save_all=True,
        append_images=[Image.new("L", (9, 9), at % 255) for at in range(2000)],
    )


def ask(image):
    return ["ask", joined("clip", "llama"), image, "What color is it?", "--max-new-tokens", 2]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path, capsys):
    make, message = REFUSED[name]
    (tmp_path / "picture.jpg").write_bytes(make())
    assert_refused(tmp_path, ask(tmp_path / "picture.jpg"), capsys, message)


@pytest.mark.parametrize("name", TAKEN)
def test_harmless_all_the_same(name, tmp_path, capsys):
    """What is not needed of a file is not unpacked."""
    (tmp_path / "picture.jpg").write_bytes(TAKEN[name]())
    before = snapshot(tmp_path)
    said = say(ask(tmp_path / "picture.jpg"), capsys)
    assert (said.code, said.err) == (0, "")
    assert snapshot(tmp_path) == before
    assert_bounded(said)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "circle", "link out", "missing", "long"])
def test_what_is_no_file(kind, tmp_path, capsys):
    image = tmp_path / ("x" * 300 if kind == "long" else "inside.png")
    (tmp_path / "sub").mkdir()
    make = {
        "folder": image.mkdir,
        "pipe": lambda: os.mkfifo(image),
        "device": lambda: image.symlink_to("/dev/zero"),
        "circle": lambda: image.symlink_to("inside.png"),
        "link out": lambda: image.symlink_to("/etc/hostname"),
    }
    make.get(kind, lambda: None)()
    assert_refused(tmp_path, ask(image), capsys, "")


def test_in_a_process_of_its_own(tmp_path):
    """As a user has it, where nothing hides a warning."""
    (tmp_path / "picture.png").write_bytes(tiff(10_000, 10_000))
    command = [sys.executable, "-c", "from lapilli.cli import main; main()", *map(str, ask(tmp_path / "picture.png"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr)
    assert DAMAGED in done.stderr
