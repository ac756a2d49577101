"""Pictures are opened whole, upright, and only from inside their folder."""

import os
import random
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.data.pictures import open_picture


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    _noise().save(images / "sub/a.png")
    _noise().save(tmp_path / "outside.png")
    return images


def _noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8))


def _bytes(picture, form, **options):
    buffer = BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def test_the_pixels_are_those_that_were_saved(folder):
    assert np.array_equal(np.asarray(open_picture(folder, "sub/a.png")), np.asarray(_noise()))
    assert np.array_equal(np.asarray(open_picture(folder, "sub/../sub/a.png")), np.asarray(_noise()))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA", "I;16"])
def test_every_mode_becomes_rgb(folder, mode):
    form = "TIFF" if mode == "CMYK" else "PNG"
    (folder / "b").write_bytes(_bytes(Image.new(mode, (5, 4)), form))
    assert (open_picture(folder, "b").mode, open_picture(folder, "b").size) == ("RGB", (5, 4))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_cut_off(folder, form):
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    (folder / "scan").write_bytes(_bytes(Image.fromarray(levels), form))
    assert np.asarray(open_picture(folder, "scan"))[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_the_exif_orientation_is_applied(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    _noise().save(folder / "turned.png", exif=exif)
    expected = np.rot90(np.asarray(_noise()), k=-1)
    assert np.array_equal(np.asarray(open_picture(folder, "turned.png")), expected)


def test_a_telephone_s_picture_of_two_frames_opens(folder):
    (folder / "mpo.jpg").write_bytes(_bytes(_noise(), "MPO", save_all=True, append_images=[_noise()]))
    assert open_picture(folder, "mpo.jpg").size == (40, 24)


def test_broken_exif_is_no_reason_to_refuse_a_whole_picture(folder):
    _noise().save(folder / "exif.jpg", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x00\x01garbage")
    assert open_picture(folder, "exif.jpg").size == (40, 24)


@pytest.mark.parametrize("name", ["../outside.png", "sub/../../outside.png", "link.png", "sub/up/outside.png"])
def test_no_path_leads_out_of_the_folder(folder, name):
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    (folder / "sub/up").symlink_to(folder.parent)
    with pytest.raises(LapilliError, match=f"^{name}: leads out of {folder}; keep every picture inside"):
        open_picture(folder, name)


def test_a_path_out_of_the_folder_does_not_tell_whether_the_file_is_there(folder):
    with pytest.raises(LapilliError, match="leads out of"):
        open_picture(folder, "../nothing.png")


def test_absolute_paths_are_refused_inside_too(folder):
    with pytest.raises(LapilliError, match=f"an absolute path; write the path as seen from {folder}"):
        open_picture(folder, str(folder / "sub/a.png"))


def test_the_folder_and_what_it_holds_may_be_links_that_stay_inside(folder):
    (folder.parent / "alias").symlink_to(folder)
    (folder / "inner.png").symlink_to("sub/a.png")
    assert open_picture(folder.parent / "alias", "inner.png").size == (40, 24)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no.png", "no such file"), ("sub/a.png/x", "no such file"), *((n, "not a file") for n in ("sub", ".", "pipe"))],
)
def test_what_is_no_file_is_missing(folder, name, reason):
    os.mkfifo(folder / "pipe")
    with pytest.raises(LapilliError, match=f"{reason}; put the picture there, or correct its path"):
        open_picture(folder, name)


@pytest.mark.parametrize("name", ["zero\0byte.png", "long" * 300 + ".png", "circle/a.png"])
def test_impossible_paths_are_told(folder, name):
    (folder / "circle").symlink_to("circle")
    with pytest.raises(LapilliError, match=r"not a usable path: .*; correct the path|no such file"):
        open_picture(folder, name)


def test_a_truncated_jpeg_is_refused(folder):
    whole = _bytes(_noise(), "JPEG")
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LapilliError, match=r"cannot be decoded: .*truncated.*; fetch or save the picture again"):
        open_picture(folder, "cut.jpg")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_picture_is_refused_postscript_too(folder, content):
    (folder / "text.jpg").write_bytes(content)
    with pytest.raises(LapilliError, match="not a picture; save it as one of JPEG"):
        open_picture(folder, "text.jpg")


def test_a_decompression_bomb_is_refused(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 24 // 2 - 1)
    with pytest.raises(LapilliError, match=r"960 pixels.* exceeds limit of 958 pixels.*; scale the picture down"):
        open_picture(folder, "sub/a.png")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_no_damage_raises_anything_but_a_lapilli_error(folder, form):
    chance, whole = random.Random(0), _bytes(_noise(), form)
    for round_ in range(60):
        damaged = bytearray(whole if round_ % 3 else whole[: chance.randrange(200, len(whole))])
        for _ in range(chance.choice((1, 10))):
            damaged[chance.randrange(200 if round_ % 2 else len(damaged))] = chance.randrange(256)
        (folder / "damaged").write_bytes(damaged)
        try:
            assert open_picture(folder, "damaged").mode == "RGB"
        except LapilliError as error:
            assert str(error).startswith(str(Path(folder).resolve()))


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        ((16_382, 100), True),
        ((200, 1), True),
        ((201, 1), False),
        ((1, 201), False),
        ((20_001, 200), False),
    ],
)
def test_what_would_become_a_bomb_when_it_is_prepared_is_refused(folder, size, taken):
    """Padded to a square, or its shorter side scaled to an encoder's; a telephone's panorama is none."""
    Image.new("L", size).save(folder / "long.png")
    if taken:
        assert open_picture(folder, "long.png").size == size
    else:
        with pytest.raises(LapilliError, match=f"{size[0]} x {size[1]} pixels: .*; scale the picture down, or cut it"):
            open_picture(folder, "long.png")


def test_scanned_levels_are_rounded_right(folder):
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(levels).save(folder / "all.png")
    expected = (levels.astype(np.float64) / 257).round().astype(np.uint8)
    assert np.array_equal(np.asarray(open_picture(folder, "all.png"))[..., 0], expected)
