"""Tables and figures from records: they only read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from samreg.errors import ConfigError, InputError
from samreg.lab import tables
from samreg.lab.figures import draw_regularity, write_figures


def fake_records(n: int = 12) -> list[dict]:
    rng = np.random.default_rng(0)
    records = []
    for method, level in (("identity", 0.4), ("greedy", 0.7), ("ants", 0.6), ("samreg", 0.8)):
        for i in range(n):
            dice = float(np.clip(level + 0.03 * rng.standard_normal(), 0, 1))
            records.append(
                {
                    "key": f"d/{i}/{method}",
                    "dataset": "d",
                    "pair": str(i),
                    "method": method,
                    "status": "done",
                    "seconds": 10 * level,
                    "unit": "mm",
                    "label_names": {"1": "RV"},
                    "metrics": {
                        "dice": {"1": dice, "2": dice / 2 if i else None},
                        "hd95": {"1": 10 * (1 - dice), "2": None},
                        "folding_fraction": 0.0,
                        "lost_labels": [],
                    },
                }
            )
    return records


def test_the_numbers_of_a_table() -> None:
    from scipy import stats

    records = fake_records()
    table = tables.make_table(records, "D")
    assert table.methods == ("identity", "greedy", "ants", "samreg")
    assert [c.key for c in table.columns] == ["dice", "hd95", "folding_fraction", "seconds"]
    dice = {
        m: np.asarray(
            [
                np.nanmean([np.nan if v is None else v for v in r["metrics"]["dice"].values()])
                for r in records
                if r["method"] == m
            ]
        )
        for m in table.methods
    }
    for i, name in enumerate(table.methods):
        cell = table.cells[i][0]
        assert cell.mean == pytest.approx(dice[name].mean())
        assert cell.std == pytest.approx(dice[name].std(ddof=1))
        assert cell.n == 12
    # Ours against the best peer, which is greedy; peers are not tested.
    assert table.cells[3][0].p == pytest.approx(stats.wilcoxon(dice["samreg"], dice["greedy"]).pvalue)
    assert np.isnan(table.cells[1][0].p)
    assert table.best(0) == {3}
    assert table.best(2) == set()  # nobody folds: nobody is best at it


def test_only_pairs_that_every_method_has_are_counted() -> None:
    records = fake_records()
    records[13] |= {"status": "failed", "error": "no"}
    del records[-1]
    table = tables.make_table(records)
    assert {row[0].n for row in table.cells} == {10}
    notes = " ".join(table.notes)
    assert "10 of 12 pairs" in notes
    assert "greedy failed on 1 pairs." in notes
    assert "samreg has no record of 1 pairs." in notes


def test_tables_in_three_formats(tmp_path: Path) -> None:
    table = tables.make_table(fake_records(), "50 % of D & more")
    paths = tables.write_tables(table, tmp_path)
    assert [p.suffix for p in paths] == [".md", ".csv", ".tex"]
    markdown, text, latex = (p.read_text(encoding="utf-8") for p in paths)
    assert "| samreg | **" in markdown
    assert "(p < 0.001)" in markdown
    rows = list(csv.DictReader(text.splitlines()))
    assert float(rows[3]["dice_mean"]) == pytest.approx(table.cells[3][0].mean)
    assert r"50 \% of D \& more" in latex
    assert latex.count(r"\textbf") == 2
    with pytest.raises(InputError, match="no finished records"):
        tables.make_table([])
    with pytest.raises(InputError, match="of one dataset"):
        tables.make_table([*fake_records(), {**fake_records()[0], "dataset": "other"}])


def test_a_confidence_is_held_against_the_dice() -> None:
    records = fake_records()
    for r in records[-12:]:
        r["extra"] = {"confidence": r["metrics"]["dice"]["1"]}  # the first pair has one label, the others two
    notes = " ".join(tables.make_table(records).notes)
    assert "samreg: its confidence ranks the Dice of 12 pairs with Spearman rho = " in notes
    assert "greedy: its confidence" not in notes


def test_the_confidence_over_all_datasets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import confidence

    paths = []
    for number, name in enumerate(("near", "far")):
        records = [r for r in fake_records(4) if r["method"] == "samreg"]
        for i, r in enumerate(records):
            # In each dataset the least confident is the best; the datasets themselves are in order.
            r["metrics"]["dice"] = {"1": 0.9 - 0.5 * number - 0.01 * i}
            r["extra"] = {"confidence": 0.8 - 0.5 * number + 0.01 * i}
        paths.append(tmp_path / name / "records.jsonl")
        paths[-1].parent.mkdir()
        paths[-1].write_text("".join(json.dumps(r) + "\n" for r in records))
    monkeypatch.setattr("sys.argv", ["confidence", *map(str, paths)])
    confidence.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| near | 4 | 0.80 to 0.83 | 0.885 | -1.00")
    assert lines[3].startswith("| far | 4 | 0.30 to 0.33 | 0.385 | -1.00")
    assert lines[4].startswith("| all | 8 | 0.30 to 0.83 | 0.635 | 0.5")
    assert lines[5:] == ["below 0.4: 4 pairs, Dice 0.385, lowest 0.370", "from 0.4: 4 pairs, Dice 0.885, lowest 0.870"]
    monkeypatch.setattr("sys.argv", ["confidence", "--method", "other", *map(str, paths)])
    with pytest.raises(SystemExit, match="2"):
        confidence.main()


def test_several_datasets_side_by_side() -> None:
    records = fake_records()
    for record in records:
        record["metrics"]["centroid_tre"] = record["metrics"]["hd95"]
    one = tables.make_table(records, "A")
    two = tables.make_table([r for r in records if r["method"] != "ants"], "B")
    lines = tables.joined_markdown([one, two]).splitlines()
    assert lines[0] == "| method | A: Dice | A: centroid TRE [mm] | B: Dice | B: centroid TRE [mm] |"
    assert lines[4].startswith("| ants | 0.")
    assert lines[4].endswith("| – | – |")
    assert lines[5].count("**") == 8


def test_the_papers_tables() -> None:
    from samreg.lab.paper import paper_table
    from samreg.lab.peers import load_method

    for number, n_rows in ((1, 7), (2, 1), (3, 5), (4, 7)):
        rows = paper_table(number)
        assert len(rows.methods) == n_rows
        assert all(load_method(name).name == name for name in rows.methods)  # every setting exists
    assert list(paper_table(3).headings.values()) == ["K = 1", "K = 2", "K = 3", "K = 4", "K = all"]
    assert paper_table(2).pseudo_rois
    assert paper_table(4, base="samreg:fast").methods[0] == "samreg:fast+match.epsilon=0.2"
    with pytest.raises(ConfigError, match="tables 1 to 4, got 5"):
        paper_table(5)


def test_figures_are_drawn_from_records_alone(tmp_path: Path) -> None:
    records = fake_records()
    for row in records:
        row["metrics"]["sdlogj"] = row["seconds"] / 20
    paths = write_figures(records, tmp_path, "D")
    assert sorted(p.name for p in paths) == ["cases.png", "labels.png", "regularity.png", "speed.png"]
    assert all(p.stat().st_size > 5000 for p in paths)
    assert not list(tmp_path.glob(".*"))


def test_the_front_joins_the_methods_that_none_beats_in_dice_and_regularity() -> None:
    measured = {"rough": (0.8, 0.9), "best": (0.9, 0.5), "worse": (0.6, 0.4), "calm": (0.7, 0.1)}
    rows = [
        {"pair": "p", "method": name, "status": "done", "metrics": {"dice": {"1": dice}, "sdlogj": uneven}}
        for name, (dice, uneven) in measured.items()
    ]
    second = [{**row, "pair": "q"} for row in rows]
    easy = {"pair": "p", "method": "unfinished", "status": "done", "metrics": {"dice": {"1": 1.0}, "sdlogj": 0.0}}
    figure = draw_regularity({"D": [*rows, *second, easy], "without labels": []})
    assert figure is not None
    assert len(figure.axes) == 1
    front = figure.axes[0].lines[0].get_xydata()
    assert front is not None
    assert [tuple(at) for at in front] == [(0.1, 0.7), (0.5, 0.9)]
    assert draw_regularity({"D": [{"pair": "p", "method": "m", "status": "done", "metrics": {}}]}) is None
