"""Predictions that a clinician can open."""

from medssl.review.maps import MapWriter
from medssl.review.nifti_maps import write_like
from medssl.review.options import PackageOptions
from medssl.review.package import PackageResult, run_package, write_review_package

__all__ = [
    "MapWriter",
    "PackageOptions",
    "PackageResult",
    "run_package",
    "write_like",
    "write_review_package",
]
