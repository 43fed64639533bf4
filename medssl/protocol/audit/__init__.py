"""Whether printed statistics can belong together."""
