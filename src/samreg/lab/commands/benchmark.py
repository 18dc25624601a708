"""`samreg benchmark`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from samreg.cli.common import show
from samreg.cli.progress import ProgressLines
from samreg.errors import check_number

if TYPE_CHECKING:
    from samreg.lab.tables import Table

__all__ = ["Benchmark"]

_DEFAULT_METHODS = "identity,samreg"


@dataclass(frozen=True)
class Benchmark:
    """Compare methods on datasets: records of every registration, then tables (Markdown, CSV, LaTeX) and figures.

    Stop it at any moment and start it again: what is recorded is not computed twice.
    """

    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET[,DATASET]")]
    """acdc, amos22, msd, nnunet, promise12, learn2reg, folder or pairs; several with commas."""
    root: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder the dataset was unpacked into, or the folder that holds the datasets under their names."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR", aliases=("-o",))]
    """Folder for records, tables and figures, a folder a dataset."""
    methods: Annotated[str, tyro.conf.arg(metavar="A,B,...")] = ""
    """identity, niftyreg, niftyreg-lncc, ants, ants-mi, ants2d, elastix, elastix2d, greedy, convexadam, samreg,
    samreg:PRESET, samreg+match.max_pairs=3, ...; identity,samreg by default."""
    table: Literal["none", "1", "2", "3", "4"] = "none"
    """One of the paper's tables: 1 methods, 2 segmenters, 3 number of pairs K, 4 threshold epsilon."""
    segmenters: Annotated[str, tyro.conf.arg(metavar="A,B,...")] = ""
    """Rows of table 2; litemedsam by default."""
    base: Annotated[str, tyro.conf.arg(metavar="METHOD")] = ""
    """What tables 2 to 4 vary; by default samreg with regions alone driving the field."""
    split: Literal["all", "test"] = "all"
    """All pairs, or those of the stored split that no network was trained on."""
    limit: int = 0
    """Only the first so many pairs of each dataset; 0 is all."""
    jobs: int = 1
    """Worker processes on this machine; 0 computes in this process."""
    dask: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = ""
    """Dask scheduler, for example tcp://10.0.0.1:8786, instead of processes on this machine."""
    threads: int = 2
    """Threads of each registration."""
    retry_failed: bool = False
    """Try the pairs again that failed in an earlier run."""
    reuse: bool = False
    """Let samreg take segmentations from the cache; its seconds then leave them out."""
    panels: int = 0
    """Also draw paired regions, before and after of the first so many pairs, with samreg's default preset."""
    tables_only: bool = False
    """Make tables and figures of earlier records; register nothing."""

    def __post_init__(self) -> None:
        # The other numbers are checked by the options that `run` makes of them, before anything else is done.
        check_number(self, "panels", 0, whole=True)

    def run(self) -> int:
        """Register, record, tabulate. Failures of single pairs are in the records and do not change the status."""
        from samreg.lab.benchmark import BenchmarkOptions, run_benchmark
        from samreg.lab.paper import DEFAULT_BASE, paper_table

        names = _words(self.methods)
        headings: Mapping[str, str] = {}
        pseudo, reuse, stem = "", False, "table"
        if self.table != "none":
            rows = paper_table(
                int(self.table), methods=names, segmenters=_words(self.segmenters), base=self.base or DEFAULT_BASE
            )
            names, headings, reuse, stem = list(rows.methods), rows.headings, rows.reuse, f"table{self.table}"
            pseudo = "litemedsam" if rows.pseudo_rois else ""
        names = names or _words(_DEFAULT_METHODS)
        tables = []
        for dataset in _words(self.dataset):
            out = self.out / dataset
            if not self.tables_only:
                options = BenchmarkOptions(
                    dataset,
                    self.root,
                    out,
                    tuple(names),
                    split=self.split,
                    limit=self.limit,
                    jobs=self.jobs,
                    dask=self.dask,
                    threads=self.threads,
                    retry_failed=self.retry_failed,
                    reuse=reuse or self.reuse,
                    pseudo_rois=pseudo,
                )
                with ProgressLines() as progress:
                    run_benchmark(options, progress=progress, message=progress.message)
            tables.append(_tabulate(dataset, out, names, headings, stem))
            if self.panels:
                _draw_panels(dataset, self.root, out, self.panels)
        if len(tables) > 1:
            from samreg.lab.tables import joined_markdown

            text = joined_markdown(tables)
            (self.out / f"{stem}.md").write_text(text, encoding="utf-8")
            _show_text(text)
        return 0


def _draw_panels(dataset: str, root: Path, out: Path, n: int) -> None:
    from samreg.config import preset
    from samreg.lab.datasets import open_dataset
    from samreg.lab.panels import write_panels

    with ProgressLines() as progress:
        paths = write_panels(open_dataset(dataset, root, n), out / "panels", preset("default"), progress=progress)
    _show_text("written: " + ", ".join(str(path) for path in paths))


def _show_text(line: str) -> None:

    show(line)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _tabulate(dataset: str, out: Path, names: list[str], headings: Mapping[str, str], stem: str) -> Table:

    from samreg.lab.benchmark import RECORDS
    from samreg.lab.figures import write_figures
    from samreg.lab.tables import make_table, to_markdown, write_tables
    from samreg.runs.records import read_records

    records = [r for r in read_records(out / RECORDS) if r["method"] in names]
    table = make_table(records, dataset, names, headings=headings)
    written = write_tables(table, out, stem)
    shown = [{**r, "method": headings.get(r["method"], r["method"])} for r in records]
    written += write_figures(shown, out / f"{stem}-figures", dataset)
    show(to_markdown(table), "written: " + ", ".join(str(path) for path in written))
    return table
