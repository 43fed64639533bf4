"""From run folders to numbers: statistics over runs and cases, and what speaks against them."""
