"""Made-up measures of cases, and data sets of them."""

import numpy as np

from medssl.planning import CaseMeasures, ClassMeasures, Fingerprint


def case(
    *,
    size=(64, 64, 64),
    spacing=(1.0, 1.0, 1.0),
    oriented=True,
    channels=1,
    minimum=0.0,
    zero_share=0.0,
    box=None,
    boxes=None,
    intensities=(100.0,),
):
    """A case with a cuboid of each class: ``boxes`` gives its bounds along each axis by class id."""
    classes, cells = {}, None
    if boxes is not None:
        cells = np.zeros((len(boxes), *size), bool)
        for row, (number, bounds) in enumerate(sorted(boxes.items())):
            cells[row][tuple(slice(*bound) for bound in bounds)] = True
            classes[number] = ClassMeasures(
                share=float(cells[row].mean()),
                centroid=tuple((a + b - 1) / 2 * mm for (a, b), mm in zip(bounds, spacing, strict=True)),
                extent=tuple((b - a) * mm for (a, b), mm in zip(bounds, spacing, strict=True)),
            )
    return CaseMeasures(
        size=size,
        spacing=spacing,
        oriented=oriented,
        channels=channels,
        minimum=minimum,
        zero_share=zero_share,
        box=box or tuple((0, n) for n in size),
        classes=classes,
        foreground=np.tile(np.asarray(intensities, np.float32), (channels, 1)) if boxes else None,
        cells=cells,
    )


CENTRE = {1: ((20, 44), (20, 44), (20, 44))}


def data_set(*labeled, unlabeled=8, names=("background", "organ"), **settings):
    """A data set of these labelled cases, and of unlabelled ones like the first."""
    first = labeled[0]
    bare = case(
        size=first.size, spacing=first.spacing, minimum=first.minimum, channels=first.channels, box=first.box
    )
    settings = {"validation": 4, "test": 8, **settings}
    return Fingerprint(labeled, (bare,) * unlabeled, class_names=names, **settings)
