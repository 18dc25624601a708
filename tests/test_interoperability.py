"""The fast part of `python -m benchmarks.interoperability`: every tool that is installed, on made grids, both ways.

The tools that are not here (ANTs and ITK are large) are skipped; `pip install "samreg[interop]"` brings them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks import interoperability as interop

from dicom_files import VOXELS, write_series
from samreg import DisplacementField
from samreg.io.images import read_image

pytestmark = pytest.mark.filterwarnings("ignore")  # what the tools warn of is their own affair


@pytest.fixture(scope="module", params=list(interop.MADE))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list, object]:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, *interop.made_run(interop.MADE[request.param], folder)


@pytest.mark.parametrize("direction", [0, 1], ids=["forward", "inverse"])
@pytest.mark.parametrize("name", list(interop.TOOLS))
def test_a_tool_makes_of_the_files_what_samreg_makes(made: tuple, name: str, direction: int) -> None:
    folder, ways, _ = made
    tool, way = interop.TOOLS[name], ways[direction]
    pytest.importorskip(tool.package)
    if way.field.grid.ndim not in tool.ndim:
        pytest.skip(f"{tool.package} knows no 2D")
    here = interop.on_grid(way, folder) if tool.package == "monai" else way
    share, compared = interop.image_difference(tool, here)
    assert compared > 0.3
    assert share <= interop.LIMIT_SHARE
    if tool.move is not None:
        assert interop.point_distance(tool, way) <= interop.LIMIT_WORLD


def test_ants_inverts_the_affine_file(made: tuple, tmp_path: Path) -> None:
    ants = pytest.importorskip("ants")
    import pandas as pd

    folder, ways, _ = made
    result = interop.made_result(ways[0].field.grid)
    d = len(result.affine) - 1
    points = result.moving.grid.index_to_world(np.asarray([[3.0] * d, [5.0, 7.0, 4.0][:d]]))
    table = pd.DataFrame(points, columns=list("xyz")[:d])
    theirs = ants.apply_transforms_to_points(d, table, [str(folder / "affine.mat")], whichtoinvert=[True])
    inverse = np.linalg.inv(result.affine)
    wanted = points @ inverse[:d, :d].T + inverse[:d, d]
    np.testing.assert_allclose(theirs.to_numpy()[:, :d], wanted, atol=interop.LIMIT_WORLD)


def test_slicerio_finds_the_segments(made: tuple) -> None:
    pytest.importorskip("slicerio")
    folder, _, pairs = made
    assert interop.segments_agree(folder, pairs)


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    """A field of the other sign, one voxel off, or another fill value is seen."""
    from dataclasses import replace

    ways, pairs = interop.made_run(interop.MADE["oblique"], tmp_path)
    way, tool = ways[0], interop.TOOLS["SimpleITK displacement"]
    assert interop.image_difference(tool, way)[0] <= interop.LIMIT_SHARE
    small = 0.01 * min(way.field.grid.spacing)
    for u in (-way.field.u, way.field.u + np.float32(small)):
        wrong = replace(way, field=DisplacementField(u, way.field.grid))
        assert interop.image_difference(tool, wrong)[0] > interop.LIMIT_SHARE
        assert interop.point_distance(tool, wrong) > interop.LIMIT_WORLD
    assert not interop.segments_agree(tmp_path, pairs.select([1, 0, 2]))


def test_highdicom_finds_the_same_voxel_at_the_same_point(tmp_path: Path) -> None:
    """Of an oblique series: highdicom's volume and samreg's image."""
    highdicom = pytest.importorskip("highdicom")
    pydicom = pytest.importorskip("pydicom")
    angle = 0.4
    row, column = (np.cos(angle), 0.0, np.sin(angle)), (0.0, 1.0, 0.0)
    normal = np.cross(row, column)
    positions = [tuple(np.asarray([10.0, -20.0, 5.0]) + 3.0 * k * normal) for k in range(4)]
    folder = write_series(tmp_path / "series", positions, row=row, column=column)
    image = read_image(folder)
    files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    for file in files:
        file.FrameOfReferenceUID = "1.2.3.4"
    volume = highdicom.get_volume_from_series(files)
    index = np.stack(np.meshgrid(*map(np.arange, volume.array.shape[:3]), indexing="ij"), -1).reshape(-1, 3)
    world = volume.map_indices_to_reference(index)
    found = np.rint(image.grid.world_to_index(world)).astype(int)
    np.testing.assert_allclose(image.grid.index_to_world(found.astype(float)), world, atol=1e-3)
    np.testing.assert_array_equal(image.data[tuple(found.T[::-1])], volume.array[tuple(index.T)])
    assert len(found) == VOXELS.size
