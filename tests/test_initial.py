"""A given initial transform: read from anything, split into A and v, and composed with what the fit adds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import samreg
from samreg.cli import main
from samreg.cli.demo import write_phantom
from samreg.errors import GeometryError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.frame import from_field, to_field
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.phantom import phantom
from samreg.io.transforms import write_affine, write_displacement, write_transform
from samreg.regions.regions import Regions
from samreg.runs.initial import read_initial
from samreg.runs.run_folder import read_run
from worlds import GRIDS, rotation


def turned(d: int) -> np.ndarray:
    matrix = np.eye(d + 1)
    matrix[:d, :d] = 1.1 * rotation((0.4,) if d == 2 else (0.1, -0.3, 0.5))
    matrix[:d, d] = np.arange(d) * 4 - 3
    return matrix


def wavy(grid: Grid, size: float = 1.0) -> DisplacementField:
    """An affine map and something that is none."""
    d = grid.ndim
    field = DisplacementField.from_matrix(turned(d), grid)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1)
    return DisplacementField(field.u + np.float32(size) * np.sin(index).astype(np.float32), grid)


def settings(*steps: int, transform: str = "ddf") -> samreg.RegisterConfig:
    config = samreg.preset("default")
    flow = dataclasses.replace(config.fit.flow, flow_iterations=steps)
    return dataclasses.replace(
        config, fit=dataclasses.replace(config.fit, transform=transform, work_size=64, flow=flow)
    )


@pytest.mark.parametrize("name", GRIDS)
class TestSplit:
    def test_an_affine_map_is_all_affine(self, name: str) -> None:
        grid = GRIDS[name]
        affine, v = from_field(DisplacementField.from_matrix(turned(grid.ndim), grid), grid)
        assert (
            np.abs(to_field(v, grid, affine).u - DisplacementField.from_matrix(turned(grid.ndim), grid).u).max() < 1e-3
        )
        if 1 not in grid.shape:
            np.testing.assert_allclose(affine, turned(grid.ndim), atol=1e-4)
            assert v.abs().max() < 1e-3

    def test_it_is_undone_by_to_field(self, name: str) -> None:
        grid = GRIDS[name]
        affine, v = from_field(wavy(grid), grid)
        assert v.abs().max() > 0.1
        np.testing.assert_allclose(to_field(v, grid, affine).u, wavy(grid).u, atol=1e-3)


def test_a_map_without_an_affine_part_that_can_be_inverted_has_the_identity() -> None:
    grid = GRIDS["identity-2d"]
    x = grid.voxel_centres()
    mirrored = DisplacementField((-2 * x * [1, 0]).astype(np.float32), grid)
    affine, v = from_field(mirrored, grid)
    np.testing.assert_array_equal(affine, np.eye(3))
    np.testing.assert_allclose(to_field(v, grid, affine).u, mirrored.u, atol=1e-4)


class TestReading:
    @pytest.mark.parametrize("name", ["a.mat", "a.tfm", "a.h5", "u.nii.gz", "u.mha"])
    def test_what_users_have(self, name: str, tmp_path: Path) -> None:
        grid, path = GRIDS["oblique-3d"], tmp_path / name
        field = DisplacementField.from_matrix(turned(3), grid)
        if path.suffix in (".mat", ".tfm"):
            write_affine(turned(3), path)
        elif path.suffix == ".h5":
            write_transform(field, path, turned(3))
        else:
            write_displacement(field, path)
        found = read_initial(path, grid)
        np.testing.assert_allclose(found.u, field.u, atol=1e-3)

    def test_what_is_not_there_or_none(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="wants a run folder"):
            read_initial(tmp_path / "a.h5", GRIDS["identity-2d"])
        (tmp_path / "a.h5").write_text("nothing")
        with pytest.raises(InputError, match="not an ITK transform"):
            read_initial(tmp_path / "a.h5", GRIDS["identity-2d"])
        with pytest.raises(InputError, match="3D transform"):
            read_initial(write_affine(np.eye(4), tmp_path / "b.mat"), GRIDS["identity-2d"])
        with pytest.raises(InputError, match="not a run folder"):
            read_initial(tmp_path, GRIDS["identity-2d"])


class TestComposition:
    """The moving image is far away: without a start that knows it, grey values alone cannot find it."""

    shift = np.array([90.0, -70.0])

    @pytest.fixture(scope="class")
    def pair(self) -> tuple[Image, Image, DisplacementField]:
        made = phantom(2)
        away = dataclasses.replace(made.moving.grid, origin=tuple(np.add(made.moving.grid.origin, self.shift)))
        truth = DisplacementField((made.field.u + self.shift).astype(np.float32), made.field.grid)
        return made.fixed, Image(made.moving.data, away, "moving"), truth

    def register(self, pair: tuple[Image, Image, DisplacementField], *steps: int, **more: object) -> object:
        fixed, moving, _ = pair
        nothing = Regions.none(fixed), Regions.none(moving)
        return samreg.register_regions(*nothing, settings(*steps), **more)

    def test_no_step_gives_the_initial_transform_in_all_its_detail(
        self, pair: tuple[Image, Image, DisplacementField]
    ) -> None:
        grid = pair[0].grid
        x = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1)
        fine = self.shift + 0.3 * np.sin(1.5 * x)  # waves of four voxels, which half the voxels do not hold
        initial = DisplacementField(fine.astype(np.float32), grid)
        result = self.register(pair, 0, 0, 0, initial=initial)
        np.testing.assert_allclose(result.field.u, initial.u, atol=1e-3)

    def test_the_fit_goes_on_from_there(self, pair: tuple[Image, Image, DisplacementField]) -> None:
        fixed, _, truth = pair
        matrix = np.eye(3)
        matrix[:2, 2] = self.shift
        initial = DisplacementField.from_matrix(matrix, fixed.grid)
        result = self.register(pair, 20, 20, 10, initial=initial)
        body = phantom(2).fixed_labels > 0
        before, after = (np.linalg.norm(f.u - truth.u, axis=-1)[body].mean() for f in (initial, result.field))
        assert after < 0.7 * before
        assert result.start.chosen == "initial transform"
        assert "composes with it" in result.warnings[0]
        assert "mean displacement 114.0 mm" in result.warnings[0]

    def test_an_initial_transform_of_another_world(self, pair: tuple[Image, Image, DisplacementField]) -> None:
        grid = Grid((8, 8), (1.0, 1.0), (5000.0, 0.0))
        with pytest.raises(GeometryError, match="lies nowhere in"):
            self.register(pair, 1, initial=DisplacementField.identity(grid))
        with pytest.raises(GeometryError, match="the initial transform is 3D"):
            self.register(pair, 1, initial=DisplacementField.identity(Grid((3, 8, 8), (1.0, 1.0, 1.0))))

    def test_an_affine_fit_says_that_it_does_not_compose(self, pair: tuple[Image, Image, DisplacementField]) -> None:
        fixed, moving, _ = pair
        nothing = Regions.none(fixed), Regions.none(moving)
        initial = DisplacementField.from_matrix(turned(2), fixed.grid)
        result = samreg.register_regions(*nothing, settings(1, transform="affine"), initial=initial)
        assert "fitted to the pairs alone" in result.warnings[0]


def test_on_the_command_line_a_run_goes_on_from_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_phantom(phantom(2), tmp_path / "images")
    sides = ("fixed", "moving")
    images = [str(tmp_path / "images" / f"{side}.nii.gz") for side in sides]
    labels = [f"--{side}-labels={tmp_path / 'images' / f'{side}_labels.nii.gz'}" for side in sides]
    quick = ["--labels-only", "--work-size", "64", "--flow-iterations"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["register", *images, *labels, *quick, "5", "5", "5", "--out", str(first)]) == 0
    again = ["register", *images, *labels, *quick, "0", "--initial", str(first), "--out", str(second)]
    assert main(again) == 0
    assert "starts from the given initial transform" in capsys.readouterr().out
    one, two = read_run(first), read_run(second)
    np.testing.assert_allclose(two.transform().u, one.transform().u, atol=1e-3)
    assert two.manifest["other_inputs"]["initial"]["path"] == str(first)
    assert two.manifest["provenance"]["affine"]["chosen"] == "initial transform"
    np.testing.assert_allclose(samreg.fit_run(second).field.u, two.transform().u, atol=1e-4)
    (first / "warped.nii.gz").unlink()
    with pytest.raises(InputError, match="gone or another"):
        samreg.fit_run(second)


def test_a_batch_table_has_a_column_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import samreg.pipeline
    from results import true_result
    from samreg.io.images import write_image
    from samreg.runs.batch import BatchOptions, run_batch

    result, seen = true_result(2), []

    def fake(fixed: Image, moving: Image, *_: object, initial: DisplacementField | None, **__: object) -> object:
        seen.append(initial)
        return result

    monkeypatch.setattr(samreg.pipeline, "register", fake)
    for side in ("fixed", "moving"):
        write_image(getattr(result, side), tmp_path / f"{side}.nii.gz")
    write_affine(turned(2), tmp_path / "start.mat")
    table = tmp_path / "pairs.csv"
    table.write_text("id,fixed,moving,initial\na,fixed.nii.gz,moving.nii.gz,start.mat\nb,fixed.nii.gz,moving.nii.gz,\n")
    found = run_batch(BatchOptions(table, tmp_path / "out", jobs=0))
    assert found.n_done == 2
    expected = DisplacementField.from_matrix(turned(2), result.fixed.grid)
    np.testing.assert_allclose(seen[0].u, expected.u, atol=1e-3)
    assert seen[1] is None
    assert "initial" in read_run(tmp_path / "out" / "runs" / "a").manifest["other_inputs"]
