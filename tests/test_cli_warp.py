"""`samreg warp`, `warp-points`, `evaluate`: labels stay labels, what a file says stays, what cannot be is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture

from results import photograph_result, true_result
from samreg.cli import main
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.label_maps import is_label_map
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.io.images import read_image, read_labels, write_image, write_labels
from samreg.io.itk import to_itk
from samreg.io.points import read_labelled_points, read_points, write_points
from samreg.io.rois import read_segmentation, write_segmentation
from samreg.result import RegistrationResult
from samreg.runs.run_folder import write_run
from worlds import noise

FIXED = Grid((6, 20, 24), (1.0, 1.0, 2.0), (5.0, -3.0, 10.0))
MOVING = Grid((7, 22, 26), (1.0, 1.0, 2.0), (4.0, -4.0, 9.0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run between grids that differ, whose field shifts by 1.5 mm along x and stretches along y."""
    folder = tmp_path_factory.mktemp("warp")
    x = FIXED.voxel_centres()
    u = np.zeros((*FIXED.shape, 3), np.float32)
    u[..., 0] = 1.5
    u[..., 1] = 0.05 * (x[..., 1] - 7)
    result = RegistrationResult(
        Image(noise(FIXED.shape), FIXED, "fixed"),
        Image(noise(MOVING.shape, 1), MOVING, "moving"),
        PairedRois.none(FIXED, MOVING),
        None,
        DisplacementField(u, FIXED),
        true_result(2).config,
    )
    write_image(result.fixed, folder / "fixed.nii.gz")
    write_image(result.moving, folder / "moving.nii.gz")
    return write_run(result, folder / "run")


def field(run: Path) -> DisplacementField:
    from samreg.runs.run_folder import read_run

    return read_run(run).transform()


def blocks(grid: Grid, values: tuple[int, ...] = (3, 7, 1200)) -> np.ndarray:
    labels = np.zeros(grid.shape, np.int32)
    for i, value in enumerate(values):
        labels[1:5, 3:15, 2 + 7 * i : 8 + 7 * i] = value
    return labels


def put(path: Path, data: np.ndarray, grid: Grid) -> Path:
    sitk.WriteImage(to_itk(data, grid), str(path))
    return path


