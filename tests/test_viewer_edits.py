"""What is changed in the viewer: written at once, undone, and repeated by the command line to the same field."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samreg.cli import main
from samreg.cli.demo import write_phantom
from samreg.errors import InputError, RegistrationError
from samreg.geometry.phantom import phantom
from samreg.geometry.rois import Roi
from samreg.io.segments import segment_entries
from samreg.notes import collected, unsaid
from samreg.report.structures import structures_of
from samreg.runs.run_folder import read_run
from samreg.viewer.edits import Edits
from samreg.viewer.masks import pack, pack_roi, unpack_roi
from samreg.viewer.scene import Scene
from samreg.viewer.session import Session
from samreg.viewer.worker import CancelledError, Worker
from test_refit import add

SIDES = ("fixed", "moving")
FILES = ("pairs.json", "fixed_rois.seg.nrrd", "moving_rois.seg.nrrd")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An affine run of the phantom: all of it follows from the centroids of the pairs."""
    folder = tmp_path_factory.mktemp("edits")
    write_phantom(phantom(2), folder / "images")
    labels = [f"--{side}-labels={folder / 'images' / f'{side}_labels.nii.gz'}" for side in SIDES]
    images = [str(folder / "images" / f"{side}.nii.gz") for side in SIDES]
    options = ["--labels-only", "--transform", "affine", "--work-size", "64", "--no-inverse"]
    assert main(["register", *images, *labels, *options, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(first: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first, tmp_path / "run")


def edits_of(run: Path) -> Edits:
    with collected(unsaid):
        found = read_run(run)
    return Edits(found)


def test_the_page_names_a_pair_as_the_report_does(run: Path) -> None:
    """Labels are named by their values."""
    scene = Scene.load(run)
    shown = {row["id"]: row["title"] for row in scene.pairs()}
    assert shown == {s.number: s.title for s in structures_of(read_run(run).pairs)}
    assert shown[1] == "1 label 1"
    assert scene.edits.rename(1, "liver") == [1]
    assert scene.pairs([1])[0]["title"] == "1 liver"


def square(start: int = 20, size: int = 12) -> Roi:
    return Roi(np.ones((size, size), bool), (start, start + 3))


def state(run: Path) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """What a registration from these files would use."""
    found = read_run(run)
    return found.rows, [found.pairs.fixed.masks(), found.pairs.moving.masks()]


def assert_same(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    assert one[0] == other[0]
    for a, b in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(a, b)


class TestEdits:
    def test_each_change_is_in_the_files_at_once(self, run: Path) -> None:
        edits = edits_of(run)
        edits.keep([3], False)
        edits.rename(2, "left  lung")
        edits.outline(4, "moving", square())
        assert edits.add(square(30), square(34), "", 0.91, 0.8) == [9]
        found = read_run(run)
        assert [row["id"] for row in found.rows] == [1, 2, 4, 5, 6, 7, 8, 9]
        assert found.rows[1]["name"] == "left lung"
        assert found.pairs.moving[2].n_voxels == 144
        assert found.rows[2]["moving"]["n_voxels"] == 144
        assert found.pairs.fixed[-1].start == (30, 33)
        assert found.pairs.moving[-1].start == (34, 37)
        np.testing.assert_allclose([found.rows[-1]["similarity"], found.pairs.weights[-1]], [0.91, 0.8], atol=1e-6)
        names = {e["ID"]: e["Name"] for e in segment_entries(run / "fixed_rois.seg.nrrd")}
        assert names["pair_2"] == "pair 2: left lung"
        assert names["pair_9"] == "pair 9"

    def test_everything_is_undone_and_done_again(self, run: Path) -> None:
        edits, states = edits_of(run), [state(run)]
        changes = [
            lambda: edits.keep([1, 2], False),
            lambda: edits.rename(5, "cyst"),
            lambda: edits.outline(5, "fixed", square()),
            lambda: edits.add(square(30), square(34), "new", 0.9, 0.8),
            lambda: edits.keep_only([4, 9]),
            lambda: edits.outline(9, "moving", square(40, 5)),
        ]
        for change in changes:
            change()
            states.append(state(run))
        for before in states[-2::-1]:
            edits.undo()
            assert_same(state(run), before)
        with pytest.raises(InputError, match="nothing to undo"):
            edits.undo()
        for after in states[1:]:
            edits.redo()
            assert_same(state(run), after)
        with pytest.raises(InputError, match="nothing to do again"):
            edits.redo()

    def test_another_server_goes_on_where_this_one_was_killed(self, run: Path) -> None:
        before = state(run)
        edits_of(run).keep([1], False)
        edits_of(run).rename(2, "x")
        again = edits_of(run)
        assert [edit["do"] for edit in again.done] == ["reject", "rename"]
        again.undo()
        again.undo()
        assert_same(state(run), before)

    @pytest.mark.parametrize("lost", [FILES, FILES[:1], FILES[1:2], FILES[2:]])
    def test_a_change_that_was_cut_off_is_finished(
        self, run: Path, lost: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server dies after it wrote the change down, before or amid the files."""
        old = {name: (run / name).read_bytes() for name in FILES}
        edits = edits_of(run)
        save = Edits._save
        monkeypatch.setattr(Edits, "_save", lambda self, pending: save(self, pending) if pending else None)
        edits.add(square(30), square(34), "new", 0.9, 0.8)
        monkeypatch.undo()
        whole = state(run)
        for name in lost:
            (run / name).write_bytes(old[name])
        assert json.loads((run / "edits.json").read_text("utf-8"))["pending"]
        edits_of(run)
        assert_same(state(run), whole)
        assert json.loads((run / "edits.json").read_text("utf-8"))["pending"] is None

    def test_what_slicer_added_is_kept(self, run: Path) -> None:
        add(run, "fixed", "alone", "Segment_1")
        edits = edits_of(run)
        edits.outline(4, "fixed", square())
        entries = {entry["ID"]: entry for entry in segment_entries(run / "fixed_rois.seg.nrrd")}
        assert entries["Segment_1"]["Name"] == "alone"
        assert len(entries) == 9

    def test_a_mended_outline_may_overlap_its_neighbours(self, run: Path) -> None:
        edits, before = edits_of(run), read_run(run).pairs.fixed.masks()
        edits.outline(1, "fixed", Roi(np.ones(before[0].shape, bool), (0, 0)))
        after = read_run(run).pairs.fixed.masks()
        assert after[0].all()
        np.testing.assert_array_equal(after[1:], before[1:])

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            (lambda e: e.keep([9], False), "no pair 9"),
            (lambda e: e.keep([True], False), "no pair True"),
            (lambda e: e.rename(1, "  "), "1 to 80 letters"),
            (lambda e: e.rename(1, "x" * 81), "1 to 80 letters"),
            (lambda e: e.outline(1, "left", square()), "fixed or moving"),
        ],
    )
    def test_refused(self, run: Path, change: Any, word: str) -> None:
        before = {name: (run / name).read_bytes() for name in FILES}
        with pytest.raises(InputError, match=word):
            change(edits_of(run))
        assert {name: (run / name).read_bytes() for name in FILES} == before

    @pytest.mark.parametrize("text", ["{", "[]", '{"format": "samreg edits 9", "done": [], "undone": []}'])
    def test_a_damaged_file_is_said(self, run: Path, text: str) -> None:
        (run / "edits.json").write_text(text)
        with pytest.raises(InputError, match=r"edits\.json"):
            edits_of(run)

    def test_a_region_as_text(self) -> None:
        roi = Roi(np.random.default_rng(0).random((3, 4, 5)) > 0.5, (1, 2, 3), 0.7, "x")
        back = unpack_roi(json.loads(json.dumps(pack_roi(roi))), (9, 9, 9))
        np.testing.assert_array_equal(back.mask, roi.mask)
        assert (back.start, back.quality, back.name) == (roi.start, roi.quality, roi.name)


def wait_for(session: Session, *states: str) -> dict[str, Any]:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        job = session.job()
        if job["state"] in states:
            return job
        time.sleep(0.05)
    raise AssertionError(f"still {session.job()}")


class TestSession:
    @pytest.fixture
    def session(self, run: Path) -> Any:
        session = Session(run)
        yield session
        session.close()

    def test_the_command_line_repeats_the_edits_to_the_same_field(self, run: Path, session: Session) -> None:
        box = {"start": [0, 30, 30], "shape": [1, 12, 12], "bits": pack(np.ones((1, 12, 12), bool))}
        for command in (
            {"do": "reject", "ids": [3]},
            {"do": "rename", "id": 2, "name": "left lung"},
            {"do": "outline", "id": 4, "side": "moving", "roi": {**box, "start": [0, 40, 40]}},
            {"do": "add", "fixed": box, "moving": box, "similarity": 0.9, "confidence": 0.7},
            {"do": "reject", "ids": [5]},
            {"do": "undo"},
        ):
            session.edit(command)
        session.start("fit")
        with pytest.raises(InputError, match="is running"):
            session.start("fit")
        job = wait_for(session, "done", "failed")
        assert job["state"] == "done", job
        assert job["outcome"]["pairs"] == 8
        assert session.volume("new", "warped").is_file()
        for name in ("../out", "a/b", "", ".hidden", "run", "a\\b", 3, "x."):
            with pytest.raises(InputError, match=r"name|there already"):
                session.save(name)
        saved = Path(session.save("run-2")["folder"])
        assert saved == run.absolute().parent / "run-2"
        assert main(["fit", str(run), "--out", str(run.parent / "by-hand"), "--no-inverse"]) == 0
        ours, theirs = read_run(saved), read_run(run.parent / "by-hand")
        np.testing.assert_array_equal(ours.transform().u, theirs.transform().u)
        assert np.abs(ours.transform().u - read_run(run).transform().u).max() > 0.1
        assert ours.rows == theirs.rows
        assert [row["id"] for row in ours.rows] == [1, 2, 4, 5, 6, 7, 8, 9]
        assert sorted(p.name for p in run.parent.iterdir()) == ["by-hand", "run", "run-2"]

    def test_a_registration_is_stopped(self, run: Path, session: Session) -> None:
        session.start("fit")
        end = time.monotonic() + 60
        while session.registrar.pid is None and time.monotonic() < end:
            time.sleep(0.01)
        session.stop()
        assert wait_for(session, "stopped", "done", "failed")["state"] == "stopped"
        session.discard()
        assert session.job() == {"state": "idle"}
        assert [p.name for p in run.parent.iterdir()] == ["run"]
        assert len(read_run(run).pairs) == 8

    @pytest.mark.parametrize(
        "command",
        [
            {"do": "x"},
            {"do": "reject"},
            {"do": "reject", "ids": 3},
            {"do": "add"},
            {"do": "outline", "id": 1, "side": "x"},
        ],
    )
    def test_a_change_that_makes_no_sense(self, session: Session, command: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            session.edit(command)

    @pytest.mark.parametrize("where", [{}, {"point": [1, 2]}, {"line": [1, 2, 3]}, {"point": 3}])
    def test_a_prompt_that_makes_no_sense(self, session: Session, where: Any) -> None:
        with pytest.raises(InputError):
            session.prompt("fixed", where)

    @pytest.mark.parametrize("points", [(None, [1, 2, 3]), ([1, 2], [1, 2, 3]), ([1, 2, 3], "123")])
    def test_places_that_make_no_sense(self, session: Session, points: Any) -> None:
        with pytest.raises(InputError, match="3 numbers"):
            session.ready_prompt(*points)

    @pytest.mark.parametrize("number", [None, "1", 1.5])
    def test_more_of_a_prompt_without_its_number(self, session: Session, number: Any) -> None:
        with pytest.raises(InputError, match="whole number"):
            session.prompt_more(number)


class TestWorker:
    def test_errors_come_back_as_they_were(self, tmp_path: Path) -> None:
        worker = Worker()
        try:
            with pytest.raises(InputError, match="not a run folder"):
                worker.call("fit", str(tmp_path), str(tmp_path / "out"))
            pid = worker.pid
            assert pid is not None
            with pytest.raises(RegistrationError, match="TypeError"):
                worker.call("fit")
            assert worker.pid == pid
            errors: list[Exception] = []

            def wait() -> None:
                try:
                    worker.call("sleep")
                except RegistrationError as error:
                    errors.append(error)

            thread = threading.Thread(target=wait)
            worker.stop()
            thread.start()
            thread.join()
            assert not isinstance(errors[0], CancelledError)  # stopped before: the next call starts afresh
        finally:
            worker.stop()
