"""Methods behind one door: every peer's transform becomes exactly our field, on oblique and left-handed grids too."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from samreg import DisplacementField, Grid, Image, preset
from samreg.errors import ConfigError, MissingDependencyError, RegistrationError
from samreg.evaluation.methods import Method, affine, load_method, method_names
from samreg.evaluation.methods.base import is_thick_stack, limit_threads, set_threads
from samreg.evaluation.methods.itk_bridge import (
    after_affine,
    at_voxels,
    field_from_slices,
    ras_to_lps,
    slice_stack,
    to_sitk,
)
from samreg.evaluation.methods.samreg_method import config_from_name
from worlds import rotation

OBLIQUE = Grid(
    (22, 26, 30), (1.6, 1.4, 1.8), (10, -20, 30), tuple(map(tuple, rotation((0.2, 0.1, -0.3)) @ np.diag([1, -1, 1])))
)
# Isotropic: what tools that count in voxels work on is the grid itself.
CUBE = Grid((30, 32, 34), (1.5, 1.5, 1.5), (5, 6, 7), OBLIQUE.direction)
STACK = Grid((7, 40, 44), (1.5, 1.5, 8.0), (-20, 10, 5))


def phantom(grid: Grid, seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(grid.shape), 2.0)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    body = ndimage.gaussian_filter((sum(a**2 for a in axes) < 0.7).astype(float), 1.0)
    return ((noise / noise.std() + 4.0) * 100.0 * body).astype(np.float32)


def shifted_pair(grid: Grid, shift: tuple[float, ...]) -> tuple[Image, Image]:
    """Two images of one body, the moving one `shift` further: the true field is that shift everywhere."""
    data = phantom(grid)
    moved = dataclasses.replace(grid, origin=tuple(np.add(grid.origin, shift)))
    return Image(data, grid, "fixed"), Image(data, moved, "moving")


def stretched_pair(grid: Grid) -> tuple[Image, Image]:
    """The moving image on a grid of its own, the body stretched, turned and shifted a little."""
    fixed = Image(phantom(grid), grid, "fixed")
    centre = np.asarray(grid.centre)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((0.05, -0.04, 0.06)) @ np.diag([1.06, 0.95, 1.03])
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + [2.0, -1.5, 1.0]
    other = Grid((24, 28, 27), (1.7, 1.5, 1.6), tuple(np.add(grid.origin, [-2.0, 1.0, -3.0])), grid.direction)
    return fixed, Image(DisplacementField.from_matrix(matrix, other).warp(fixed).data, other, "moving")


def inside(grid: Grid, margin: int = 4) -> tuple[slice, ...]:
    return tuple(slice(margin, -margin) if n > 2 * margin else slice(None) for n in grid.shape)


def needs(name: str) -> pytest.MarkDecorator:
    method = load_method(name)
    absent = bool(method.module) and importlib.util.find_spec(method.module) is None
    return pytest.mark.skipif(absent, reason=f"{name} is not installed: {method.install}")


# What runs a real tool takes seconds to a minute: pytest -m slow.
PEERS = ["niftyreg", "ants", "elastix", "greedy", "convexadam"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=needs(n)) for n in [*PEERS, "niftyreg-lncc", "ants-mi"]])
def test_peers_find_a_known_shift_on_an_oblique_left_handed_grid(name: str) -> None:
    fixed, moving = shifted_pair(OBLIQUE, (3.0, -2.0, 2.5))
    output = load_method(name).run(fixed, moving, intra_subject=False)
    error = np.linalg.norm(output.field.u - [3.0, -2.0, 2.5], axis=-1)[inside(OBLIQUE)]
    assert np.median(error) < 0.5
    assert output.seconds > 0
    assert output.settings["threads"] == 2


# A tool's own resampling is what its transform means; ours of the converted field must give the same image.


def agree(field: DisplacementField, moving: Image, theirs: np.ndarray, tolerance: float = 0.01) -> None:
    """Compares where both have an image: tools differ in what they make of the last half voxel of the moving one."""
    index = field.moving_index(moving.grid)
    inner = ((index > 0.5) & (index < np.asarray(moving.grid.shape[::-1]) - 1.5)).all(axis=-1)
    assert inner.mean() > 0.2
    gap = np.abs(field.warp(moving).data - theirs)[inner] / np.ptp(theirs)
    assert np.percentile(gap, 99) < tolerance, f"p99 of the difference is {np.percentile(gap, 99):.4f} of the range"


def moved_enough(field: DisplacementField) -> None:
    assert np.abs(field.u).max() > 1.0, "a field near zero would agree with anything"


@pytest.mark.slow
@needs("niftyreg")
def test_niftyreg_means_what_reg_resample_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import samreg.evaluation.methods.niftyreg as module

    theirs: list[np.ndarray] = []
    call: Callable[..., None] = module._call

    def record(program: str, arguments: list[str]) -> None:
        call(program, arguments)
        if program == "reg_f3d":
            control, out = arguments[arguments.index("-cpp") + 1], arguments[arguments.index("-cpp") + 1] + "_res.nii"
            images = arguments[: arguments.index("-omp")]
            call("reg_resample", [*images, "-trans", control, "-res", out, "-inter", "1", "-pad", "0"])
            theirs.append(sitk.GetArrayFromImage(sitk.ReadImage(out)))

    monkeypatch.setattr(module, "_call", record)
    fixed, moving = stretched_pair(CUBE)
    field = load_method("niftyreg").run(fixed, moving).field
    moved_enough(field)
    agree(field, moving, theirs[0])


@pytest.mark.slow
@needs("ants")
@pytest.mark.parametrize("intra_subject", [True, False])
def test_ants_means_what_apply_transforms_does(monkeypatch: pytest.MonkeyPatch, intra_subject: bool) -> None:
    import ants

    import samreg.evaluation.methods.ants as module

    theirs: list[np.ndarray] = []
    registration = ants.registration

    def record(a: Any, b: Any, **settings: Any) -> Any:
        found = registration(a, b, **settings)
        theirs.append(ants.apply_transforms(a, b, found["fwdtransforms"], interpolator="linear").numpy().T)
        return found

    monkeypatch.setattr(ants, "registration", record)
    monkeypatch.setattr(module, "_ITERATIONS", (20, 10))
    fixed, moving = stretched_pair(OBLIQUE)
    field = load_method("ants-mi").run(fixed, moving, intra_subject=intra_subject).field
    moved_enough(field)
    agree(field, moving, theirs[0])


@pytest.mark.slow
@needs("ants")
def test_ants_slices_mean_what_apply_transforms_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import ants

    import samreg.evaluation.methods.ants as module

    theirs: list[np.ndarray] = []
    registration = ants.registration

    def record(a: Any, b: Any, **settings: Any) -> Any:
        found = registration(a, b, **settings)
        theirs.append(ants.apply_transforms(a, b, found["fwdtransforms"], interpolator="linear").numpy().T)
        return found

    monkeypatch.setattr(ants, "registration", record)
    monkeypatch.setattr(module, "_ITERATIONS", (20, 10))
    fixed, moving = shifted_pair(STACK, (3.0, -2.0, 0.0))
    field = load_method("ants2d").run(fixed, moving, intra_subject=True).field
    moved_enough(field)
    assert np.abs(field.u[..., 2]).max() == 0
    on_fixed = DisplacementField.identity(STACK).warp(moving)
    agree(field, on_fixed, np.stack(theirs))


@pytest.mark.slow
@needs("elastix")
@pytest.mark.parametrize("intra_subject", [True, False])
def test_elastix_means_what_transformix_does(monkeypatch: pytest.MonkeyPatch, intra_subject: bool) -> None:
    import itk

    theirs: list[np.ndarray] = []
    registration = itk.elastix_registration_method

    def record(a: Any, b: Any, **settings: Any) -> Any:
        found = registration(a, b, **settings)
        theirs.append(itk.array_from_image(itk.transformix_filter(b, found[1], log_to_console=False)))
        return found

    monkeypatch.setattr(itk, "elastix_registration_method", record)
    shorten_elastix(monkeypatch)
    fixed, moving = stretched_pair(OBLIQUE)
    field = load_method("elastix").run(fixed, moving, intra_subject=intra_subject).field
    moved_enough(field)
    agree(field, moving, theirs[0])


def shorten_elastix(monkeypatch: pytest.MonkeyPatch) -> None:
    import samreg.evaluation.methods.elastix as module

    common = module._common
    monkeypatch.setattr(module, "_common", lambda grid, _: common(grid, 30))


@pytest.mark.slow
@needs("elastix2d")
def test_elastix_slices_go_where_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_elastix(monkeypatch)
    fixed, moving = shifted_pair(STACK, (3.0, -2.0, 0.0))
    field = load_method("elastix2d").run(fixed, moving, intra_subject=True).field
    assert np.abs(field.u[..., 2]).max() == 0
    centre = field.u[2:5, 12:28, 14:30].reshape(-1, 3)
    assert np.median(centre, axis=0) == pytest.approx([3.0, -2.0, 0.0], abs=0.5)


@pytest.mark.slow
@needs("greedy")
def test_greedy_means_what_its_own_resampling_does() -> None:
    from picsl_greedy import Greedy3D

    from samreg.evaluation.methods.itk_bridge import quiet

    fixed, moving = stretched_pair(OBLIQUE)
    images = {"fixed": to_sitk(fixed), "moving": to_sitk(moving)}
    tool = Greedy3D()
    command = "-i fixed moving -a -dof 12 -m NMI -n 50x20 -ia-image-centers -o affine"
    quiet(tool.execute, command, **images, affine=None)
    quiet(tool.execute, "-i fixed moving -it affine -m NCC 2x2x2 -n 20x10 -s 3mm 1mm -o warp", **images, warp=None)
    quiet(tool.execute, "-rf fixed -rm moving warped -r warp affine", **images, warped=None)
    from samreg.evaluation.methods.itk_bridge import field_from_sitk

    warp = field_from_sitk(tool["warp"], OBLIQUE)
    field = after_affine(warp, ras_to_lps(np.asarray(tool["affine"])))
    moved_enough(field)
    agree(field, moving, sitk.GetArrayFromImage(tool["warped"]))


@pytest.mark.slow
@needs("greedy")
def test_greedy_registers_a_stack_of_seven_slices() -> None:
    fixed, moving = shifted_pair(STACK, (3.0, -2.0, 0.0))
    field = load_method("greedy").run(fixed, moving, intra_subject=True).field
    assert field.grid is STACK
    centre = field.u[2:5, 12:28, 14:30].reshape(-1, 3)
    assert np.median(centre, axis=0) == pytest.approx([3.0, -2.0, 0.0], abs=0.6)


@pytest.mark.slow
@needs("convexadam")
def test_convexadam_means_what_apply_convex_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import convexAdam.convex_adam_MIND as tool
    from convexAdam.apply_convex import apply_convex

    theirs: list[np.ndarray] = []
    original = tool.convex_adam_pt

    def record(a: np.ndarray, b: np.ndarray, **settings: Any) -> np.ndarray:
        found = original(a, b, selected_niter=10, **settings)
        theirs.append(apply_convex(found, b))
        return found

    monkeypatch.setattr(tool, "convex_adam_pt", record)
    fixed, moving = shifted_pair(CUBE, (3.0, -2.0, 2.5))
    field = load_method("convexadam").run(fixed, moving, intra_subject=True).field
    moved_enough(field)
    on_fixed = DisplacementField.identity(CUBE).warp(moving)
    agree(field, on_fixed, theirs[0])


def test_an_affine_by_mutual_information_finds_a_shift_and_never_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, moving = shifted_pair(CUBE, (3.0, -2.0, 1.5))
    matrix = affine.register_affine(fixed, moving)
    at = np.append(np.asarray(CUBE.centre), 1.0)
    assert (matrix @ at)[:3] - at[:3] == pytest.approx((3.0, -2.0, 1.5), abs=0.5)

    ends = iter([np.diag([-1.0, 1.0, 1.0, 1.0]), np.diag([1.1, 1.0, 1.0, 1.0])])
    monkeypatch.setattr(affine, "_matrix", lambda _: next(ends))
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
    assert is_thick_stack(STACK)
    assert not is_thick_stack(OBLIQUE)
    assert not is_thick_stack(flat.grid)


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
    with limit_threads(1):
        assert torch.get_num_threads() == 1
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert torch.get_num_threads() == before
    assert "OMP_NUM_THREADS" not in os.environ
    for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    set_threads(before)


def test_names_of_methods() -> None:
    assert [load_method(name).name for name in method_names()] == method_names()
    with pytest.raises(ConfigError, match="there is no method 'sift'; choose from identity"):
        load_method("sift")


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
        ("samreg+fit.transform=spline", "is one of"),
        ("samreg+match.verify=maybe", "true or false"),
        ("samreg+match.epsilon=7", "--epsilon"),
        ("samreg+fit.flow.flow_iterations=many", "wants int"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            load_method(name)
