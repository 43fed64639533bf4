"""Predictions that a clinician can open."""

from medssl.review.maps import MapWriter, write_like

__all__ = ["MapWriter", "write_like"]
