"""Images of odd shapes, sizes and values through the whole of `samreg register`: a result, or one line and status 2.

The default network takes seconds for each slice, and what is odd here is the image: a small network with random weights
takes most of them; `pytest -m slow` has all of them by the default one.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_fixtures import write_sam_checkpoint
from samreg.cli import main
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.io.images import write_image
from samreg.runs.run_folder import read_run


def _body(*shape: int, seed: int = 0) -> np.ndarray:
    """Two nested balls in noise."""
    at = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    radius = np.sqrt(sum(a**2 for a in at))
    noise = np.random.default_rng(seed).normal(0, 3, shape)
    return (100 * (radius < 0.7) + 60 * (radius < 0.4) + noise).astype(np.float32)


def _image(data: np.ndarray, spacing: tuple[float, ...] = (), origin: tuple[float, ...] = ()) -> Image:
    d = data.ndim
    return Image(data, Grid(data.shape, spacing or (1.0,) * d, origin or (0.0,) * d))


def _gaps() -> np.ndarray:
    data = _body(6, 48, 48)
    data[[0, 2, 5]] = 0
    return data


@pytest.fixture(scope="module")
def small_network(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("network") / "small.pth"
    write_sam_checkpoint(path)
    return str(path)


def _ends(
    fixed: Image,
    moving: Image,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    preset: str = "fast",
    segmenter: str = "litemedsam",
) -> int:
    """Register two images; the status, after a look at what came of it.

    An image that is registered with itself is segmented once: the other time its regions come from the cache.
    """
    folder.mkdir()
    for name, image in (("fixed", fixed), ("moving", moving)):
        write_image(image, folder / f"{name}.mha")
    command = ["register", str(folder / "fixed.mha"), str(folder / "moving.mha"), "-o", str(folder / "run")]
    status = main([*command, "--preset", preset, "--segmenter", segmenter])
    said = capsys.readouterr().err
    if status == 0:
        run = read_run(folder / "run")
        assert run.field is not None
        assert np.isfinite(run.field.u).all()
        assert "Traceback" not in said
    else:
        assert status == 2, said
        assert len(said.strip().splitlines()) == 1
        assert not (folder / "run").exists()
    return status


_SAME = {
    "one row": _image(_body(1, 200)),
    "three rows": _image(_body(3, 100)),
    "four pixels": _image(_body(2, 2)),
    "one slice": _image(_body(1, 64, 64)),
    "a plane crosswise": _image(_body(10, 1, 24)),
    "a line in space": _image(_body(1, 1, 64)),
    "of micrometres": _image(_body(64, 64), (1e-3, 1e-3)),
    "of kilometres": _image(_body(6, 40, 40), (1e6, 1e6, 1e6)),
    "flat voxels": _image(_body(40, 40, 4), (100.0, 1.0, 0.01)),
    "needles": _image(_body(32, 32), (1e-3, 1e3)),
    "far away": _image(_body(64, 64), origin=(1e9, -1e9)),
    "huge values": _image(_body(64, 64) * 1e30),
    "slices of zeros": _image(_gaps()),
}


_BY_THE_DEFAULT = ("one row", "of micrometres", "slices of zeros")


@pytest.mark.parametrize("name", _SAME)
def test_an_odd_image_and_itself(
    name: str, small_network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _stays(name, tmp_path, capsys, "litemedsam" if name in _BY_THE_DEFAULT else small_network)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in _SAME if name not in _BY_THE_DEFAULT])
def test_an_odd_image_and_itself_by_the_default(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _stays(name, tmp_path, capsys, "litemedsam")


def _stays(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], segmenter: str) -> None:
    image = _SAME[name]
    assert _ends(image, image, tmp_path / "odd", capsys, segmenter=segmenter) == 0
    field = read_run(tmp_path / "odd" / "run").transform()
    if name not in ("four pixels", "slices of zeros"):
        moved = np.linalg.norm((field.u / np.asarray(image.grid.spacing)).reshape(-1, image.grid.ndim), axis=1)
        assert np.median(moved) < 0.2  # voxels


def test_a_stack_of_thick_slices_is_its_own_best_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack = _image(_body(8, 64, 64), (1.0, 1.0, 8.0))
    assert _ends(stack, stack, tmp_path / "odd", capsys, "default") == 0
    moved = np.abs(read_run(tmp_path / "odd" / "run").transform().u / np.asarray(stack.grid.spacing))
    assert moved.max() < 0.02  # voxels


_OTHERS = pytest.mark.parametrize(
    ("fixed", "moving", "status"),
    [
        (_image(_body(64, 64)), _image(_body(1, 1)), 2),
        (_image(np.zeros((32, 32), np.float32)), _image(_body(64, 64)), 2),
        (_image(_body(1, 12, 12)), _image(_body(12, 1, 12)), 0),
        (_image(_body(1, 64, 64)), _image(_body(8, 64, 64)), 0),
        (_image(_body(64, 64), (1e-3, 1e-3)), _image(_body(64, 64)), 0),
        (_image(_body(64, 64)), _image(np.pad(_body(64, 64), ((30, 900), (40, 900)))), 0),
        (_image(_body(64, 64) * 1e-40), _image(_body(64, 64)), 0),
    ],
    ids=["one pixel", "nothing", "planes that cross", "a slice of it", "a thousandth", "huge padding", "tiny values"],
)


@_OTHERS
def test_an_odd_image_and_another(
    fixed: Image, moving: Image, status: int, small_network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ends(fixed, moving, tmp_path / "odd", capsys, segmenter=small_network) == status


@pytest.mark.slow
@_OTHERS
def test_an_odd_image_and_another_by_the_default(
    fixed: Image, moving: Image, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ends(fixed, moving, tmp_path / "odd", capsys) == status


_ANY_SIDES = {2: [1, 2, 3, 7, 20, 64, 150], 3: [1, 2, 3, 9]}  # each slice of a volume takes a second or two
_ANY_SPACING = st.sampled_from([0.001, 0.05, 1.0, 20.0, 1000.0])


_ANY_DIMENSION = st.sampled_from(list(_ANY_SIDES))


@st.composite
def _any_image(draw: st.DrawFn, d: int) -> Image:
    shape = [draw(st.sampled_from(_ANY_SIDES[d])) for _ in range(d)]
    spacing = tuple(draw(_ANY_SPACING) for _ in shape)
    origin = tuple(draw(st.sampled_from([0.0, -300.0, 1e5])) for _ in shape)
    return _image(_body(*shape, seed=draw(st.integers(0, 9))), spacing, origin)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=_ANY_DIMENSION.flatmap(lambda d: st.tuples(_any_image(d), _any_image(d))))
def test_images_of_any_shape(
    pair: tuple[Image, Image], tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of one dimension: a flat image and a volume are refused before anything is done with their shapes.
    _ends(*pair, tmp_path_factory.mktemp("any") / "odd", capsys)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image=_ANY_DIMENSION.flatmap(_any_image))
def test_an_image_of_any_shape_and_itself(
    image: Image, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    _ends(image, image, tmp_path_factory.mktemp("any") / "odd", capsys)
