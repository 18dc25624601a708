"""Foreign file formats: files go in and images, regions, points, transforms and tables come out, and the reverse."""
