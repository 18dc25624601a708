"""Names of label values: ITK-SNAP label descriptions and nnU-Net's dataset.json.

| file | a line or entry |
| --- | --- |
| ITK-SNAP (`.label`, `.txt`) | `1  255 0 0  1 1 1  "liver"`: value, colour, opacity, two switches, name |
| nnU-Net (`dataset.json`) | `"labels": {"liver": 1}`, or as in its first version `{"1": "liver"}` |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from samreg.errors import ImageReadError
from samreg.io.point_tables import read_text
from samreg.io.tables import split_image_name

__all__ = ["find_label_names", "read_label_names", "write_label_names"]

_LINE = re.compile(r'^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"(.*)"\s*$')
_BACKGROUND = 0


def read_label_names(path: str | Path) -> dict[int, str]:
    """The name of each label value; the background is left out.

    Args:
        path: an ITK-SNAP label description, or a dataset.json of nnU-Net.

    Raises:
        ImageReadError: if it is neither, or two labels have one name.
    """
    source = Path(path)
    if not source.is_file():
        raise ImageReadError(f"{source}: there is no such file; wanted are label names (ITK-SNAP or dataset.json)")
    names = _of_json(source) if source.suffix.lower() == ".json" else _of_snap(source)
    names = {value: name for value, name in names.items() if value != _BACKGROUND}
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if twice:
        raise ImageReadError(f"{source}: several labels are named {twice[0]!r}; give each a name of its own")
    return names


def find_label_names(labels: str | Path) -> Path | None:
    """The names that lie beside a label map: `NAME.label`, `NAME.txt` (ITK-SNAP), or dataset.json there or above."""
    source = Path(labels)
    stem = split_image_name(source)[0]
    for suffix in (".label", ".txt"):
        path = source.parent / (stem + suffix)
        if path.is_file() and any(_LINE.match(line) for line in read_text(path).splitlines()):
            return path
    for folder in (source.parent, source.parent.parent):
        path = folder / "dataset.json"
        if path.is_file():
            try:
                read_label_names(path)
            except ImageReadError:
                continue
            return path
    return None


def write_label_names(names: Mapping[int, str], path: str | Path, colours: Mapping[int, tuple[int, int, int]]) -> Path:
    """Write an ITK-SNAP label description.

    Args:
        names: label value -> name.
        path: the file.
        colours: label value -> red, green, blue, each 0 to 255.
    """
    rows = ['    0     0    0    0        0  0  0    "Clear Label"']
    for value, name in sorted(names.items()):
        red, green, blue = colours[value]
        clean = name.replace('"', "'")
        rows.append(f'{value:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{clean}"')
    target = Path(path)
    target.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return target


def _of_snap(source: Path) -> dict[int, str]:
    names = {}
    for number, line in enumerate(read_text(source).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.match(line)
        if found is None:
            raise ImageReadError(
                f"{source} line {number}: {line.strip()[:40]!r} is no label of ITK-SNAP: value, red, green, blue, "
                'opacity, visible, mesh, "name"'
            )
        names[int(found[1])] = found[8]
    if not names:
        raise ImageReadError(f"{source}: names no label; wanted is a label description of ITK-SNAP")
    return names


def _of_json(source: Path) -> dict[int, str]:
    try:
        entries = json.loads(read_text(source))["labels"]
        rows = [(key, value) for key, value in entries.items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ImageReadError(f'{source}: has no "labels", as the dataset.json of nnU-Net has') from None
    names: dict[int, str] = {}
    for key, value in rows:
        if isinstance(value, str) and key.isdigit():
            names[int(key)] = value
        elif isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
            names[int(value)] = str(key)
        # Regions, which are lists of labels, are no label of a map.
    if not names:
        raise ImageReadError(f"{source}: its labels are no values with names, as those of nnU-Net")
    return names
