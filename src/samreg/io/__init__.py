"""Every foreign file format lives here: images, transforms, regions, points and run folders."""
