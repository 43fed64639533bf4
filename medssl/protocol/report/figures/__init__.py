"""The figures of a report, a file each; the page shows those that have something to show, in this order."""

from medssl.protocol.report.figures.paired_cases import PAIRED_CASES
from medssl.protocol.report.figures.reliability_diagram import RELIABILITY_DIAGRAM
from medssl.protocol.report.figures.run_to_run import RUN_TO_RUN
from medssl.protocol.report.figures.selection_arrows import SELECTION_ARROWS
from medssl.protocol.report.figures.selection_curves import SELECTION_CURVES
from medssl.protocol.report.figures.sensitivity import SENSITIVITY
from medssl.protocol.report.figures.training_curves import TRAINING_CURVES

FIGURES = (
    RUN_TO_RUN,
    PAIRED_CASES,
    RELIABILITY_DIAGRAM,
    TRAINING_CURVES,
    SELECTION_CURVES,
    SELECTION_ARROWS,
    SENSITIVITY,
)
