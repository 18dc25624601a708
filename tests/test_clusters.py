"""The Slurm script of docs/clusters.md, as it stands there, where there is a Slurm (Debian: slurm-wlm)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samreg.cli.demo import write_phantom
from samreg.geometry.phantom import phantom
from test_docs import blocks

_PAGE = Path(__file__).parent.parent / "docs" / "clusters.md"


def _slurm_answers() -> bool:
    """Whether Slurm is installed and its controller runs."""
    return (
        shutil.which("sinfo") is not None
        and subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.skipif("not _slurm_answers()", reason="no Slurm answers here")
def test_the_slurm_script_registers_every_pair(tmp_path: Path) -> None:
    write_phantom(phantom(2), tmp_path / "data")
    table = next(block.text for block in blocks(_PAGE) if "cat > pairs.csv" in block.text)
    script = next(block.text for block in blocks(_PAGE) if "sbatch --array" in block.text)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(text: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(table.split("samreg batch")[0])
    job = run(script.replace("-l 100", "-l 1")).split()[-1]
    until = time.monotonic() + 600
    while run(f"squeue --noheader --job {job} 2>/dev/null || true").strip() and time.monotonic() < until:
        time.sleep(1)
    finished = sorted(path.parent.name for path in tmp_path.glob("results/*/runs/*/manifest.json"))
    assert finished == ["one", "two"], [path.read_text("utf-8")[-2000:] for path in tmp_path.glob("slurm-*.out")]
