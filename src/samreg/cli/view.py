"""`samreg view`."""

from __future__ import annotations

import contextlib
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from samreg.cli.common import show
from samreg.errors import check_number

__all__ = ["View"]


@dataclass(frozen=True)
class View:
    """Look at a finished run in the browser: scroll slices, switch images, find the partner of a region.

    The page is served to this machine only, until Ctrl-C. Without the original images, and for printing or sending,
    open report.html of the run folder instead.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """The folder that samreg register wrote."""
    port: int = 0
    """Port to serve on; 0 takes a free one."""
    browser: bool = True
    """Open the browser; --no-browser prints the address only."""

    def __post_init__(self) -> None:
        check_number(self, "port", 0, 65535, whole=True)

    def run(self) -> None:
        """Serve until interrupted."""
        from samreg.viewer import serve

        server = serve(self.run_folder, self.port)
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        show(f"{self.run_folder} is at {address} until Ctrl-C")
        if self.browser:
            webbrowser.open(address)
        with server, contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
