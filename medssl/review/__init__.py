"""Predictions that a clinician can open."""

from medssl.review.case import PackageOptions
from medssl.review.maps import MapWriter, write_like
from medssl.review.package import PackageResult, run_package, write_review_package

__all__ = [
    "MapWriter",
    "PackageOptions",
    "PackageResult",
    "run_package",
    "write_like",
    "write_review_package",
]
