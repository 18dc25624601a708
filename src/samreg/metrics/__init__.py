"""How good a registration is: labels, points or a field go in, and numbers with units come out."""
