"""``medssl check``: what is wrong with a data set, before the long run."""

import argparse
import io
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any


def add_check(commands: Any) -> None:
    """``medssl check``: open every case of a datalist and say all that is wrong."""
    parser = commands.add_parser(
        "check",
        help="open every case of a datalist and say all that is wrong",
        description="Open every case of a datalist and say all that is wrong, in one pass. "
        "Exit status: 0 without errors, 1 with errors, 2 if the datalist itself cannot be read.",
    )
    parser.add_argument("datalist", help="the datalist (JSON)")
    parser.add_argument("--base-dir", metavar="DIR", help="where relative names start (default: its folder)")
    parser.add_argument(
        "--roi", type=int, nargs="+", metavar="N", help="patch in voxels; smaller volumes are warned of"
    )
    parser.add_argument(
        "--classes",
        "--num_classes",
        type=int,
        metavar="K",
        help="number of classes with background (default: the datalist's)",
    )
    parser.add_argument(
        "--allow-absent-classes",
        action="store_true",
        help="only warn of a class that no labelled case shows",
    )
    parser.add_argument(
        "--h5-spacing", type=float, nargs=3, metavar="MM", help="voxel size of HDF5 files (default 1 1 1)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="cases opened at a time (default 1)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--report", metavar="DIR", help="write a contact sheet, histograms and check.json")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Said better by the findings, or of no use to a reader of the table.
    warnings.filterwarnings("ignore", module="monai")
    for name in ("nibabel.global", "pydicom", "monai"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    import SimpleITK as sitk

    from medssl.common.next_steps import after_check
    from medssl.data.checks.run import check_datalist
    from medssl.data.checks.summary import check_record, check_text

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may hold letters that the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    if arguments.report:
        from medssl.reports.dataset import prepare_report_folder

        prepare_report_folder(arguments.report)
    result = check_datalist(
        arguments.datalist,
        base_dir=arguments.base_dir,
        roi=arguments.roi,
        num_classes=arguments.classes,
        h5_spacing=arguments.h5_spacing or 1.0,
        allow_absent_classes=arguments.allow_absent_classes,
        jobs=arguments.jobs,
    )
    record = check_record(arguments.datalist, result)
    content = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    print(content if arguments.json else check_text(result))
    if arguments.report:
        from medssl.common.files import write_text
        from medssl.reports.dataset import write_dataset_report

        written = write_dataset_report(arguments.report, result)
        facts = Path(arguments.report) / "check.json"
        write_text(facts, content + "\n")
        if not arguments.json:
            print("report: " + ", ".join(str(path) for path in (*written, facts)))
    if result.count("error"):
        return 1
    if not arguments.json and result.is_volumetric:
        following = after_check(arguments.datalist, num_classes=result.num_classes, patch_size=arguments.roi)
        print(f"next: {following}")
    return 0
