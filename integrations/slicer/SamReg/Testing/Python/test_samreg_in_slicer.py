"""Runs within 3D Slicer: the phantom of samreg is registered, and what was loaded is where it belongs."""

import unittest
from pathlib import Path

import slicer


class RegisterPhantom(unittest.TestCase):
    """Wants samreg in Slicer's Python; without it the test is skipped."""

    def setUp(self):
        try:
            import samreg
        except ImportError:
            self.skipTest("samreg is not installed in Slicer's Python: slicer.util.pip_install('samreg')")
        del samreg
        slicer.mrmlScene.Clear()

    def test_transform_and_segmentations_are_loaded(self):
        from SamReg import SamRegLogic

        from samreg.geometry.phantom import phantom
        from samreg.io.images import write_image

        folder = Path(slicer.util.tempDirectory())
        pair = phantom(3, n_slices=3)
        nodes = [
            slicer.util.loadVolume(str(write_image(image, folder / name)))
            for image, name in ((pair.fixed, "fixed.nrrd"), (pair.moving, "moving.nrrd"))
        ]
        logic = SamRegLogic()
        logic.start(*nodes, folder / "run", preset="fast", transform="affine")
        while logic.is_running:
            slicer.app.processEvents()
        found = logic.load()
        self.assertEqual(nodes[1].GetParentTransformNode(), found.transform)
        self.assertEqual(found.moving_segmentation.GetParentTransformNode(), found.transform)
        self.assertIsNone(found.fixed_segmentation.GetParentTransformNode())


if __name__ == "__main__":
    unittest.main()
