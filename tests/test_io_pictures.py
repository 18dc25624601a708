"""PNG, JPEG and TIFF: as viewers show them, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Pillow
from PIL import ImageOps, TiffImagePlugin

from refusals import refused
from samreg.errors import InputWarning
from samreg.io.images import read_image, read_labels

GREY = np.tile(np.arange(8, dtype=np.uint8) * 30, (6, 1))
GREY[0] = 255
RGB = np.dstack([GREY, GREY // 2, 255 - GREY]).astype(np.uint8)
HALF = np.full_like(GREY, 7)
HALF[:, 4:] = 200
WIDE = (np.arange(48).reshape(6, 8) * 1000).astype(np.uint16)


def save(array: np.ndarray, path: Path, **options: object) -> Path:
    Pillow.fromarray(array).save(path, **options)
    return path


class TestTransparency:
    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("base", [GREY, RGB])
    def test_alpha_is_dropped_with_a_note(self, tmp_path: Path, suffix: str, base: np.ndarray) -> None:
        path = save(np.dstack([base, HALF]), tmp_path / f"a{suffix}")
        with pytest.warns(InputWarning, match="transparent"):
            np.testing.assert_array_equal(read_image(path).data, base)

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("base", [GREY, RGB])
    def test_even_alpha_says_nothing(self, tmp_path: Path, suffix: str, base: np.ndarray) -> None:
        path = save(np.dstack([base, np.full_like(GREY, 7)]), tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(read_image(path).data, base)

    def test_one_value_that_is_transparent(self, tmp_path: Path) -> None:
        path = save(GREY, tmp_path / "a.png", transparency=60)
        with pytest.warns(InputWarning, match="transparent"):
            np.testing.assert_array_equal(read_image(path).data, GREY)

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_16_bits(self, tmp_path: Path, suffix: str) -> None:
        data = np.random.default_rng(0).integers(0, 60000, (6, 8, 4)).astype(np.uint16)
        sitk.WriteImage(sitk.GetImageFromArray(data, isVector=True), str(tmp_path / f"a{suffix}"))
        with pytest.warns(InputWarning, match="transparent"):
            np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").data, data[..., :3])


class TestWhiteIsZero:
    def test_8_bits(self, tmp_path: Path) -> None:
        path = save(GREY, tmp_path / "a.tif", tiffinfo={262: 0})
        shown = np.asarray(Pillow.open(path).convert("L"))
        np.testing.assert_array_equal(read_image(path).data, shown)

    def test_16_bits(self, tmp_path: Path) -> None:
        save(WIDE, tmp_path / "black.tif")
        raw = bytearray((tmp_path / "black.tif").read_bytes())
        at = raw.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00")  # tag 262, a short, once: 1
        raw[at + 8] = 0
        (tmp_path / "white.tif").write_bytes(bytes(raw))
        np.testing.assert_array_equal(read_image(tmp_path / "black.tif").data, WIDE)
        np.testing.assert_array_equal(read_image(tmp_path / "white.tif").data, 65535 - WIDE.astype(float))

    def test_1_bit(self, tmp_path: Path) -> None:
        path = save(GREY > 100, tmp_path / "a.tif", tiffinfo={262: 0})
        np.testing.assert_array_equal(read_labels(path)[0], np.asarray(Pillow.open(path).convert("L")))


class TestOrientation:
    @pytest.mark.parametrize("value", range(1, 9))
    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_exif(self, tmp_path: Path, suffix: str, value: int) -> None:
        exif = Pillow.Exif()
        exif[274] = value
        large = np.asarray(Pillow.fromarray(RGB).resize((64, 48)))
        path = save(large, tmp_path / f"a{suffix}", exif=exif, quality=95)
        shown = np.asarray(ImageOps.exif_transpose(Pillow.open(path))).astype(float)
        image = read_image(path)
        assert image.data.shape == shown.shape
        assert np.abs(image.data - shown).mean() < (3 if suffix == ".jpg" else 1e-6)

    @pytest.mark.parametrize("value", range(1, 9))
    @pytest.mark.parametrize("data", [GREY, RGB, WIDE])
    def test_tiff(self, tmp_path: Path, value: int, data: np.ndarray) -> None:
        path = save(data, tmp_path / "a.tif", tiffinfo={274: value})
        exif = Pillow.Exif()
        exif[274] = value
        save(data, tmp_path / "same.png", exif=exif)
        shown = np.asarray(ImageOps.exif_transpose(Pillow.open(tmp_path / "same.png")))
        np.testing.assert_array_equal(read_image(path).data, shown)

    def test_labels_turn_like_their_image(self, tmp_path: Path) -> None:
        path = save(GREY, tmp_path / "a.tif", tiffinfo={274: 6})
        np.testing.assert_array_equal(read_labels(path)[0], read_image(path).data)


class TestMasks:
    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_1_bit(self, tmp_path: Path, suffix: str) -> None:
        path = save(GREY > 100, tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(read_labels(path)[0], np.where(GREY > 100, 255, 0))
        np.testing.assert_array_equal(read_image(path).data, np.where(GREY > 100, 255, 0))

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_labels_of_a_palette_are_its_numbers(self, tmp_path: Path, suffix: str) -> None:
        labels = GREY // 60
        picture = Pillow.fromarray(labels).convert("L")
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
        picture.save(tmp_path / f"a{suffix}")
        with Pillow.open(tmp_path / f"a{suffix}") as opened:
            assert opened.mode == "P"
            shown = np.asarray(opened.convert("RGB"))
        np.testing.assert_array_equal(read_labels(tmp_path / f"a{suffix}")[0], labels)
        np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").data, shown)

    def test_a_palette_of_greys_is_grey(self, tmp_path: Path) -> None:
        picture = Pillow.fromarray(GREY // 60).convert("L")
        picture.putpalette([v for i in range(5) for v in (50 * i,) * 3])
        picture.save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, GREY // 60 * 50)

    def test_jpeg_is_no_label_map(self, tmp_path: Path) -> None:
        assert "JPEG" in refused(save(GREY, tmp_path / "a.jpg"), read=read_labels)

    def test_colours_are_no_label_map(self, tmp_path: Path) -> None:
        assert "colour" in refused(save(RGB, tmp_path / "a.png"), read=read_labels)


class TestChannels:
    @pytest.mark.parametrize("n", [2, 5, 6])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_channels_without_a_meaning(self, tmp_path: Path, n: int, dtype: type) -> None:
        data = np.random.default_rng(0).integers(0, 250, (6, 8, n)).astype(dtype)
        sitk.WriteImage(sitk.GetImageFromArray(data, isVector=True), str(tmp_path / "a.tif"))
        assert f"{n} channels" in refused(tmp_path / "a.tif")

    def test_cmyk_is_shown_as_rgb(self, tmp_path: Path) -> None:
        for suffix in (".tif", ".jpg"):
            Pillow.fromarray(RGB).convert("CMYK").save(tmp_path / f"a{suffix}")
            shown = np.asarray(Pillow.open(tmp_path / f"a{suffix}").convert("RGB"))
            np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").data, shown)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
    def test_types_of_grey(self, tmp_path: Path, dtype: type) -> None:
        data = (GREY.astype(float) * 3 % 256).astype(dtype)
        sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / "a.tif"))
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, data)


class TestPages:
    @pytest.mark.parametrize("data", [GREY, WIDE])
    def test_a_page_is_chosen(self, tmp_path: Path, data: np.ndarray) -> None:
        pages = [Pillow.fromarray(data + data.dtype.type(i)) for i in range(3)]
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
        assert "TIFF with 3 pages" in refused(tmp_path / "a.tif")
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", frame=3).data, data + data.dtype.type(2))

    # Pillow's writer complains when it is thrown away closed, which Python 3.13 shows.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_thumbnail_is_no_page(self, tmp_path: Path) -> None:
        with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), new=True) as pages:
            for data, info in ((GREY, {}), (GREY[::2, ::2], {254: 1})):
                Pillow.fromarray(data).save(pages, format="TIFF", tiffinfo=info)
                pages.newFrame()
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, GREY)

    def test_an_animation(self, tmp_path: Path) -> None:
        Pillow.fromarray(GREY).save(tmp_path / "a.png", save_all=True, append_images=[Pillow.fromarray(GREY // 2)])
        assert "animation" in refused(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.95])
def test_a_picture_that_is_cut_anywhere(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)
    path = save(noise, tmp_path / f"a{suffix}")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    refused(path)
