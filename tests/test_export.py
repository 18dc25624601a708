"""A run in the formats of other tools, read again by readers of their own where these are installed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from results import photograph_result, true_result
from samreg import DisplacementField, Grid, Image
from samreg.cli import main
from samreg.errors import ImageReadError, InputError, InputWarning
from samreg.io.coco import decode, encode, read_coco
from samreg.io.images import read_image, read_labels, write_image
from samreg.io.label_names import read_label_names
from samreg.io.voxel_fields import (
    from_voxel_field,
    read_keypoints,
    read_learn2reg,
    read_monai_ddf,
    to_voxel_field,
    write_keypoints,
    write_learn2reg,
    write_monai_ddf,
)
from samreg.io.x5 import read_x5, write_x5
from samreg.runs.export import jacobian_map
from samreg.runs.run_folder import write_run
from worlds import GRIDS, noise, rotation


def field_on(grid: Grid, size: float = 2.0) -> DisplacementField:
    return DisplacementField(noise((*grid.shape, grid.ndim), 3, -size, size), grid)


def other_grid(grid: Grid) -> Grid:
    d = grid.ndim
    turn = rotation((0.1,) if d == 2 else (0.05, 0.1, -0.1)) @ np.asarray(grid.direction)
    shape, spacing = tuple(n + 2 for n in grid.shape), tuple(1.1 * s for s in grid.spacing)
    return Grid(shape, spacing, tuple(np.add(grid.origin, 1.5)), tuple(map(tuple, turn)))


@pytest.mark.parametrize("name", GRIDS)
class TestRoundTrips:
    def test_fields_in_voxels(self, name: str, tmp_path: Path) -> None:
        grid = GRIDS[name]
        field, moving = field_on(grid), other_grid(grid)
        back = [
            from_voxel_field(to_voxel_field(field, moving), grid, moving),
            read_monai_ddf(write_monai_ddf(field, moving, tmp_path / "ddf.npy"), grid, moving),
        ]
        if grid.shape[0] > 1:
            back.append(read_learn2reg(write_learn2reg(field, moving, tmp_path / "disp.nii.gz"), grid, moving))
        for found in back:
            np.testing.assert_allclose(found.u, field.u, atol=1e-4)

    def test_keypoints(self, name: str, tmp_path: Path) -> None:
        grid = GRIDS[name]
        points = grid.index_to_world(np.random.default_rng(0).uniform(0, 5, (6, grid.ndim)))
        path = write_keypoints(points, grid, tmp_path / "keypoints.csv")
        np.testing.assert_allclose(read_keypoints(path, grid), points, atol=1e-4)
        assert len(path.read_text("utf-8").splitlines()[0].split(",")) == grid.ndim

    def test_x5(self, name: str, tmp_path: Path) -> None:
        grid = GRIDS[name]
        if grid.ndim == 2:
            with pytest.raises(InputError, match="volumes"):
                write_x5(field_on(grid), tmp_path / "t.x5")
            return
        np.testing.assert_array_equal(read_x5(write_x5(field_on(grid), tmp_path / "t.x5"), grid).u, field_on(grid).u)


@pytest.mark.parametrize("name", ["anisotropic-2d", "oblique-3d", "flipped-3d"])
def test_a_field_in_voxels_warps_as_learn2reg_does(name: str) -> None:
    """warped = map_coordinates(moving, identity + d), arrays in (x, y, z)."""
    grid = GRIDS[name]
    moving = Image(ndimage.gaussian_filter(noise(grid.shape), 1.0), grid)
    field = field_on(grid, 0.8)
    steps = np.moveaxis(to_voxel_field(field, grid), -1, 0)
    identity = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape[::-1]), indexing="ij"))
    expected = ndimage.map_coordinates(moving.data.T, identity + steps, order=1, mode="nearest").T
    held = np.all([(i >= 0) & (i <= n - 1) for i, n in zip(identity + steps, grid.shape[::-1], strict=True)], axis=0).T
    np.testing.assert_allclose(field.warp(moving).data[held], expected[held], atol=0.01)


@pytest.mark.filterwarnings("ignore:.*Using PyTorch native grid_sample")
def test_monai_warps_with_it() -> None:
    torch = pytest.importorskip("torch")
    blocks = pytest.importorskip("monai.networks.blocks")
    grid = GRIDS["oblique-3d"]
    moving = Image(ndimage.gaussian_filter(noise(grid.shape), 1.0), grid)
    field = field_on(grid, 0.8)
    ddf = torch.from_numpy(np.moveaxis(to_voxel_field(field, grid), -1, 0).copy())[None]
    warp = blocks.Warp(mode="bilinear", padding_mode="border")
    found = warp(torch.from_numpy(moving.data.T.copy())[None, None], ddf)[0, 0].numpy().T
    index = field.moving_index(grid)
    held = np.all((index >= 0) & (index <= np.asarray(grid.shape[::-1]) - 1), axis=-1)
    np.testing.assert_allclose(field.warp(moving).data[held], found[held], atol=0.02)


@pytest.mark.parametrize("name", ["anisotropic-3d", "oblique-flipped-3d"])
def test_nitransforms_reads_x5(name: str, tmp_path: Path) -> None:
    nonlinear = pytest.importorskip("nitransforms.nonlinear")
    grid = GRIDS[name]
    field = DisplacementField(ndimage.gaussian_filter(field_on(grid).u, (1, 1, 1, 0)), grid)
    transform = nonlinear.DenseFieldTransform.from_filename(str(write_x5(field, tmp_path / "t.x5")), fmt="X5")
    points = grid.index_to_world(np.asarray([[3.0, 4.0, 2.0], [7.0, 2.0, 1.0], [5.0, 5.0, 3.0]]))
    flip = np.asarray([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(transform.map(points * flip) * flip, field.transform_points(points), atol=1e-2)


class TestJacobian:
    def test_a_map_and_its_logarithm(self) -> None:
        grid = GRIDS["anisotropic-3d"]
        matrix = np.diag([1.2, 1.0, 1.0, 1.0])
        field = DisplacementField.from_matrix(matrix, grid)
        np.testing.assert_allclose(jacobian_map(field).data, 1.2, atol=1e-3)
        np.testing.assert_allclose(jacobian_map(field, log=True).data, np.log(1.2), atol=1e-3)

    def test_folds_have_no_logarithm(self) -> None:
        grid = GRIDS["identity-3d"]
        folded = DisplacementField.from_matrix(np.diag([-0.5, 1.0, 1.0, 1.0]), grid)
        with pytest.warns(InputWarning, match="495 voxels"):
            found = jacobian_map(folded, log=True)
        assert np.isfinite(found.data).all()


class TestCoco:
    def test_masks_there_and_back(self) -> None:
        for seed in range(5):
            mask = noise((7, 5), seed, 0, 1) > 0.5
            np.testing.assert_array_equal(decode(encode(mask)), mask)
        # The example of the format: columns one after the other, beginning with what is outside.
        assert encode(np.asarray([[1, 0], [1, 1]], dtype=bool))["counts"] == [0, 2, 1, 1]

    def test_the_text_of_pycocotools(self) -> None:
        # pycocotools.mask.encode of a 6 x 8 mask whose rows 2 to 4 of columns 3 to 5 are set.
        mask = np.zeros((6, 8), dtype=bool)
        mask[2:5, 3:6] = True
        assert encode(mask)["counts"] == [20, 3, 3, 3, 3, 3, 13]
        np.testing.assert_array_equal(decode({"size": [6, 8], "counts": "d033000:"}), mask)

    def test_damaged(self, tmp_path: Path) -> None:
        with pytest.raises(ImageReadError, match="damaged"):
            decode({"size": [2, 2], "counts": [1, 1]})
        (tmp_path / "a.json").write_text("{}")
        with pytest.raises(ImageReadError, match="COCO"):
            read_coco(tmp_path / "a.json")

    def test_each_fault_is_said_once(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        images = [{"id": i, "file_name": f"{i}.png", "width": 2, "height": 2} for i in (1, 2)]
        content = {"images": images, "categories": [], "annotations": []}
        path.write_text(json.dumps(content))
        with pytest.raises(ImageReadError) as several:
            read_coco(path)
        assert str(several.value) == f"{path}: holds the pictures 1.png, 2.png; name one of them"
        damaged = {"image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": [1, 1]}}
        path.write_text(json.dumps({**content, "images": images[:1], "annotations": [damaged]}))
        with pytest.raises(ImageReadError) as broken:
            read_coco(path)
        assert str(broken.value).startswith(f"{path}: a run-length encoded mask of 2 x 2 pixels")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(true_result(3), tmp_path_factory.mktemp("export") / "run")


class TestCommand:
    def test_fields(self, run: Path, tmp_path: Path) -> None:
        result = true_result(3)
        grids = result.fixed.grid, result.moving.grid
        for to, name in (("learn2reg", "disp.nii.gz"), ("monai", "ddf.npy"), ("x5", "t.x5")):
            assert main(["export", str(run), "--to", to, "--out", str(tmp_path / name)]) == 0
        found = [read_learn2reg(tmp_path / "disp.nii.gz", *grids), read_monai_ddf(tmp_path / "ddf.npy", *grids)]
        found.append(read_x5(tmp_path / "t.x5", grids[0]))
        for field in found:
            np.testing.assert_allclose(field.u, result.field.u, atol=1e-3)
        assert main(["export", str(run), "--to", "x5", "--inverse", "--out", str(tmp_path / "i.x5")]) == 0
        inverse = read_x5(tmp_path / "i.x5", grids[1])
        points = result.fixed.grid.index_to_world(np.asarray([[60.0, 60.0, 1.0], [90.0, 50.0, 1.0]]))
        there = result.field.transform_points(points)
        np.testing.assert_allclose(inverse.transform_points(there), points, atol=0.1)

    def test_maps_and_regions(self, run: Path, tmp_path: Path) -> None:
        result = true_result(3)
        assert main(["export", str(run), "--to", "jacobian", "--out", str(tmp_path / "j.nii.gz")]) == 0
        found = read_image(tmp_path / "j.nii.gz")
        np.testing.assert_allclose(found.data, result.field.jacobian_determinant(), atol=1e-4)
        assert main(["export", str(run), "--to", "itk-snap", "--out", str(tmp_path / "l.nii.gz")]) == 0
        names = read_label_names(tmp_path / "l.label")
        assert list(names.values()) == [roi.name for roi in result.pairs.fixed.rois]
        assert set(np.unique(read_labels(tmp_path / "l.nii.gz")[0])) - {0} <= set(names)

    def test_bids(self, tmp_path: Path) -> None:
        result = true_result(3)
        images = {}
        for side, session in (("fixed", "pre"), ("moving", "post")):
            images[side] = tmp_path / f"sub-07_ses-{session}_T1w.nii.gz"
            write_image(getattr(result, side), images[side])
        named = dataclasses.replace(result, **{side: read_image(path) for side, path in images.items()})
        run = write_run(named, tmp_path / "run", inputs=images)
        assert main(["export", str(run), "--to", "bids", "--out", str(tmp_path / "derivatives")]) == 0
        folder = tmp_path / "derivatives" / "sub-07" / "ses-pre" / "anat"
        assert {path.name for path in folder.iterdir()} == {
            "sub-07_ses-pre_from-sespost_to-sespre_mode-image_xfm.h5",
            "sub-07_ses-pre_from-sespre_to-sespost_mode-image_xfm.h5",
            "sub-07_ses-pre_space-sespre_desc-warped_T1w.nii.gz",
            "sub-07_ses-pre_space-sespre_desc-regions_dseg.nii.gz",
            "sub-07_ses-pre_space-sespre_desc-regions_dseg.tsv",
            "sub-07_ses-pre_space-sespost_desc-regions_dseg.nii.gz",
            "sub-07_ses-pre_space-sespost_desc-regions_dseg.tsv",
        }
        described = json.loads((tmp_path / "derivatives" / "dataset_description.json").read_text("utf-8"))
        assert described["DatasetType"] == "derivative"

    def test_what_cannot_be_written(self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for to, name, said in (
            ("bids", "d", "no subject"),
            ("coco", "c.json", "2D images"),
            ("dicom-seg", "s.dcm", "DICOM series"),
            ("monai", "m.nii.gz", ".npy"),
        ):
            assert main(["export", str(run), "--to", to, "--out", str(tmp_path / name)]) == 2
            assert said in capsys.readouterr().err

    def test_pictures(self, tmp_path: Path) -> None:
        result = photograph_result()
        run = write_run(result, tmp_path / "run")
        assert main(["export", str(run), "--to", "coco", "--out", str(tmp_path / "c.json")]) == 0
        for side in ("fixed", "moving"):
            found = read_coco(tmp_path / "c.json", getattr(result, side).name)
            np.testing.assert_array_equal(found.masks(), getattr(result.pairs, side).masks())
            assert found.grid.unit == "px"


def test_a_notebook_shows_before_after_and_pairs() -> None:
    result = true_result(2)
    html = result._repr_html_()
    assert html.count("<figcaption>") == 2
    assert "before: fixed green" in html
    assert "after: fixed green" in html
    assert "liver" in html
    assert "&lt;not&gt;" in html  # what a user wrote is text, not HTML
    assert "No pairs" not in html
    assert true_result(2, with_field=False)._repr_html_().count("<figcaption>") == 1
