"""A known shift of (6, -4, 3) mm, LPS, through every adapter: MONAI, ITK, nipype, the bridges and the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import samreg
from bodies import OBLIQUE
from samreg import DisplacementField, bridges
from samreg.errors import ConfigError, InputError
from samreg.io.images import read_image, read_labels
from shifts import SHIFT, images, labels, options, write

RAS = np.asarray(SHIFT) * [-1, -1, 1]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write(tmp_path_factory.mktemp("shift"))


@pytest.mark.parametrize(
    ("module", "there", "back", "out"),
    [
        ("SimpleITK", bridges.to_sitk, bridges.from_sitk, bridges.to_sitk),
        ("nibabel", bridges.to_nibabel, bridges.from_nibabel, bridges.to_nibabel),
        ("itk", bridges.to_itk, bridges.from_itk, bridges.to_itk),
        ("monai", bridges.to_monai, bridges.from_monai, bridges.to_monai),
    ],
)
def test_images_of_a_package_are_registered_and_the_field_goes_back(
    module: str, there: Callable[..., Any], back: Callable[..., Any], out: Callable[..., Any]
) -> None:
    pytest.importorskip(module)
    fixed, moving = (back(there(image)) for image in images())
    field = samreg.register(fixed, moving, **options()).field
    assert field is not None
    given = {"SimpleITK": bridges.field_from_sitk, "nibabel": bridges.field_from_nibabel}
    given |= {"itk": bridges.field_from_itk, "monai": bridges.field_from_monai}
    np.testing.assert_allclose(given[module](out(field)).u.reshape(-1, 3) - SHIFT, 0, atol=1e-3)


class TestMonai:
    @pytest.fixture
    def compose(self) -> Any:
        transforms = pytest.importorskip("monai.transforms")
        keys = ["fixed", "moving", "moving_labels"]
        return transforms.Compose(
            [
                transforms.LoadImaged(keys),
                transforms.EnsureChannelFirstd(keys),
                bridges.RegisterPaird(**options()),
                bridges.WarpLabelsd("moving_labels"),
            ]
        )

    def test_moving_and_its_labels_lie_on_the_fixed_image(self, compose: Any, files: dict[str, Path]) -> None:
        done = compose({key: str(path) for key, path in files.items()})
        assert set(done) == {*files, "field"}
        fixed, moving = bridges.from_monai(done["fixed"]), bridges.from_monai(done["moving"])
        assert moving.grid.same_as(OBLIQUE)
        assert moving.name == "moving.nii.gz"
        np.testing.assert_allclose(moving.data, fixed.data, atol=1e-3 * np.ptp(fixed.data))
        for key in ("affine", "original_affine", "spatial_shape"):
            np.testing.assert_allclose(done["moving"].meta[key], done["fixed"].meta[key], atol=1e-9)
        found, grid = bridges.labels_from_monai(done["moving_labels"])
        assert grid.same_as(OBLIQUE)
        np.testing.assert_array_equal(found, labels())
        field = bridges.field_from_monai(done["field"])
        np.testing.assert_allclose(field.u.reshape(-1, 3) - SHIFT, 0, atol=1e-3)

    def test_its_ddf_is_what_monai_warps_with(self, compose: Any, files: dict[str, Path]) -> None:
        blocks = pytest.importorskip("monai.networks.blocks")
        done = compose({key: str(path) for key, path in files.items()})
        affine = np.asarray(done["field"].affine)[:3, :3]
        np.testing.assert_allclose(affine @ np.asarray(done["field"].as_tensor())[:, 3, 4, 5], RAS, atol=1e-3)
        fixed, moving = images()
        here = DisplacementField.identity(fixed.grid).warp(moving)
        with pytest.warns(UserWarning, match="native grid_sample"):
            warp = blocks.Warp()
        theirs = warp(bridges.to_monai(here)[None], done["field"][None])[0, 0].as_tensor().numpy().T
        ours = bridges.field_from_monai(done["field"]).warp(here).data
        index = bridges.field_from_monai(done["field"]).moving_index(here.grid)
        inner = ((index >= 0) & (index <= np.subtract(here.grid.shape[::-1], 1))).all(-1)
        assert inner.mean() > 0.3
        assert np.abs(theirs - ours)[inner].max() < 1e-4 * np.ptp(ours)

    def test_the_inverse_brings_them_back(self, compose: Any, files: dict[str, Path]) -> None:
        first = compose.transforms[1](compose.transforms[0]({key: str(path) for key, path in files.items()}))
        done = bridges.WarpLabelsd("moving_labels")
        register = compose.transforms[2]
        there = done(register(first))
        back = register.inverse(done.inverse(there))
        assert set(back) == set(first)
        for key in ("moving", "moving_labels"):
            assert back[key].shape == first[key].shape
            np.testing.assert_allclose(back[key].affine, first[key].affine, atol=1e-9)
            assert [op["class"] for op in back[key].applied_operations] == [
                op["class"] for op in first[key].applied_operations
            ]
            for name in ("original_affine", "spatial_shape", "filename_or_obj"):
                np.testing.assert_array_equal(back[key].meta[name], first[key].meta[name])
        inner = np.s_[:, 7:-7, 7:-7, 4:-4]
        np.testing.assert_array_equal(back["moving_labels"][inner], first["moving_labels"][inner])
        span = float(np.ptp(first["moving"]))
        np.testing.assert_allclose(back["moving"][inner], first["moving"][inner], atol=1e-3 * span)

    @pytest.mark.parametrize("nearest", [True, False])
    def test_a_prediction_on_the_fixed_grid_is_brought_to_the_moving_one(
        self, compose: Any, files: dict[str, Path], nearest: bool
    ) -> None:
        transforms = pytest.importorskip("monai.transforms")
        done = compose({key: str(path) for key, path in files.items()})
        fixed = transforms.Compose(compose.transforms[:2])({key: str(path) for key, path in files.items()})
        done["prediction"] = bridges.labels_to_monai(labels(), OBLIQUE)
        invert = transforms.Invertd("prediction", compose, orig_keys="moving", nearest_interp=nearest)
        back = invert(done)["prediction"]
        np.testing.assert_allclose(back.affine, fixed["moving"].affine, atol=1e-9)
        inner = np.s_[:, 7:-7, 7:-7, 4:-4]
        np.testing.assert_allclose(back[inner], fixed["moving_labels"][inner], atol=0 if nearest else 0.02)

    def test_a_batch_can_be_made_of_it_and_taken_apart(self, compose: Any, files: dict[str, Path]) -> None:
        data = pytest.importorskip("monai.data")
        done = compose({key: str(path) for key, path in files.items()})
        kept = {key: done[key] for key in ("fixed", "moving", "moving_labels", "field")}
        batch = data.list_data_collate([kept, kept])
        assert batch["moving"].shape == (2, *done["moving"].shape)
        one = data.decollate_batch(batch)[1]
        back = compose.inverse(one)
        np.testing.assert_allclose(back["moving"].affine, bridges.to_monai(images()[1]).affine, atol=1e-3)

    def test_what_monai_saves_lies_on_the_fixed_image(
        self, compose: Any, files: dict[str, Path], tmp_path: Path
    ) -> None:
        """Its writer resamples onto what the meta data call the original grid: that must be the fixed one."""
        transforms = pytest.importorskip("monai.transforms")
        done = compose({key: str(path) for key, path in files.items()})
        save = transforms.SaveImaged("moving", output_dir=tmp_path, separate_folder=False, print_log=False)
        save(done)
        saved = read_image(tmp_path / "moving_trans.nii.gz")
        assert saved.grid.same_as(OBLIQUE)
        np.testing.assert_allclose(saved.data, bridges.from_monai(done["moving"]).data, atol=1e-2)

    def test_refused(self, compose: Any, files: dict[str, Path]) -> None:
        with pytest.raises(InputError, match="put RegisterPaird before it"):
            bridges.WarpLabelsd("a")({"a": bridges.labels_to_monai(labels(), OBLIQUE)})
        with pytest.raises(ConfigError, match="the key of the fixed"):
            bridges.RegisterPaird(keys=["fixed"])
        done = compose({key: str(path) for key, path in files.items()})
        with pytest.raises(InputError, match=r"moving: holds .* whole numbers"):
            bridges.WarpLabelsd("moving")(done)


def test_itk_gets_two_transforms() -> None:
    itk = pytest.importorskip("itk")
    fixed, moving = (bridges.to_itk(image) for image in images())
    transform, inverse = bridges.register_itk(fixed, moving, **options())
    for point in ([10.0, -20.0, 30.0], list(OBLIQUE.centre), [500.0, 500.0, 500.0]):
        np.testing.assert_allclose(np.asarray(transform.TransformPoint(point)) - point, SHIFT, atol=1e-4)
        np.testing.assert_allclose(np.asarray(inverse.TransformPoint(point)) - point, np.negative(SHIFT), atol=1e-4)
    warped = itk.resample_image_filter(moving, transform=transform, reference_image=fixed, use_reference_image=True)
    np.testing.assert_allclose(np.asarray(warped), np.asarray(fixed), atol=1e-3 * np.ptp(np.asarray(fixed)))


class TestNipype:
    @pytest.fixture
    def nipype(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
        module = pytest.importorskip("nipype")
        if shutil.which("samreg") is None:
            pytest.skip("the command samreg is not on the path")
        monkeypatch.setenv("NO_ET", "1")  # nipype asks at home for its newest version
        monkeypatch.chdir(tmp_path)
        return module

    def test_command_lines(self, nipype: Any, files: dict[str, Path]) -> None:
        register = bridges.RegisterInterface(fixed=files["fixed"], moving=files["moving"], preset="fast")
        assert register.cmdline == f"samreg register {files['fixed']} {files['moving']} --out run --preset fast"

    def test_a_workflow(self, nipype: Any, files: dict[str, Path]) -> None:
        register = bridges.RegisterInterface(
            **{key: str(path) for key, path in files.items()}, labels_only=True, transform="affine", out_dir="run"
        )
        outputs = register.run().outputs
        field = read_field(outputs.displacement)
        np.testing.assert_allclose(field.u.reshape(-1, 3) - SHIFT, 0, atol=1e-3)
        back = read_field(outputs.inverse_displacement)
        np.testing.assert_allclose(back.u.reshape(-1, 3) + SHIFT, 0, atol=1e-3)
        warp = bridges.WarpInterface(image=str(files["moving_labels"]), run_dir=outputs.out_dir, out_file="w.nii.gz")
        np.testing.assert_array_equal(read_labels(warp.run().outputs.out_file)[0], labels())


def read_field(path: str | Path) -> DisplacementField:
    return bridges.field_from_sitk(sitk.ReadImage(str(path)))


def test_the_command_line(files: dict[str, Path], tmp_path: Path) -> None:
    from samreg.cli import main

    given = [f"--{side}-labels={files[f'{side}_labels']}" for side in ("fixed", "moving")]
    run = tmp_path / "run"
    images = [str(files["fixed"]), str(files["moving"])]
    assert main(["register", *images, *given, "--labels-only", "--transform=affine", "-o", str(run)]) == 0
    np.testing.assert_allclose(read_field(run / "displacement.nii.gz").u.reshape(-1, 3) - SHIFT, 0, atol=1e-3)
    for name, sign in (("transform.h5", 1), ("affine.tfm", 1), ("affine.mat", 1), ("inverse_transform.h5", -1)):
        moved = sitk.ReadTransform(str(run / name)).TransformPoint(OBLIQUE.centre)
        np.testing.assert_allclose(np.subtract(moved, OBLIQUE.centre), sign * np.asarray(SHIFT), atol=1e-3)
    fixed, warped = read_image(files["fixed"]), read_image(run / "warped.nii.gz")
    np.testing.assert_allclose(warped.data, fixed.data, atol=1e-3 * np.ptp(fixed.data))
