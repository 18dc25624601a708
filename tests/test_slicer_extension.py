"""The extension of 3D Slicer: what does not import Slicer is run as it is, the module itself with stand-ins."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from shifts import write

MODULE = Path(__file__).resolve().parents[1] / "integrations" / "slicer" / "SamReg"
if not MODULE.is_dir():
    pytest.skip("installed without the repository", allow_module_level=True)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(MODULE))
    return importlib.import_module("SamRegLib.job")


class Node:
    """A node of Slicer's scene, of a file."""

    def __init__(self, source: str, parent: Node | None = None) -> None:
        self.source, self.parent, self.name = source, parent, Path(source).name.partition(".")[0]

    def GetName(self) -> str:  # noqa: N802
        return self.name

    def SetName(self, name: str) -> None:  # noqa: N802
        self.name = name

    def GetID(self) -> str:  # noqa: N802
        return self.source

    def GetParentTransformNode(self) -> Node | None:  # noqa: N802
        return self.parent

    def SetAndObserveTransformNodeID(self, identity: str) -> None:  # noqa: N802
        self.parent = Node(identity)


@pytest.fixture
def module(job: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """SamReg.py, with as much of Slicer as its logic asks for."""
    slicer, base = types.ModuleType("slicer"), types.ModuleType("slicer.ScriptedLoadableModule")
    for kind in ("", "Widget", "Logic", "Test"):
        name = f"ScriptedLoadableModule{kind}"
        setattr(base, name, type(name, (), {"__init__": lambda self, *_: None}))
    util = mock.Mock()
    util.tempDirectory = lambda *_: str(tmp_path)
    util.saveNode = lambda node, path: bool(Path(path).write_bytes(Path(node.source).read_bytes()))
    util.loadTransform = util.loadSegmentation = Node
    slicer.util = util  # type: ignore[attr-defined]
    for name, stand_in in (("slicer", slicer), ("slicer.ScriptedLoadableModule", base), ("qt", mock.Mock())):
        monkeypatch.setitem(sys.modules, name, stand_in)
    yield importlib.import_module("SamReg")
    sys.modules.pop("SamReg", None)


def volumes(folder: Path) -> tuple[dict[str, Path], list[Node]]:
    files = write(folder)
    return files, [Node(str(files[side])) for side in ("fixed", "moving")]


def finished(logic: Any) -> list[str]:
    lines: list[str] = []
    while logic.is_running:
        lines += logic.new_lines()
    return lines + logic.new_lines()


class TestJob:
    def test_command(self, job: Any) -> None:
        made = job.Job(Path("a b.nrrd"), Path("m.nrrd"), Path("run"), "fast", "affine", ("--seed", "1"))
        assert made.command("py")[:8] == ["py", "-m", "samreg", "register", "a b.nrrd", "m.nrrd", "--out", "run"]
        assert made.command("py")[8:] == ["--preset", "fast", "--json", "--seed", "1", "--transform", "affine"]
        assert "--transform" not in job.Job(Path("a"), Path("b"), Path("c")).command("py")

    @pytest.mark.parametrize(("preset", "transform"), [("slow", None), ("fast", "spline")])
    def test_what_samreg_does_not_know_is_refused(self, job: Any, preset: str, transform: str | None) -> None:
        with pytest.raises(job.JobError, match="there is no"):
            job.Job(Path("a"), Path("b"), Path("c"), preset, transform).command("py")

    def test_presets_and_transforms_are_those_of_samreg(self, job: Any) -> None:
        from typing import get_args

        from samreg.config import PresetName, preset

        assert get_args(PresetName) == job.PRESETS
        for name in job.TRANSFORMS:
            import dataclasses

            fit = preset("default").fit
            assert dataclasses.replace(fit, transform=name).transform == name

    def test_python(self, job: Any) -> None:
        assert job.python_of(lambda name: f"/slicer/{name}") == "/slicer/PythonSlicer"
        with pytest.raises(job.JobError, match="its own launcher"):
            job.python_of(lambda _: None)
        job.check_python((3, 12))
        with pytest.raises(job.JobError, match=r"has Python 3\.9 and samreg wants 3\.10"):
            job.check_python((3, 9, 10))
        assert job.is_installed()

    def test_options(self, job: Any) -> None:
        assert job.words_of('--fixed-labels "a b.nrrd" --strict') == ("--fixed-labels", "a b.nrrd", "--strict")
        with pytest.raises(job.JobError, match="no partner"):
            job.words_of('"a')

    def test_outcome_is_the_last_line_of_json(self, job: Any) -> None:
        row = '{"exit_status": 3, "verdict": "LOOK", "pairs": 5, "warnings": ["w"], "error": null}'
        found = job.Outcome.of(3, ["{}", row, "bye"])
        assert (found.error, found.verdict, found.pairs, found.warnings) == ("", "LOOK", 5, ("w",))
        assert found.summary == "5 pairs, verdict LOOK\nw"
        assert job.Outcome.of(2, ['{"exit_status": 2, "error": "a.nrrd: is damaged"}']).error == "a.nrrd: is damaged"
        assert "status 1: Killed" in job.Outcome.of(1, ["Killed", ""]).error
        assert "printed nothing" in job.Outcome.of(-9, []).error

    def test_missing_files_are_named(self, job: Any, tmp_path: Path) -> None:
        (tmp_path / "transform.h5").touch()
        with pytest.raises(job.JobError, match=r"holds no fixed_rois\.seg\.nrrd, moving_rois\.seg\.nrrd"):
            job.Files.of(tmp_path)

    def test_lines_come_while_it_runs_and_it_can_be_ended(self, job: Any) -> None:
        code = "import time; print('begun', flush=True); time.sleep(600)"
        process = job.Process.start([sys.executable, "-c", code])
        while not process.new_lines():
            pass
        assert process.is_running
        process.cancel()
        assert process.outcome().status != 0
        assert not process.is_running
        assert process.lines == ["begun"]


class TestModule:
    @pytest.fixture(autouse=True)
    def _python(self, module: Any, job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "python_of", lambda _: sys.executable)
        pipe = job.subprocess.PIPE
        module.slicer.util.launchConsoleProcess = lambda command: job.subprocess.Popen(
            command, stdout=pipe, stderr=job.subprocess.STDOUT, encoding="utf-8"
        )

    def test_a_registration_by_the_real_command_line(self, module: Any, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        files, nodes = volumes(tmp_path / "in")
        for node in nodes:
            node.source = str(to_nrrd(Path(node.source)))
        logic = module.SamRegLogic()
        labels = [f"--{side}-labels={files[f'{side}_labels']}" for side in ("fixed", "moving")]
        logic.start(*nodes, transform="affine", extra=(*labels, "--labels-only"))
        assert finished(logic)
        found = logic.load()
        run = tmp_path / "run"
        assert found.outcome.pairs == 8
        assert found.transform.source == str(run / "transform.h5")
        assert found.transform.name == "moving to fixed"
        # The moving volume and its segmentation lie under the transform, what is fixed does not.
        assert [node.parent and node.parent.source for node in nodes] == [None, str(run / "transform.h5")]
        assert found.moving_segmentation.parent.source == str(run / "transform.h5")
        assert found.fixed_segmentation.parent is None
        assert found.files.report.is_file()

    def test_what_samreg_says_of_a_wrong_input_is_shown(self, module: Any, tmp_path: Path) -> None:
        nodes = [Node(str(tmp_path / name)) for name in ("a.nrrd", "b.nrrd")]
        for node in nodes:
            Path(node.source).write_bytes(b"NRRD0004\nbroken")
        logic = module.SamRegLogic()
        logic.start(*nodes)
        finished(logic)
        with pytest.raises(module.JobError, match=r"fixed\.nrrd"):
            logic.load()

    def test_a_volume_under_a_transform_is_refused(self, module: Any, tmp_path: Path) -> None:
        nodes = [Node("a.nrrd"), Node("b.nrrd", Node("t.h5"))]
        with pytest.raises(module.JobError, match="b is under a transform; harden"):
            module.SamRegLogic().start(*nodes)

    @pytest.mark.parametrize("agrees", [True, False])
    def test_it_installs_with_consent_only(self, module: Any, monkeypatch: pytest.MonkeyPatch, agrees: bool) -> None:
        monkeypatch.setattr(module, "is_installed", lambda: False)
        util = module.slicer.util
        util.tryWithErrorDisplay = mock.MagicMock()
        util.confirmOkCancelDisplay = mock.Mock(return_value=agrees)
        widget = module.SamRegWidget()
        widget.ui, widget.logic, widget.timer = mock.Mock(), mock.Mock(), mock.Mock()
        widget.ui.optionsEdit.text = ""
        widget.ui.transformBox.currentText = "as the preset"
        widget.on_apply()
        assert util.pip_install.call_args_list == ([mock.call("samreg")] if agrees else [])
        assert widget.logic.start.called == agrees
        if agrees:
            assert widget.logic.start.call_args.kwargs["transform"] is None


def to_nrrd(path: Path) -> Path:
    from samreg.io.images import read_image, write_image

    return write_image(read_image(path), path.with_name(path.name.replace(".nii.gz", ".nrrd")))


def test_every_widget_that_the_module_names_is_in_the_ui_file() -> None:
    text = (MODULE / "SamReg.py").read_text("utf-8")
    tree = ElementTree.parse(MODULE / "Resources" / "UI" / "SamReg.ui")  # noqa: S314, it is our own
    names = {element.get("name") for element in tree.iter("widget")}
    used = set(re.findall(r"self\.ui\.(\w+)", text))
    assert used
    assert used <= names
    for element in tree.iter("receiver"):
        assert element.text in names


def test_the_build_files_name_files_that_are_there() -> None:
    text = (MODULE / "CMakeLists.txt").read_text("utf-8").replace("${MODULE_NAME}", "SamReg")
    named = re.findall(r"^  ([\w/]+\.(?:py|png|ui))$", text, re.MULTILINE)
    assert len(named) == 5
    for name in named:
        assert (MODULE / name).is_file()
    icon = (MODULE / "Resources" / "Icons" / "SamReg.png").read_bytes()
    assert icon.startswith(b"\x89PNG")
    test = (MODULE / "Testing" / "Python" / "CMakeLists.txt").read_text("utf-8")
    assert (MODULE / "Testing" / "Python" / re.findall(r"SCRIPT (\w+\.py)", test)[0]).is_file()


@pytest.mark.parametrize("path", sorted(MODULE.rglob("*.py")), ids=lambda path: path.name)
def test_it_is_python_3_9(path: Path) -> None:
    """Slicer's Python may be older than samreg's: the module must say so rather than fail to be read."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    roots = {(n.module or "").partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    roots |= {a.name.partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    if path.name == "job.py":
        assert not roots & {"slicer", "qt", "vtk", "samreg", "numpy"}
