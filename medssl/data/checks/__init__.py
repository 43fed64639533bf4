"""What can be wrong with a data set: one set of findings for ``medssl check``, training and prediction."""
