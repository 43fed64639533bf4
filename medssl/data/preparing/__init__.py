"""Making data sets: from published forms, and phantoms."""
