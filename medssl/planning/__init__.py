"""Planning: from what is measured of a data set, and one timed step, to every setting of a training."""

from medssl.planning.decisions import Decision
from medssl.planning.fingerprint import Fingerprint, fingerprint_of
from medssl.planning.measures import CaseMeasures, ClassMeasures, measure_case
from medssl.planning.plan import Plan, Wishes, make_plan
from medssl.planning.plan_file import check_plan, plan_text

__all__ = [
    "CaseMeasures",
    "ClassMeasures",
    "Decision",
    "Fingerprint",
    "Plan",
    "Wishes",
    "check_plan",
    "fingerprint_of",
    "make_plan",
    "measure_case",
    "plan_text",
]
