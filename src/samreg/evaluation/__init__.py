"""Evaluation: metrics, datasets, methods behind one door, the resumable benchmark, batch work and tables."""
