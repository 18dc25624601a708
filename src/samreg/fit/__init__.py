"""Step 4: two images, their pairs and the start go in, and a displacement field comes out."""
