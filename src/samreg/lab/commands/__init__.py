"""Commands of the laboratory; the command line finds them through entry points."""
