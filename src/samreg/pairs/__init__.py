"""Step 3: two sets of regions and the start go in, and one-to-one pairs of regions with a weight each come out."""
