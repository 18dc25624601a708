"""What the module needs that does not import 3D Slicer, and so is tested without it."""
