"""3D Slicer module: register two volumes with samreg, and load the transform and both segmentations."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from SamRegLib.job import (
    PRESETS,
    REQUIREMENT,
    TRANSFORMS,
    Files,
    Job,
    JobError,
    Outcome,
    Process,
    check_python,
    is_installed,
    python_of,
    words_of,
)
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

_POLL_MS = 200
_QUESTION = (
    f"This module needs the Python package {REQUIREMENT}, which brings PyTorch (several GB on computers with an NVIDIA "
    "card). Install it into 3D Slicer's own Python now?"
)


class SamReg(ScriptedLoadableModule):
    """What Slicer shows of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "SamReg"
        parent.categories = ["Registration"]
        parent.dependencies = []
        parent.contributors = ["samreg maintainers"]
        parent.helpText = (
            "Registers the moving volume onto the fixed one by paired regions: both are segmented by a promptable "
            "network, regions are matched, and a transform is fitted. "
            'See <a href="https://github.com/samreg/samreg">samreg</a>. Not a medical device.'
        )
        parent.acknowledgementText = "The method is that of Huang et al., MICCAI 2024."


class SamRegWidget(ScriptedLoadableModuleWidget):
    """The panel: two volumes, a preset, and one button."""

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/SamReg.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.ui.presetBox.addItems(list(PRESETS))
        self.ui.transformBox.addItems(["as the preset", *TRANSFORMS])
        self.ui.applyButton.connect("clicked(bool)", self.on_apply)
        self.ui.cancelButton.connect("clicked(bool)", self.on_cancel)
        for selector in (self.ui.fixedSelector, self.ui.movingSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self.on_select)
        self.logic = SamRegLogic()
        self.timer = qt.QTimer()
        self.timer.setInterval(_POLL_MS)
        self.timer.connect("timeout()", self.on_poll)
        self.on_select()

    def cleanup(self) -> None:
        self.timer.stop()
        self.logic.cancel()

    def on_select(self, *_: Any) -> None:
        fixed, moving = self.ui.fixedSelector.currentNode(), self.ui.movingSelector.currentNode()
        two = fixed is not None and moving is not None and fixed != moving
        self.ui.applyButton.enabled = two and not self.logic.is_running
        self.ui.cancelButton.enabled = self.logic.is_running

    def on_apply(self, *_: Any) -> None:
        with slicer.util.tryWithErrorDisplay("The registration could not be started.", waitCursor=True):
            if not is_installed():
                check_python()
                if not slicer.util.confirmOkCancelDisplay(_QUESTION, windowTitle="SamReg"):
                    return
                slicer.util.pip_install(REQUIREMENT)
            chosen = self.ui.transformBox.currentText
            self.ui.log.clear()
            self.logic.start(
                self.ui.fixedSelector.currentNode(),
                self.ui.movingSelector.currentNode(),
                preset=self.ui.presetBox.currentText,
                transform=chosen if chosen in TRANSFORMS else None,
                extra=words_of(self.ui.optionsEdit.text),
            )
            self.timer.start()
        self.on_select()

    def on_cancel(self, *_: Any) -> None:
        self.logic.cancel()

    def on_poll(self) -> None:
        for line in self.logic.new_lines():
            self.ui.log.appendPlainText(line)
        if self.logic.is_running:
            return
        self.timer.stop()
        self.on_select()
        if self.logic.was_cancelled:
            self.ui.log.appendPlainText("cancelled")
            return
        with slicer.util.tryWithErrorDisplay("The registration did not end well.", waitCursor=True):
            found = self.logic.load()
            self.ui.log.appendPlainText(found.outcome.summary)
            self.ui.log.appendPlainText(f"report: {found.files.report}")


@dataclass
class Loaded:
    """The nodes that a registration added to the scene."""

    transform: Any
    fixed_segmentation: Any
    moving_segmentation: Any
    files: Files
    outcome: Outcome


class SamRegLogic(ScriptedLoadableModuleLogic):
    """Volumes to files, a process, and its files to nodes; can be used from Slicer's Python console.

    >>> logic = SamRegLogic()
    >>> logic.start(fixed_node, moving_node)
    >>> while logic.is_running: slicer.app.processEvents()
    >>> logic.load()
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.process: Process | None = None
        self.was_cancelled = False

    def start(
        self,
        fixed: Any,
        moving: Any,
        run: Path | None = None,
        preset: str = "default",
        transform: str | None = None,
        extra: tuple[str, ...] = (),
    ) -> None:
        """Write both volumes and start `samreg register`.

        Args:
            fixed: scalar volume node.
            moving: scalar volume node.
            run: folder for the result; by default one in Slicer's temporary folder.
            preset: name of a preset.
            transform: kind of transform; None: what the preset says.
            extra: further options of `samreg register`.

        Raises:
            JobError: if a volume is under a transform, or a registration runs already.
        """
        if self.is_running:
            raise JobError("a registration runs already; cancel it first")
        for node in (fixed, moving):
            if node.GetParentTransformNode() is not None:
                raise JobError(f"{node.GetName()} is under a transform; harden the transform first")
        folder = Path(slicer.util.tempDirectory("samreg"))
        files = [folder / "fixed.nrrd", folder / "moving.nrrd"]
        for node, file in zip((fixed, moving), files):
            if not slicer.util.saveNode(node, str(file)):
                raise JobError(f"{node.GetName()} could not be saved to {file}")
        self.job = Job(*files, folder / "run" if run is None else Path(run), preset, transform, extra)
        self.moving, self.was_cancelled = moving, False
        self.process = Process(slicer.util.launchConsoleProcess(self.job.command(python_of(shutil.which))))

    @property
    def is_running(self) -> bool:
        """Whether a registration runs."""
        return self.process is not None and self.process.is_running

    def new_lines(self) -> list[str]:
        """What it printed since the last call."""
        return [] if self.process is None else self.process.new_lines()

    def cancel(self) -> None:
        """End the registration that runs."""
        if self.process is not None and self.process.is_running:
            self.was_cancelled = True
            self.process.cancel()

    def load(self) -> Loaded:
        """Load the transform and both segmentations; moving volume and segmentation are put under the transform.

        Raises:
            JobError: if the registration did not end well.
        """
        if self.process is None:
            raise JobError("nothing was registered yet")
        outcome = self.process.outcome()
        if outcome.error:
            raise JobError(outcome.error)
        files = Files.of(self.job.run)
        transform = slicer.util.loadTransform(str(files.transform))
        transform.SetName(f"{self.moving.GetName()} to fixed")
        fixed = slicer.util.loadSegmentation(str(files.fixed_segmentation))
        moving = slicer.util.loadSegmentation(str(files.moving_segmentation))
        for node in (self.moving, moving):
            node.SetAndObserveTransformNodeID(transform.GetID())
        return Loaded(transform, fixed, moving, files, outcome)


class SamRegTest(ScriptedLoadableModuleTest):
    """What Slicer's "Reload and Test" runs; the registration itself is in Testing/Python."""

    def runTest(self) -> None:  # noqa: N802, Slicer calls it so
        self.setUp()
        logic = SamRegLogic()
        self.assertFalse(logic.is_running)
        self.assertEqual(logic.new_lines(), [])
        self.assertRaises(JobError, logic.load)
