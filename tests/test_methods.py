"""Methods behind one door: every peer's transform becomes exactly our field, on oblique and left-handed grids too."""

from __future__ import annotations

import re

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from bodies import CUBE, OBLIQUE, STACK, phantom, shifted_pair
from samreg import DisplacementField, Grid, Image, preset
from samreg.errors import ConfigError, MissingDependencyError, RegistrationError
from samreg.lab.peers import Method, affine, load_method, method_names
from samreg.lab.peers.itk_bridge import (
    after_affine,
    at_voxels,
    field_from_slices,
    ras_to_lps,
    slice_stack,
)
from samreg.lab.peers.samreg_method import config_from_name
from samreg.runs.threads import limit_threads, set_threads
from worlds import rotation


def test_an_affine_by_mutual_information_finds_a_shift_and_never_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, moving = shifted_pair(CUBE, (3.0, -2.0, 1.5))
    matrix = affine.register_affine(fixed, moving)
    at = np.append(np.asarray(CUBE.centre), 1.0)
    assert (matrix @ at)[:3] - at[:3] == pytest.approx((3.0, -2.0, 1.5), abs=0.5)

    ends = iter([np.diag([-1.0, 1.0, 1.0, 1.0]), np.diag([1.1, 1.0, 1.0, 1.0])])
    monkeypatch.setattr(affine, "matrix_of", lambda _: next(ends))
    assert np.linalg.det(affine.register_affine(fixed, moving)[:3, :3]) == pytest.approx(1.1)


