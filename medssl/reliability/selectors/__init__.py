"""Which pseudo-labels may be believed: one policy a file."""
