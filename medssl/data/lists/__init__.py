"""Which case is labelled, unlabelled, validation or test, and where its files lie."""