def test_the_order_of_warp_and_affine_is_the_one_of_itk() -> None:
    rng = np.random.default_rng(1)
    w = ndimage.gaussian_filter(rng.standard_normal((*OBLIQUE.shape, 3)), (3, 3, 3, 0)) * 20
    affine = np.eye(4)
    affine[:3, :3] += 0.1 * rng.standard_normal((3, 3))
    affine[:3, 3] = [1.0, 2.0, -3.0]
    field = after_affine(DisplacementField(w.astype(np.float32), OBLIQUE), affine)

    image = sitk.GetImageFromArray(w.astype(np.float64), isVector=True)
    image.SetSpacing(OBLIQUE.spacing)
    image.SetOrigin(OBLIQUE.origin)
    image.SetDirection(tuple(np.ravel(OBLIQUE.direction)))
    linear = sitk.AffineTransform(3)
    linear.SetMatrix(tuple(affine[:3, :3].ravel()))
    linear.SetTranslation(tuple(affine[:3, 3]))
    both = sitk.CompositeTransform([linear, sitk.DisplacementFieldTransform(image)])  # the last one is applied first
    for index in ((3, 4, 5), (10, 20, 7), (15, 3, 25)):
        point = OBLIQUE.index_to_world(np.asarray([index[::-1]], dtype=float))[0]
        assert point + field.u[index] == pytest.approx(both.TransformPoint(tuple(point)), abs=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_come_apart_and_together_again(axis: int) -> None:
    spacing = [1.2, 1.4, 1.6]
    spacing[2 - axis] = 9.0
    grid = Grid(
        (6, 7, 8), tuple(spacing), (1, 2, 3), tuple(map(tuple, rotation((0.3, 0.2, 0.1)) @ np.diag([-1, 1, 1])))
    )
    fixed = Image(phantom(grid), grid)
    rows, plane = slice_stack(fixed, fixed, axis)
    assert len(rows) == grid.shape[axis]
    assert rows[0][0].grid is plane
    assert np.array_equal(rows[2][0].data, np.take(fixed.data, 2, axis))
    # One pixel along the plane's x, then one along its y, must be one voxel along the volume's own axes.
    for component in (0, 1):
        step = np.zeros(2)
        step[component] = plane.spacing[component]
        field = field_from_slices([np.broadcast_to(step, (*plane.shape, 2))] * len(rows), grid, axis)
        index = field.moving_index(grid) - DisplacementField.identity(grid).moving_index(grid)
        moved = index.reshape(-1, 3)
        in_plane = [2 - a for a in range(3) if a != axis][::-1]
        wanted = np.zeros(3)
        wanted[in_plane[component]] = 1.0
        assert moved == pytest.approx(np.broadcast_to(wanted, moved.shape), abs=1e-4)


def test_a_field_on_a_finer_grid_is_read_at_the_voxels() -> None:
    fine = STACK.with_shape((28, 40, 44))
    matrix = np.eye(4)
    matrix[:3, 3] = [1.0, 2.0, 3.0]
    matrix[0, 0] = 1.1
    found = at_voxels(DisplacementField.from_matrix(matrix, fine), STACK)
    inner = (slice(1, -1),) * 3
    assert found.u[inner] == pytest.approx(DisplacementField.from_matrix(matrix, STACK).u[inner], abs=1e-4)


def test_ras_and_lps_are_each_others_mirror() -> None:
    matrix = np.arange(16.0).reshape(4, 4)
    assert ras_to_lps(ras_to_lps(matrix)) == pytest.approx(matrix)
    point = np.asarray([1.0, 2.0, 3.0, 1.0])
    flip = np.asarray([-1.0, -1.0, 1.0, 1.0])
    assert (ras_to_lps(matrix) @ (point * flip))[:3] == pytest.approx(((matrix @ point) * flip)[:3])


def test_identity_works_in_any_dimension() -> None:
    grid = Grid((8, 9), (1.0, 1.0), unit="px")
    image = Image(np.random.default_rng(0).uniform(size=(8, 9, 3)), grid)
    output = load_method("identity").run(image, image)
    assert not output.field.u.any()


def test_a_method_says_why_it_does_not_apply() -> None:
    flat = Image(np.zeros((8, 9)), Grid((8, 9), (1.0, 1.0), unit="px"))
    stack = Image(np.zeros(STACK.shape), STACK)
    assert load_method("niftyreg").why_not(flat, intra_subject=True) == "niftyreg registers 3D images only"
    assert "slices correspond" in load_method("ants2d").why_not(stack, intra_subject=False)
    assert load_method("ants2d").why_not(stack, intra_subject=True) == ""


def test_an_absent_tool_names_the_command_that_installs_it() -> None:
    method = Method("gone", lambda *_, **__: None, {}, "gone-tool", "no_such_module", "pip install gone-tool")  # type: ignore[arg-type]
    image = Image(np.zeros(STACK.shape), STACK)
    assert not method.is_installed
    with pytest.raises(MissingDependencyError, match="the method gone needs it: pip install gone-tool"):
        method.run(image, image)


def test_displacements_that_are_not_finite_are_refused() -> None:
    def broken(fixed: Image, moving: Image, **_: object) -> DisplacementField:
        u = np.zeros((*fixed.grid.shape, 3), np.float32)
        u[0, 0, 0, 0] = np.nan
        return DisplacementField(u, fixed.grid)

    image = Image(np.zeros(STACK.shape), STACK)
    with pytest.raises(RegistrationError, match="not finite"):
        Method("broken", broken, {}).run(image, image)


def test_threads_are_bounded_within_the_call_and_free_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    import torch

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    with limit_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        assert os.environ["OMP_NUM_THREADS"] == str(before + 1)
    assert torch.get_num_threads() == before
    assert "OMP_NUM_THREADS" not in os.environ
    for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    set_threads(before)


def test_names_of_methods() -> None:
    untrained = [name for name in method_names() if name not in ("voxelmorph", "labelreg")]
    assert [load_method(name).name for name in untrained] == untrained
    assert load_method("samreg:fast").name == "samreg:fast"
    for name in ("sift", "ants:fast", "identity+x=1"):
        with pytest.raises(ConfigError, match=f"there is no method '{re.escape(name)}'; choose from ants, "):
            load_method(name)


def test_ablations_by_name() -> None:
    config = config_from_name("samreg:fast+match.max_pairs=3+match.epsilon=0.6+segment.proposals.areas=0.01/0.2")
    fast = preset("fast")
    assert config.match.max_pairs == 3
    assert config.match.epsilon == 0.6
    assert config.segment.proposals.areas == (0.01, 0.2)
    assert config.fit == fast.fit
    assert config_from_name("samreg") == preset("default")
    assert config_from_name("samreg+match.verify=false").match.verify is False
    assert config_from_name("samreg+fit.flow.flow_iterations=20/10").fit.flow.flow_iterations == (20, 10)
    assert load_method("samreg+match.max_pairs=3").name == "samreg+match.max_pairs=3"
    for name, complaint in (
        ("samreg:slow", "no preset 'slow'"),
        ("samreg+match.k=3", "there is no setting 'k'; MatchConfig has"),
        ("samreg+match.max_pairs=three", "wants int"),
        ("samreg+fit.transform=spline", "choose ddf, ffd"),
        ("samreg+match.verify=maybe", "true or false"),
        ("samreg+match.epsilon=7", "--epsilon"),
        ("samreg+fit.flow.flow_iterations=many", "wants int"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            load_method(name)
