"""What a file is refused with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samreg.errors import ImageReadError
from samreg.io.images import read_image


def refused(path: Path, read: Callable[..., Any] = read_image, **choice: Any) -> str:
    """The message with which a file or folder is refused: one line that begins with its path."""
    with pytest.raises(ImageReadError) as caught:
        read(path, **choice)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)
