"""Which of several frames is meant: numbers from 1, as people and DICOM count them."""

from __future__ import annotations

from pathlib import Path

from samreg.errors import ImageReadError

__all__ = ["SeveralFramesError", "chosen_frame"]


class SeveralFramesError(ImageReadError):
    """A file of several frames of which none was chosen.

    Args:
        message: for the user.
        count: frames that there are.
    """

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.count)


def chosen_frame(source: Path, frame: int | None, count: int, what: str) -> int:
    """The index of the frame to read.

    Args:
        source: the file or folder, for the message.
        frame: what the user asked for, from 1; None for "there is only one".
        count: frames that there are.
        what: how the message describes an input of several frames, for example `is 4D (64 x 64 x 8 x 30)`.

    Returns:
        The index, from 0.

    Raises:
        ImageReadError: if there are several and none was chosen, or if the chosen one is not there.
    """
    if frame is None:
        if count > 1:
            text = f"{source}: {what}: {count} frames; choose one with --frame, 1 to {count}"
            raise SeveralFramesError(text, count)
        return 0
    if not 1 <= frame <= count:
        there = f"its frames are 1 to {count}" if count > 1 else "it holds one frame only; leave --frame out"
        raise ImageReadError(f"{source}: has no frame {frame}; {there}")
    return frame - 1
