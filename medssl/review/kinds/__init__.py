"""What differs between a review of scans and one of images: one class each, and nowhere else."""

from medssl.review.kinds.base import PageWords, ReviewedCase, ReviewKind
from medssl.review.kinds.images import Images
from medssl.review.kinds.scans import Scans

KINDS: dict[int, ReviewKind] = {3: Scans(), 2: Images()}
"""By the axes of what is predicted."""

__all__ = ["KINDS", "Images", "PageWords", "ReviewKind", "ReviewedCase", "Scans"]
