"""One run that is open in the viewer: what the page asks for and what it changes."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from samreg.errors import InputError, SamregError
from samreg.viewer.masks import unshown_roi
from samreg.viewer.scene import Scene
from samreg.viewer.worker import CancelledError, Worker

__all__ = ["Session"]

_NAME = re.compile(r"^\w[\w .+-]{0,99}$")
_COMPUTED = ("before", "jacobian")
_READ = ("fixed", "moving", "warped")


class Session:
    """A run folder, the processes that compute for it, and a second result that is not saved yet.

    Args:
        folder: the run folder.

    Raises:
        InputError: if it cannot be shown.
    """

    def __init__(self, folder: str | Path) -> None:
        self.scene = Scene.load(folder)
        self.new: Scene | None = None
        self.worker, self.registrar = Worker(), Worker()
        self._private = Path(tempfile.mkdtemp(prefix="samreg-view-"))  # mode 700: no other user can read it
        self._changing = threading.RLock()
        self._volumes: dict[str, threading.Lock] = {}
        self._job: dict[str, Any] = {"state": "idle"}
        self._begun = 0.0
        self._fresh: Path | None = None
        self._serial = 0

    def close(self) -> None:
        """Stop what computes and remove what is not saved; edits are saved already."""
        self.worker.stop()
        self.registrar.stop()
        self._remove_fresh()
        shutil.rmtree(self._private, ignore_errors=True)

    def prepare(self) -> None:
        """Make what the page asks for first, while the browser starts; what fails is told when it is asked for."""
        with contextlib.suppress(SamregError, OSError):
            self.scene.map()
            for name in _READ:
                with contextlib.suppress(InputError):
                    self.volume("run", name)

    def describe(self) -> dict[str, Any]:
        """The scene, how many changes can be undone, and the job."""
        edits = self.scene.edits
        return {
            **self.scene.describe(),
            "serial": self._serial,
            "undo": len(edits.done),
            "redo": len(edits.undone),
            "job": self.job(),
            "suggested": self._suggested(),
        }

    def volume(self, which: str, name: str) -> Path:
        """The file of a volume; it is made when it is first asked for.

        Args:
            which: `run`, or `new` for the result that is not saved yet.
            name: fixed, moving, warped, before or jacobian.
        """
        scene = self._scene(which)
        if name not in (*_READ, *_COMPUTED):
            raise InputError(f"there is no volume {name!r}")
        key = f"{scene.run.folder.name}-{self._serial}-{which}-{name}"
        with self._changing:
            lock = self._volumes.setdefault(key, threading.Lock())
        path = self._private / f"{key}.nii"
        with lock:
            if not path.is_file() and name in _READ:
                scene.write(name, path)
            elif not path.is_file():
                self.worker.call("volume", str(scene.run.folder), name, str(path))
        return path

    def map(self, which: str) -> bytes:
        """float32 of `coarse_map`."""
        return self._scene(which).map()[0].tobytes()

    def pairs(self) -> list[dict[str, Any]]:
        """All pairs with their masks."""
        with self._changing:
            return self.scene.pairs()

    def overlaps(self) -> dict[int, tuple[float, float | None]]:
        """Dice of the structure of each pair, before and after registration."""
        found: dict[int, tuple[float, float | None]] = self.worker.call("overlaps", str(self.scene.run.folder))
        return found

    def edit(self, command: dict[str, Any]) -> dict[str, Any]:
        """Make one change, write it, and say which pairs are different now.

        Args:
            command: `do`, one of reject, restore, keep_only, rename, outline, add, undo and redo, and what it needs.
        """
        with self._changing:
            try:
                changed = self._edit(command)
            except (KeyError, TypeError) as error:
                raise InputError(f"this change lacks something: {error}") from None
            edits = self.scene.edits
            gone = [i for i in changed if i not in edits.rows]
            return {
                "pairs": self.scene.pairs(changed),
                "gone": gone,
                "undo": len(edits.done),
                "redo": len(edits.undone),
            }

    def _edit(self, command: dict[str, Any]) -> list[int]:
        edits, do = self.scene.edits, command["do"]
        if do in ("reject", "restore"):
            return edits.keep(list(command["ids"]), do == "restore")
        if do == "keep_only":
            return edits.keep_only(list(command["ids"]))
        if do == "rename":
            return edits.rename(command["id"], command["name"])
        if do == "outline":
            side = command["side"]
            return edits.outline(command["id"], side, unshown_roi(command["roi"], self._display(side)))
        if do == "add":
            rois = [unshown_roi(command[side], self._display(side)) for side in ("fixed", "moving")]
            numbers = float(command["similarity"]), float(command["confidence"])
            return edits.add(rois[0], rois[1], str(command.get("name", "")), *numbers)
        if do == "undo":
            return edits.undo()
        if do == "redo":
            return edits.redo()
        raise InputError(f"there is no change {do!r}")

    def _display(self, side: str) -> Any:
        if side not in ("fixed", "moving"):
            raise InputError(f"a side is fixed or moving, got {side!r}")
        return self.scene.fixed_display if side == "fixed" else self.scene.moving_display

    def prompt(self, side: str, where: dict[str, Any]) -> dict[str, Any]:
        """The region at a point or box of one image, on one slice; nothing is changed."""
        display = self._display(side)
        wanted = {"point": 3, "box": 6}
        if len(where) != 1 or next(iter(where)) not in wanted:
            raise InputError("give one point or one box")
        ((kind, numbers),) = where.items()
        clipped = _clipped(numbers, wanted[kind], display)
        self._need_images()
        answer: dict[str, Any] = self.worker.call("prompt", str(self.scene.run.folder), side, {kind: clipped})
        return answer

    def ready_prompt(self, fixed: Any, moving: Any) -> None:
        """Load the segmenter and show it the slices of two points (x, y, z), so that a prompt there need not wait."""
        self._need_images()
        points = [_clipped(at, 3, self._display(side)) for side, at in (("fixed", fixed), ("moving", moving))]
        self.worker.call("prompt_ready", str(self.scene.run.folder), *points)

    def prompt_more(self, number: Any) -> dict[str, Any]:
        """Some more of a prompt: its counterpart, then both regions through further slices, until it is complete."""
        if not isinstance(number, int):
            raise InputError(f"a prompt has a whole number, got {number!r}")
        answer: dict[str, Any] = self.worker.call("prompt_more", str(self.scene.run.folder), number)
        return answer

    def stop_prompt(self) -> None:
        """Stop a prompt that takes too long; the next one loads the segmenter again."""
        self.worker.stop()

    def start(self, kind: str) -> dict[str, Any]:
        """Register in the background: `fit` from the pairs as they are, or `register` with regions found anew."""
        if kind not in ("fit", "register"):
            raise InputError(f"a registration is fit or register, got {kind!r}")
        self._need_images()
        with self._changing:
            if self._job["state"] == "running":
                raise InputError("a registration is running; stop it first")
            self.discard()
            folder = self.scene.run.folder
            try:
                self._fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.absolute().parent))
            except OSError as error:
                raise InputError(f"{folder.parent}: cannot be written: {error.strerror}") from None
            self._begun = time.monotonic()
            self._job = {"state": "running", "stage": "starting", "done": 0, "total": 0}
            job = self._job
            threading.Thread(target=self._work, args=(job, kind, folder, self._fresh / "run"), daemon=True).start()
        return self.job()

    def _work(self, job: dict[str, Any], kind: str, folder: Path, out: Path) -> None:
        def progress(stage: str, done: int, total: int) -> None:
            job.update(stage=stage, done=done, total=total)

        try:
            outcome = self.registrar.call(kind, str(folder), str(out), progress=progress)
            new = Scene.load(out)
            with self._changing:
                self._serial += 1
                self.new = new
                job.update(state="done", outcome=outcome, seconds=time.monotonic() - self._begun)
        except CancelledError:
            job.update(state="stopped", seconds=time.monotonic() - self._begun)
        except SamregError as error:
            job.update(state="failed", error=str(error), seconds=time.monotonic() - self._begun)

    def job(self) -> dict[str, Any]:
        """State of the registration: idle, running, done, stopped or failed; stage, steps and seconds."""
        job = dict(self._job)
        if job["state"] == "running":
            job["seconds"] = time.monotonic() - self._begun
        if self.new is not None:
            job["new"] = {"nodes": self.new.map()[1], "jacobian": self.new.run.field is not None}
        return job

    def stop(self) -> dict[str, Any]:
        """Stop the registration; what it wrote is removed."""
        if self._job["state"] == "running":
            self.registrar.stop()
        return self.job()

    def discard(self) -> None:
        """Forget the result that is not saved."""
        with self._changing:
            if self._job["state"] == "running":
                raise InputError("a registration is running; stop it first")
            self.new, self._job = None, {"state": "idle"}
            self._remove_fresh()

    def save(self, name: Any) -> dict[str, Any]:
        """Move the new result beside the run, under a name, and go on with it.

        Raises:
            InputError: if there is none, or the name is no plain name or taken.
        """
        with self._changing:
            if self.new is None:
                raise InputError("there is no new result to save; register again first")
            if not isinstance(name, str) or not _NAME.match(name) or name.endswith((".", " ")):
                raise InputError("a name of a folder has letters, digits, spaces, dots, + and -, and no path")
            target = self.scene.run.folder.absolute().parent / name
            if target.exists():
                raise InputError(f"{name}: is there already; choose another name")
            self.new.run.folder.replace(target)
            self.scene, self.new, self._job = Scene.load(target), None, {"state": "idle"}
            self._serial += 1
            self._remove_fresh()
            return {"folder": str(target)}

    def _suggested(self) -> str:
        folder = self.scene.run.folder.absolute()
        base = re.sub(r"-\d+$", "", folder.name)
        number = 2
        while (folder.parent / f"{base}-{number}").exists():
            number += 1
        return f"{base}-{number}"

    def _scene(self, which: str) -> Scene:
        scene = {"run": self.scene, "new": self.new}.get(which)
        if scene is None:
            raise InputError(f"there is no result {which!r}")
        return scene

    def _need_images(self) -> None:
        if not self.scene.complete:
            raise InputError("this needs both images, and one of them is not where it was when the run was made")

    def _remove_fresh(self) -> None:
        if self._fresh is not None:
            shutil.rmtree(self._fresh, ignore_errors=True)
            self._fresh = None


def _clipped(numbers: Any, n: int, display: Any) -> list[float]:
    """`n` shown indices, (x, y, z) or two such, brought into the image."""
    if not isinstance(numbers, list) or len(numbers) != n:
        raise InputError(f"a {'point' if n == 3 else 'box'} has {n} numbers")
    limits = display.shape[::-1] * 2
    return [min(max(float(v), 0.0), size - 1.0) for v, size in zip(numbers, limits, strict=False)]
