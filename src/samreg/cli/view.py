"""`samreg view`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from samreg.cli.common import show
from samreg.errors import InputError, check_number

__all__ = ["View"]

_TWO = 2


@dataclass(frozen=True)
class View:
    """Look at a run in the browser, correct its pairs and register again; or start from two images: view FIXED MOVING.

    The page is served to you on this machine only, until Ctrl-C. Every change is written at once into the run folder,
    where samreg fit reads it. For printing or sending, use report.html of the run folder.
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN | FIXED MOVING")]
    """The folder that samreg register wrote, or two images."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="RUN", aliases=("-o",))] = None
    """With two images: the run folder that pairs are kept in; by default view-FIXED-MOVING in the current folder."""
    port: int = 0
    """Port to serve on; 0 takes a free one."""
    browser: bool = True
    """Open the browser; --no-browser prints the address only."""

    def __post_init__(self) -> None:
        check_number(self, "port", 0, 65535, whole=True)

    def run(self) -> None:
        """Serve until interrupted."""
        from samreg.viewer import serve
        from samreg.viewer.start import folder_for

        if not 1 <= len(self.paths) <= _TWO:
            raise InputError("samreg view wants a run folder, or a fixed and a moving image")
        if len(self.paths) == _TWO:
            run = folder_for(self.paths[0], self.paths[1], self.out)
        elif self.out is not None:
            raise InputError("--out goes with two images; a run folder keeps its own changes")
        else:
            run = self.paths[0]
        with serve(run, self.port) as server:
            show(f"{run} is at {server.address} until Ctrl-C")
            if self.browser:
                server.open_browser()
            server.run()
