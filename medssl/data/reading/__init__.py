"""From files to volumes in one orientation, every fault said in one line."""
