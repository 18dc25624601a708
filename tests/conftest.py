"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import typechecks

typechecks.install()  # before any test imports samreg


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of real images: SAMREG_TEST_DATA, else ../shared/data beside the repository; skips where absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("SAMREG_TEST_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no real images at {root}; set SAMREG_TEST_DATA")
    return root


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither read nor fill the user's cache."""
    if "SAMREG_CACHE_DIR" not in os.environ:
        os.environ["SAMREG_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _faults_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error inside samreg in the command line fails its test with a traceback, not with a line on stderr."""
    monkeypatch.setenv("SAMREG_TRACEBACK", "1")
