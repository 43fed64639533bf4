"""Figures of a report: matplotlib, one style, colours that colour-blind eyes tell apart."""
