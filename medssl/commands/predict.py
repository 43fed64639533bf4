"""``medssl predict``: a folder of scans, or images, becomes a folder that a person can review."""

import argparse
from typing import Any

from medssl.commands._models import add_model_options, add_test_time_options, checkpoints_of


def add_predict(commands: Any) -> None:
    """``medssl predict``."""
    parser = commands.add_parser(
        "predict",
        help="segment scans or images into a folder for review",
        description="Segment scans or images with a trained model, which says itself how it was trained.",
    )
    parser.add_argument(
        "places",
        nargs="*",
        metavar="RUN SCANS OUT",
        help="folder of a run or a checkpoint; folder of scans or images, one of them, or a MONAI datalist; "
        "review folder",
    )
    parser.add_argument("--input", help="SCANS, the other way to say it")
    parser.add_argument("--out", help="OUT, the other way to say it")
    parser.add_argument("--cases", nargs="+", metavar="CASE", help="only these cases")
    parser.add_argument(
        "--lists",
        nargs="+",
        default=["unlabeled", "validation", "test"],
        help="lists of a datalist that are predicted (default: unlabeled validation test)",
    )
    add_model_options(parser)
    model = parser.add_argument_group("test-time options")
    model.add_argument(
        "--uncertainty",
        choices=("entropy", "dual-axis", "ensemble"),
        help="a second map: disagreement of both decoders, or of several checkpoints (default there)",
    )
    add_test_time_options(model)
    model.add_argument("--batch-size", type=int, default=4, help="windows at once (default 4)")
    model.add_argument(
        "--temperature", type=float, help="of the probabilities (default: that of medssl calibrate, else 1)"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--class-names", nargs="+", metavar="NAME", help="of class 1, 2 and so on, of images from class 0 on"
    )
    output.add_argument("--probabilities", action="store_true", help="write a map for every class")
    output.add_argument("--bids", action="store_true", help="name files as BIDS derivatives")
    output.add_argument("--dicom-seg", action="store_true", help="DICOM SEG for scans that are DICOM series")
    output.add_argument("--resume", action="store_true", help="go on: finished cases stay")
    output.add_argument("--overwrite", action="store_true", help="make all cases anew")
    parser.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    from medssl.data.lists.scans import scans_of
    from medssl.inference.checkpoints import model_record
    from medssl.inference.deployment import load_deployment
    from medssl.review.kinds import KINDS
    from medssl.review.options import PackageOptions
    from medssl.review.package import write_review_package
    from medssl.review.promises import stored_promises

    checkpoints, (scans, out) = checkpoints_of(arguments, "input", "out")
    deployment = load_deployment(checkpoints, allow=arguments.allow)
    trained = deployment.description
    axes = len(trained.patch_size)
    items = scans_of(scans, lists=arguments.lists, cases=arguments.cases, axes=axes)
    names = arguments.class_names or trained.class_names or ()
    result = write_review_package(
        out,
        items=items,
        transform=deployment.transform,
        predictor=deployment.predictor(
            stride=arguments.stride,
            batch_size=arguments.batch_size,
            weights=arguments.window_weights,
            flip_axes=arguments.flips,
            uncertainty=arguments.uncertainty,
            keep_probabilities=arguments.probabilities,
            temperature=arguments.temperature,
            amp=arguments.amp,
            device=arguments.device,
        ),
        classes=KINDS[axes].classes(trained.num_classes, names),
        model=model_record(checkpoints),
        options=PackageOptions(
            bids=arguments.bids,
            keep_largest=tuple(arguments.keep_largest),
            fill_holes=tuple(arguments.fill_holes),
            dicom_seg=arguments.dicom_seg,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
        ),
        # An ensemble is another model than the one that was calibrated.
        promises=stored_promises(checkpoints[0]) if len(checkpoints) == 1 else None,
    )
    print(f"{len(result.predicted)} predicted, {len(result.skipped)} were there, {len(result.failed)} failed")
    for message in result.failed.values():
        print(f"  {message}")
    print(f"open {result.folder / 'index.html'}")
    return 1 if result.failed else 0
