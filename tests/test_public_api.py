"""What `import samreg` promises: a fixed list of names, and no weight."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import samreg

NAMES = [
    "DisplacementField",
    "FeatureVolume",
    "Grid",
    "Image",
    "InputError",
    "PairedRois",
    "PromptAnswer",
    "Regions",
    "RegisterConfig",
    "RegistrationResult",
    "Roi",
    "RoiSet",
    "SamregError",
    "__version__",
    "fit_run",
    "load_segmenter",
    "preset",
    "prompt_pair",
    "read_image",
    "read_run",
    "register",
    "register_regions",
    "segment",
    "write_image",
    "write_run",
]
HEAVY = ("torch", "SimpleITK", "scipy", "matplotlib", "rich", "tyro", "transformers", "openvino", "h5py", "monai")


def test_the_inventory_is_locked_and_sorted() -> None:
    assert samreg.__all__ == NAMES
    assert sorted(samreg.__all__) == samreg.__all__
    assert dir(samreg) == NAMES


def test_every_name_is_there_and_documented() -> None:
    for name in NAMES:
        value = getattr(samreg, name)
        assert name == "__version__" or (value.__doc__ or "").strip(), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="registre"):
        getattr(samreg, "registre")  # noqa: B009


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running some code."""
    code += "\nimport sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8")
    return set(done.stdout.splitlines()[-1].split())


def test_importing_loads_nothing_heavy() -> None:
    assert not loaded_after("import samreg; samreg.__all__; dir(samreg)") & {*HEAVY, "numpy"}


def test_the_nouns_need_no_torch() -> None:
    assert not loaded_after("import samreg; samreg.Grid, samreg.Image, samreg.RoiSet, samreg.preset") & set(HEAVY)


def test_reading_an_image_needs_no_torch() -> None:
    assert not loaded_after("from samreg.io.images import read_image") & set(HEAVY)


def test_help_needs_neither_numpy_nor_tyro() -> None:
    code = "from samreg.cli import main; assert main(['--help']) == 0"
    assert not loaded_after(code) & {*HEAVY, "numpy"}


def test_help_of_a_command_needs_no_torch() -> None:
    code = "from samreg.cli import main\nmain(['register', '--help'])"
    assert not loaded_after(code) & {"torch", "SimpleITK", "matplotlib", "openvino", "transformers", "monai"}


def test_importing_has_no_side_effects(tmp_path: Path) -> None:
    code = "import samreg, os; print(os.listdir('.'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
