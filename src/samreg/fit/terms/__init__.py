"""Terms of the objective: a displacement goes in, and one differentiable number comes out; a file a term."""
