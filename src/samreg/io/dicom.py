"""A folder of DICOM files as one volume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.errors import ImageReadError
from samreg.io.itk import quiet

if TYPE_CHECKING:
    import SimpleITK

__all__ = ["read_series"]

_GAP_TOLERANCE = 0.1  # of the usual distance; below it, uneven gaps are rounding of the header


def read_series(folder: Path) -> SimpleITK.Image:
    """Read the one DICOM series of a folder, slices sorted by position.

    Raises:
        ImageReadError: if the folder holds no series or several, if slices are missing or unevenly spaced, or if
            the files do not fit together.
    """
    import SimpleITK as sitk

    with quiet():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        if not series:
            raise ImageReadError(
                f"{folder}: is a folder without DICOM files; give an image file or a DICOM series folder"
            )
        if len(series) > 1:
            raise ImageReadError(f"{folder}: holds {len(series)} DICOM series; give a folder with one of them")
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileNames(files)
        reader.MetaDataDictionaryArrayUpdateOn()
        try:
            image = reader.Execute()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1][:120]
            raise ImageReadError(f"{folder}: its DICOM files do not make one volume ({reason})") from None
    if len(files) > 2:
        _check_gaps(reader, image, len(files), folder)
    return image


def _check_gaps(reader: SimpleITK.ImageSeriesReader, image: SimpleITK.Image, count: int, folder: Path) -> None:
    """Refuse a series with a hole: ITK would close it up and bend the anatomy."""
    tag = "0020|0032"
    if not all(reader.HasMetaDataKey(i, tag) for i in range(count)):
        return
    positions = np.asarray([[float(v) for v in reader.GetMetaData(i, tag).split("\\")] for i in range(count)])
    normal = np.asarray(image.GetDirection(), dtype=float).reshape(3, 3)[:, 2]
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    if abs(gaps[worst] - usual) > _GAP_TOLERANCE * abs(usual):
        raise ImageReadError(
            f"{folder}: slices are missing or unevenly spaced: {gaps[worst]:.3g} mm between slices {worst + 1} and "
            f"{worst + 2} where {usual:.3g} mm is usual; complete the series"
        )
