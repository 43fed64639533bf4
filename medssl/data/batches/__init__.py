"""From cases to training batches: sampling, augmentation, views."""
