"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

import typechecks

pytest.register_assert_rewrite("browser_pages", "viewer_pages")  # their checks say what they found

if TYPE_CHECKING:
    from samreg.segmenters import Segmenter

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run side by side, a process each: more threads than one would only wait for each other, and networks
    # would be compiled once more, for each number of threads.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "SAMREG_THREADS"):
        os.environ.setdefault(name, "1")
MOST_WORKERS = 4
"""Each holds networks of its own, up to 2 GB."""

typechecks.install()  # before any test imports samreg


def pytest_xdist_auto_num_workers() -> int:
    """Processes for `-n auto`: the cores that this one may use; 0, so no further process, where that is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS) if cores > 1 else 0


LONGEST = (
    "docs", "training_run", "odd_images", "faults", "devices", "segmenters", "registration", "faults_commands",
    "workers", "training_networks", "exact", "benchmark", "architecture", "plugins", "masks", "prompting",
)  # fmt: skip
"""Files of tests that take longest, which the processes get first: at the end none waits for another's long file. The
first compiles the networks of the default segmenter, which the second does not need.
"""


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """As `--dist loadfile`, the longest files first; then as xdist has it, by the number of tests."""
    from xdist.scheduler import LoadFileScheduling

    class LongestFirst(LoadFileScheduling):
        def _assign_work_unit(self, node: Any) -> None:
            waiting = [scope for name in LONGEST for scope in self.workqueue if scope.endswith(f"test_{name}.py")]
            if waiting:
                self.workqueue.move_to_end(waiting[0], last=False)
            super()._assign_work_unit(node)

    return LongestFirst(config, log) if config.getvalue("dist") == "loadfile" else None


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
    """Tests neither read nor fill the user's cache; those that run side by side share one, as runs of a user do."""
    if "SAMREG_CACHE_DIR" not in os.environ:
        folder = tmp_path_factory.getbasetemp()
        together = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
        os.environ["SAMREG_CACHE_DIR"] = str(together / "samreg-cache")


@pytest.fixture(scope="session")
def litemedsam(_cache_of_its_own: None) -> Segmenter:
    """The default segmenter, compiled by one of the processes that run side by side and read by the others."""
    import numpy as np

    from samreg.segmenters import Prompts, load_segmenter

    folder = Path(os.environ["SAMREG_CACHE_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    segmenter = load_segmenter("litemedsam")
    with FileLock(folder / "compiling.lock"):
        for side in (256, 8):
            encoding, _ = segmenter.encode([np.zeros((side, side), np.float32)] * 2)
            for coarse in (True, False):
                segmenter.prompt(encoding, Prompts(boxes=np.asarray([[1.0, 1.0, 6.0, 6.0]])), coarse=coarse)
    return segmenter


@pytest.fixture(autouse=True)
def _faults_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error inside samreg in the command line fails its test with a traceback, not with a line on stderr."""
    monkeypatch.setenv("SAMREG_TRACEBACK", "1")
