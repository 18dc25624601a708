"""Pure functions of tensors: arrays and index positions go in, sampled or smoothed arrays and derivatives come out."""
