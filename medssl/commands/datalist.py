"""``medssl datalist``: which case is labelled, unlabelled, validation or test."""

import argparse
import json
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError

PUBLISHED = (
    *("la", "pancreas_ct", "brats2019"),
    *("voc", "cityscapes", "coco", "ade20k", "camvid"),
)
"""The published splits; their module would import torch for a --help."""

EXAMPLES = """\
a published split:  medssl datalist --dataset la --data DIR --labeled 8 --validation 8 --out d.json
                    medssl datalist --dataset camvid --data DIR --labeled 1/16 --out d.json
your own data:      medssl datalist --images DIR --labels DIR --labeled 0.1 --validation 0.1 --test 0.2 \\
                                    --seed 1 --out d.json

A number with a point is a fraction (0.1), another one counts cases. Fractions of --test are of all cases, of
--labeled and --validation of those that are not test cases, rounded to the nearest number and at least one.
"""


def add_datalist(commands: Any) -> None:
    """``medssl datalist``: write a MONAI datalist."""
    parser = commands.add_parser(
        "datalist",
        help="write the datalist of a published split or of your own data",
        description="Write a MONAI datalist: training (labelled), unlabeled, validation and test cases.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the datalist (JSON)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    parser.add_argument(
        "--labeled",
        type=_share_or_name,
        metavar="N",
        help="labelled cases (default: all with a label); of published images also a subset such as 1/16",
    )
    parser.add_argument(
        "--validation", type=_share, default=0, metavar="N", help="validation cases (default 0)"
    )
    parser.add_argument("--test", type=_share, default=0, metavar="N", help="test cases (default 0)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default 0)")
    published = parser.add_argument_group("a published split")
    published.add_argument("--dataset", metavar="NAME", help=f"{', '.join(PUBLISHED)} or phantom")
    published.add_argument("--data", metavar="DIR", help="folder of the data set")
    published.add_argument("--allow-missing", action="store_true", help="use the part whose files exist")
    published.add_argument(
        "--exclude-withdrawn", action="store_true", help="leave out what the archive withdrew (pancreas_ct)"
    )
    own = parser.add_argument_group("your own data")
    own.add_argument("--images", metavar="DIR", help="images: a volume, a DICOM folder or a 2D image a case")
    own.add_argument(
        "--labels", metavar="DIR", help="labels, named as the images (default: labels beside images)"
    )
    own.add_argument("--groups", metavar="CSV", help="table with the columns case,patient")
    own.add_argument(
        "--group-pattern", metavar="REGEX", help="its first group is the patient in a case's name"
    )
    own.add_argument(
        "--label-map",
        nargs="+",
        metavar="OLD=NEW",
        help="stored class ids that stand for others, such as 4=3",
    )
    own.add_argument(
        "--h5-spacing", type=float, nargs=3, metavar="MM", help="voxel size of HDF5 files (default 1 1 1)"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from medssl.common.files import write_text
    from medssl.common.next_steps import command_line
    from medssl.data.lists.summary import datalist_text

    out = Path(arguments.out)
    if out.exists() and not arguments.overwrite:
        raise InputError(out, "exists already", "add --overwrite or choose another name")
    if out.is_dir():
        raise InputError(out, "is a folder", "name a file")
    datalist = _own(arguments) if arguments.images else _published(arguments)
    write_text(out, json.dumps(datalist, indent=1, ensure_ascii=False) + "\n")
    print(f"{datalist_text(datalist)}\nwritten to {out}\nnext: {command_line('medssl', 'check', out)}")
    return 0


def _published(arguments: argparse.Namespace) -> dict[str, Any]:
    from medssl.data import build_datalist

    if not arguments.dataset:
        raise InputError("datalist", "neither --dataset nor --images given", "see medssl datalist --help")
    _refuse(arguments, ("labels", "groups", "group_pattern", "label_map", "h5_spacing"), "--images")
    if not arguments.data:
        raise InputError("--data", "is missing", f"name the folder that holds {arguments.dataset}")
    if arguments.dataset == "custom":
        raise InputError("--dataset custom", "is no published split", "give --images DIR and --labels DIR")
    return build_datalist(
        arguments.data,
        dataset=arguments.dataset,
        labeled=arguments.labeled,
        validation=arguments.validation,
        test=arguments.test,
        seed=arguments.seed,
        allow_missing=arguments.allow_missing,
        require_unlabeled=False,
        exclude_withdrawn=arguments.exclude_withdrawn,
    )


def _own(arguments: argparse.Namespace) -> dict[str, Any]:
    from medssl.data import build_own_datalist

    _refuse(arguments, ("dataset", "data", "allow_missing", "exclude_withdrawn"), "--dataset")
    if isinstance(arguments.labeled, str):
        raise InputError(f"--labeled {arguments.labeled}", "is no number", "give 8 or 0.1")
    pairs = arguments.label_map or ()
    if any(pair.count("=") != 1 for pair in pairs):
        raise InputError("--label-map", f"{' '.join(pairs)} is no list of OLD=NEW", "write 4=3 2=1")
    return build_own_datalist(
        arguments.images,
        arguments.labels,
        labeled=arguments.labeled,
        validation=arguments.validation,
        test=arguments.test,
        seed=arguments.seed,
        groups=arguments.groups,
        group_pattern=arguments.group_pattern,
        label_map=dict(pair.split("=") for pair in pairs) or None,
        h5_spacing=arguments.h5_spacing or 1.0,
        require_unlabeled=False,
    )


def _refuse(arguments: argparse.Namespace, names: tuple[str, ...], needs: str) -> None:
    """Refuse options that belong to the other way of making a datalist: they would do nothing."""
    for name in names:
        if getattr(arguments, name):
            option = "--" + name.replace("_", "-")
            raise InputError(option, f"goes with {needs}, which is not given", "leave one of them out")


def _share_or_name(text: str) -> int | float | str:
    """As :func:`_share`; what is no number is the name of a published subset."""
    try:
        return _share(text)
    except ValueError:
        return text


def _share(text: str) -> int | float:
    """``8`` counts cases, ``0.1`` is a fraction."""
    try:
        return int(text)
    except ValueError:
        return float(text)