class TestTheChoice:
    """Which images are label maps."""

    def test_labels(self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        labels = blocks(MOVING)
        source = put(tmp_path / "l.nii.gz", labels.astype(np.int16), MOVING)
        assert main(["warp", str(source), "--run", str(run), "--out", str(tmp_path / "w.nii.gz")]) == 0
        assert "interpolation: label" in capsys.readouterr().out
        np.testing.assert_array_equal(read_labels(tmp_path / "w.nii.gz")[0], field(run).warp_labels(labels, MOVING))
        assert sitk.ReadImage(str(tmp_path / "w.nii.gz")).GetPixelID() == sitk.sitkInt16

    def test_labels_stored_as_floats(self, run: Path, tmp_path: Path) -> None:
        source = put(tmp_path / "l.nii.gz", blocks(MOVING).astype(np.float32), MOVING)
        assert main(["warp", str(source), "--run", str(run), "--out", str(tmp_path / "w.nii.gz")]) == 0
        assert set(np.unique(read_image(tmp_path / "w.nii.gz").data)) == {0, 3, 7, 1200}

    def test_grey_values(self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        grey = np.rint(noise(MOVING.shape, 3, -1000, 1000)).astype(np.int16)
        source = put(tmp_path / "g.nii.gz", grey, MOVING)
        assert main(["warp", str(source), "--run", str(run), "--out", str(tmp_path / "w.nii.gz")]) == 0
        assert "interpolation: linear" in capsys.readouterr().out
        warped = sitk.ReadImage(str(tmp_path / "w.nii.gz"))
        assert warped.GetPixelID() == sitk.sitkInt16
        expected = field(run).warp(Image(grey.astype(np.float32), MOVING)).data
        np.testing.assert_array_equal(sitk.GetArrayFromImage(warped), np.rint(expected))

    def test_the_user_says_otherwise(self, run: Path, tmp_path: Path) -> None:
        source = put(tmp_path / "l.nii.gz", blocks(MOVING).astype(np.int16), MOVING)
        arguments = ["--run", str(run), "--interpolation", "linear", "--out", str(tmp_path / "w.nii.gz")]
        assert main(["warp", str(source), *arguments]) == 0
        assert len(np.unique(read_image(tmp_path / "w.nii.gz").data)) > 4

    @pytest.mark.parametrize(
        ("data", "labels"),
        [
            (blocks(MOVING), True),
            (
                np.arange(1000).reshape(10, 10, 10).repeat(2, 0).repeat(2, 1).repeat(2, 2),
                True,
            ),  # cubes of two voxels a side
            (np.arange(5000 * 8).reshape(50, 40, 20) // 8, False),  # 5,000 values
            (blocks(MOVING) + 0.5, False),
            (np.rint(noise((20, 20, 20))), False),
            (np.rint(noise((20, 20), high=1)), True),  # a mask, however rough
            (np.rint(np.hypot(*np.mgrid[-60:60, -60:60]) / 3), False),  # smooth, with 29 values
        ],
    )
    def test_the_rule(self, data: np.ndarray, labels: bool) -> None:
        assert is_label_map(data) is labels

    def test_single_voxels_with_labels_of_their_own(self) -> None:
        data = np.zeros((10, 10, 10), np.int16)
        data[::3, ::3, ::3] = 1 + np.arange(64).reshape(4, 4, 4)
        assert is_label_map(data)

    @pytest.mark.slow
    def test_public_images_and_label_maps(self, data_root: Path) -> None:
        names = ("label", "_gt", "gland", "zones", "lobe")
        found = {False: 0, True: 0}
        for path in sorted(data_root.rglob("*.nii.gz")):
            labels = any(name in str(path.relative_to(data_root)).lower() for name in names)
            data = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
            assert is_label_map(data) is labels, path
            found[labels] += 1
        assert min(found.values()) > 20

    def test_a_palette_is_a_label_map(self, tmp_path: Path) -> None:
        write_run(photograph_result(), tmp_path / "run")
        numbers = np.zeros((60, 70), np.uint8)
        numbers[10:30, 10:40], numbers[30:50, 20:60] = 1, 2
        picture = Picture.fromarray(numbers, mode="P")
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        picture.save(tmp_path / "p.png")
        arguments = ["--run", str(tmp_path / "run"), "--out", str(tmp_path / "w.png")]
        assert main(["warp", str(tmp_path / "p.png"), *arguments]) == 0
        np.testing.assert_array_equal(np.asarray(Picture.open(tmp_path / "w.png")), numbers[2:52, 3:63])


class TestFill:
    def test_air_around_ct(self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        small = MOVING.crop((0, 0, 0), (7, 22, 12))
        data = np.rint(noise(small.shape, 0, -1010, -990)).astype(np.int16)
        data[2:5, 6:15, 4:9] = 60
        source = put(tmp_path / "ct.nii.gz", data, small)
        out = tmp_path / "w.nii.gz"
        assert main(["warp", str(source), "--run", str(run), "--out", str(out), "--interpolation", "linear"]) == 0
        assert "the rest is filled with -" in capsys.readouterr().out
        assert read_image(out).data[..., -5:].max() < -990
        arguments = ["--interpolation", "linear", "--fill", "-2000", "--overwrite"]
        assert main(["warp", str(source), "--run", str(run), "--out", str(out), *arguments]) == 0
        assert (read_image(out).data[..., -5:] == -2000).all()

    def test_a_type_that_cannot_hold_the_result_gives_way(self, run: Path, tmp_path: Path) -> None:
        source = put(tmp_path / "g.nii.gz", np.rint(noise(MOVING.shape)).astype(np.uint8), MOVING)
        arguments = ["--run", str(run), "--out", str(tmp_path / "w.nii.gz")]
        away = Grid(MOVING.shape, MOVING.spacing, (16.0, -4.0, 9.0))
        put(tmp_path / "a.nii.gz", np.rint(noise(MOVING.shape)).astype(np.uint8), away)
        assert main(["warp", str(source), *arguments]) == 0
        assert sitk.ReadImage(str(tmp_path / "w.nii.gz")).GetPixelID() == sitk.sitkUInt8
        assert main(["warp", str(tmp_path / "a.nii.gz"), *arguments, "--fill", "-7", "--overwrite"]) == 0
        warped = sitk.ReadImage(str(tmp_path / "w.nii.gz"))
        assert warped.GetPixelID() == sitk.sitkFloat32
        assert sitk.GetArrayFromImage(warped).min() == -7


class TestSegmentations:
    def slicer_file(self, path: Path, grid: Grid) -> Path:
        """As 3D Slicer writes one: two layers, a gap in the numbers, terminology, colours, an empty segment."""
        data = np.zeros((2, *grid.shape[::-1]), np.uint8)
        data[0, 3:12, 4:12, 1:5] = 5
        data[0, 14:20, 4:12, 1:5] = 9
        data[1, 5:9, 6:10, 2:4] = 5
        header = {
            "space": "left-posterior-superior",
            "kinds": ["list", "domain", "domain", "domain"],
            "space directions": np.vstack([[np.nan] * 3, np.diag(grid.spacing)]),
            "space origin": np.asarray(grid.origin),
        }
        terms = "TerminologyEntry:Segmentation category~SCT^85756007^Tissue~SCT^10200004^Liver|"
        for i, name, value, layer, colour in (
            (0, "liver, left lobe", 5, 0, "0.86 0.51 0.39"),
            (2, "kidney", 9, 0, "0.7 0.2 0.1"),
            (3, "lesion", 5, 1, "0.1 0.9 0.1"),
            (4, "nothing", 3, 1, "0 0 1"),
        ):
            for key, text in (
                ("ID", f"Segment_{i + 1}"),
                ("Name", name),
                ("Color", colour),
                ("ColorAutoGenerated", "1"),
                ("NameAutoGenerated", "1"),
                ("LabelValue", str(value)),
                ("Layer", str(layer)),
                ("Extent", "0 1 0 1 0 1"),
                ("Tags", "Segmentation.Status:inprogress|" + terms),
            ):
                header[f"Segment{i}_{key}"] = text
        nrrd.write(str(path), data, header)
        return path

    def test_everything_survives(self, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        source = self.slicer_file(tmp_path / "s.seg.nrrd", MOVING)
        out = tmp_path / "w.seg.nrrd"
        assert main(["warp", str(source), "--run", str(run), "--out", str(out)]) == 0
        given, made = nrrd.read_header(str(source)), nrrd.read_header(str(out))
        for new, old in ((0, 0), (1, 2), (2, 3)):
            for key in (
                "ID",
                "Name",
                "Color",
                "ColorAutoGenerated",
                "NameAutoGenerated",
                "LabelValue",
                "Layer",
                "Tags",
            ):
                assert made[f"Segment{new}_{key}"] == given[f"Segment{old}_{key}"], key
        rois, _ = read_segmentation(source)
        back, _ = read_segmentation(out)
        expected, kept = field(run).warp_rois(rois)
        assert kept == [0, 1, 2]
        np.testing.assert_array_equal(back.masks(), expected.masks())
        assert (back.masks().sum(axis=0) > 1).any()  # the lesion lies in the liver

    def test_regions_that_end_outside_are_named(
        self, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        masks = [np.zeros(MOVING.shape, bool) for _ in range(2)]
        masks[0][2:4, 5:9, 5:9] = True
        masks[1][0, 0, 0] = True
        source = write_segmentation(
            RoiSet.from_masks(masks, MOVING, names=["heart", "corner"]), tmp_path / "s.seg.nrrd"
        )
        assert main(["warp", str(source), "--run", str(run), "--out", str(tmp_path / "w.seg.nrrd")]) == 0
        assert "1 of 2 segments have no voxel in the result: corner" in capfd.readouterr().err

    def test_a_label_map_becomes_a_segmentation(self, run: Path, tmp_path: Path) -> None:
        source = put(tmp_path / "l.nii.gz", blocks(MOVING), MOVING)
        out = tmp_path / "w.seg.nrrd"
        assert main(["warp", str(source), "--run", str(run), "--out", str(out)]) == 0
        rois, values = read_segmentation(out)
        assert [roi.name for roi in rois.rois] == ["3", "7", "1200"]
        assert values == [3, 7, 1200]


class TestRefused:
    @pytest.mark.parametrize("kind", ["grey", "labels", "segmentation"])
    def test_an_image_of_another_world(
        self, kind: str, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        away = Grid(MOVING.shape, MOVING.spacing, (500.0, 0.0, 0.0))
        source = tmp_path / ("s.seg.nrrd" if kind == "segmentation" else "a.nii.gz")
        if kind == "segmentation":
            write_segmentation(RoiSet.from_labels(blocks(away), away), source)
        else:
            put(source, blocks(away) if kind == "labels" else noise(away.shape), away)
        out = tmp_path / ("w.seg.nrrd" if kind == "segmentation" else "w.nii.gz")
        assert main(["warp", str(source), "--run", str(run), "--out", str(out)]) == 2
        assert "lies nowhere in the fixed image" in capfd.readouterr().err
        assert not out.exists()

    def test_labels_of_which_none_arrives(self, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        labels = np.zeros(MOVING.shape, np.uint8)
        labels[0, 0, :2] = 1
        source = put(tmp_path / "l.nii.gz", labels, MOVING)
        assert main(["warp", str(source), "--run", str(run), "--out", str(tmp_path / "w.nii.gz")]) == 2
        assert "none of its labels" in capfd.readouterr().err

    def test_what_lies_on_the_fixed_grid(self, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        source = put(tmp_path / "l.nii.gz", blocks(FIXED), FIXED)
        arguments = ["--run", str(run), "--out", str(tmp_path / "w.nii.gz")]
        assert main(["warp", str(source), *arguments]) == 2
        assert "were the two exchanged" in capfd.readouterr().err
        assert main(["warp", str(source), *arguments, "--on-fixed-grid"]) == 0

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            (["--fill", "5", "--interpolation", "label"], "filled with 0"),
            (["--fill", "air"], "--fill"),
        ],
    )
    def test_settings_without_a_meaning(
        self, run: Path, tmp_path: Path, arguments: list[str], word: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        source = put(tmp_path / "l.nii.gz", blocks(MOVING), MOVING)
        out = ["--run", str(run), "--out", str(tmp_path / "w.nii.gz")]
        assert main(["warp", str(source), *out, *arguments]) == 2
        assert word in capfd.readouterr().err

    @pytest.mark.parametrize("side", ["fixed", "moving"])
    def test_evaluate_with_labels_on_the_other_grid(
        self, side: str, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        on = {"fixed": FIXED, "moving": MOVING}
        on[side] = on["moving" if side == "fixed" else "fixed"]
        paths = {s: write_labels(blocks(g), g, tmp_path / f"{s}.nii.gz") for s, g in on.items()}
        arguments = [text for s in paths for text in (f"--{s}-labels", str(paths[s]))]
        assert main(["evaluate", "--run", str(run), *arguments]) == 2
        assert "exchanged?" in capfd.readouterr().err

    def test_evaluate_with_labels_that_lie_elsewhere_or_have_nothing_in_common(
        self, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        away = Grid(MOVING.shape, MOVING.spacing, (500.0, 0.0, 0.0))
        fixed = write_labels(blocks(FIXED), FIXED, tmp_path / "f.nii.gz")
        for name, labels, grid, word in (
            ("a", blocks(away), away, "lies nowhere"),
            ("b", 1 + 0 * blocks(MOVING), MOVING, "no label in common"),
        ):
            moving = write_labels(labels, grid, tmp_path / f"{name}.nii.gz")
            arguments = ["--fixed-labels", str(fixed), "--moving-labels", str(moving)]
            assert main(["evaluate", "--run", str(run), *arguments]) == 2
            assert word in capfd.readouterr().err

    def test_landmarks_that_all_lie_outside(self, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        inside = FIXED.voxel_centres().reshape(-1, 3)[::500]
        near, far = write_points(inside, tmp_path / "n.csv"), write_points(inside + 1000, tmp_path / "f.csv")
        for a, b in ((far, near), (near, far)):
            assert main(["evaluate", "--run", str(run), "--fixed-points", str(a), "--moving-points", str(b)]) == 2
            assert "none of its" in capfd.readouterr().err
        for to in ("fixed", "moving"):
            arguments = ["--run", str(run), "--to", to, "--out", str(tmp_path / "o.csv")]
            assert main(["warp-points", str(far), *arguments]) == 2
            assert "none of its" in capfd.readouterr().err


def test_segmentations_are_evaluated_by_name(run: Path, tmp_path: Path) -> None:
    """Both number their segments from 1, and not in the same order."""
    moving = RoiSet.from_labels(blocks(MOVING), MOVING, {3: "liver", 7: "spleen", 1200: "aorta"})
    fixed, _ = field(run).warp_rois(moving)
    write_segmentation(fixed, tmp_path / "f.seg.nrrd")
    write_segmentation(moving.select([2, 0, 1]), tmp_path / "m.seg.nrrd")
    arguments = ["--fixed-labels", str(tmp_path / "f.seg.nrrd"), "--moving-labels", str(tmp_path / "m.seg.nrrd")]
    assert main(["evaluate", "--run", str(run), *arguments, "--out", str(tmp_path / "n.json")]) == 0
    dice = json.loads((tmp_path / "n.json").read_text("utf-8"))["labels"]["after"]["dice"]
    assert len(dice) == 3
    assert min(dice.values()) > 0.97


class TestPoints:
    def carry(self, run: Path, source: Path, out: Path, to: str = "moving") -> None:
        assert main(["warp-points", str(source), "--run", str(run), "--to", to, "--out", str(out), "--overwrite"]) == 0

    @pytest.fixture
    def positions(self) -> np.ndarray:
        return FIXED.index_to_world(np.random.default_rng(0).uniform(2, [20, 17, 4], (4, 3)))

    def test_columns_of_a_table_stay(self, run: Path, tmp_path: Path, positions: np.ndarray) -> None:
        rows = [f'{i};"a; b";{p[2]};{p[0]};{p[1]};{{"k": 1}}' for i, p in enumerate(positions.tolist())]
        source, out = tmp_path / "p.csv", tmp_path / "q.csv"
        source.write_text("\n".join(["id;Comment;Z;X [mm];Y;more", *rows]))
        self.carry(run, source, out)
        lines = out.read_text("utf-8").splitlines()
        assert lines[0] == "id;Comment;z;x;y;more"
        assert lines[1].startswith('0;"a; b";')
        assert '{""k"": 1}' in lines[1] or '{"k": 1}' in lines[1]
        np.testing.assert_allclose(read_points(out), field(run).transform_points(positions), atol=1e-6)

    def test_labels_of_markups_stay_and_undefined_points_keep_their_row(
        self, run: Path, tmp_path: Path, positions: np.ndarray
    ) -> None:
        points = [
            {"id": f"n{i}", "label": f"L{i}", "description": "é", "position": [-p[0], -p[1], p[2]], "locked": True}
            for i, p in enumerate(positions.tolist())
        ]
        points[1] |= {"positionStatus": "undefined", "position": None}
        markup = {
            "type": "Fiducial",
            "coordinateSystem": "RAS",
            "controlPoints": points,
            "display": {"color": [1, 0, 0]},
        }
        source, out = tmp_path / "p.mrk.json", tmp_path / "q.mrk.json"
        source.write_text(json.dumps({"@schema": "s", "markups": [markup]}), encoding="utf-8")
        self.carry(run, source, out)
        made = json.loads(out.read_text(encoding="utf-8"))["markups"][0]
        assert made["display"] == markup["display"]
        assert made["coordinateSystem"] == "LPS"
        for old, new in zip(points, made["controlPoints"], strict=True):
            assert {k: v for k, v in new.items() if k != "position"} == {
                k: v for k, v in old.items() if k != "position"
            }
        expected = field(run).transform_points(positions)
        found, labels = read_labelled_points(out)
        assert labels == ["L0", "L1", "L2", "L3"]
        np.testing.assert_allclose(found[[0, 2, 3]], expected[[0, 2, 3]], atol=1e-6)
        assert np.isnan(found[1]).all()
        self.carry(run, source, tmp_path / "r.csv")
        found, labels = read_labelled_points(tmp_path / "r.csv")
        assert labels == ["L0", "L1", "L2", "L3"]
        np.testing.assert_allclose(found[[0, 2, 3]], expected[[0, 2, 3]], atol=1e-6)
        assert np.isnan(found[1]).all()

    def test_fiducials_stay(self, run: Path, tmp_path: Path, positions: np.ndarray) -> None:
        head = ["# Markups fiducial file version = 4.10", "# CoordinateSystem = 0", "# columns = id,x,y,z,label,desc"]
        rows = [f'm{i},{-p[0]},{-p[1]},{p[2]},"apex, {i}",note' for i, p in enumerate(positions.tolist())]
        source = tmp_path / "p.fcsv"
        source.write_text("\n".join([*head, *rows]) + "\n")
        expected = field(run).transform_points(positions)
        for name in ("q.fcsv", "q.mrk.json", "q.csv"):
            self.carry(run, source, tmp_path / name)
            found, labels = read_labelled_points(tmp_path / name)
            np.testing.assert_allclose(found, expected, atol=1e-6)
            assert labels == [f"apex, {i}" for i in range(4)]
        assert (tmp_path / "q.fcsv").read_text("utf-8").splitlines()[3].startswith("m0,")

    def test_points_outside_are_marked(
        self, run: Path, tmp_path: Path, positions: np.ndarray, capfd: pytest.CaptureFixture[str]
    ) -> None:
        positions = np.vstack([positions, [[900.0, 0.0, 0.0]]])
        source, there, back = tmp_path / "p.csv", tmp_path / "q.csv", tmp_path / "b.csv"
        write_points(positions, source)
        self.carry(run, source, there)
        assert there.read_text("utf-8").splitlines()[0] == "x,y,z,inside"
        assert [line.split(",")[3] for line in there.read_text("utf-8").splitlines()[1:]] == ["1", "1", "1", "1", "0"]
        assert "1 of 5 points lie outside" in capfd.readouterr().err
        self.carry(run, there, back, "fixed")
        assert back.read_text("utf-8").splitlines()[0] == "x,y,z,inside,residual_vox"
        np.testing.assert_allclose(read_points(back), positions, atol=1e-3)

    def test_within_the_image_a_table_is_left_alone(self, run: Path, tmp_path: Path, positions: np.ndarray) -> None:
        source, out = write_points(positions, tmp_path / "p.csv"), tmp_path / "q.csv"
        self.carry(run, source, out)
        assert out.read_text("utf-8").splitlines()[0] == "x,y,z"


def test_labels_in_photographs_and_flat_volumes(tmp_path: Path) -> None:
    """One slice of a volume: nothing is known across it, and everything still holds."""
    result = true_result(3, n_slices=1)
    result = replace(result, affine=None)
    write_run(result, tmp_path / "run")
    labels = result.pairs.moving.label_map()
    source = put(tmp_path / "l.nrrd", labels, result.moving.grid)
    assert main(["warp", str(source), "--run", str(tmp_path / "run"), "--out", str(tmp_path / "w.nrrd")]) == 0
    warped, _ = read_labels(tmp_path / "w.nrrd")
    assert (warped == result.pairs.fixed.label_map())[warped > 0].mean() > 0.9
