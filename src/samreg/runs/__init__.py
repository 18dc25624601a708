"""Production: a result or a table of pairs goes in, and run folders and records that are whole or absent come out."""
