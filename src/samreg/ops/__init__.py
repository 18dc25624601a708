"""Pure functions on tensors: no files, no settings, no state."""
