"""``medssl predict``: a folder of scans becomes a folder that a clinician can review."""

import argparse
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError


def add_predict(commands: Any) -> None:
    """``medssl predict``."""
    parser = commands.add_parser("predict", help="segment scans into a folder for review")
    parser.add_argument("--bundle", required=True, help="folder of the bundle, such as bundles/tcseg")
    parser.add_argument(
        "--checkpoint", required=True, nargs="+", help="best.pt or last.pt; several make an ensemble"
    )
    parser.add_argument("--input", required=True, help="folder of scans, one scan, or a MONAI datalist")
    parser.add_argument("--out", required=True, help="the review folder")
    parser.add_argument("--cases", nargs="+", metavar="CASE", help="only these cases")
    parser.add_argument(
        "--lists",
        nargs="+",
        default=["unlabeled", "validation", "test"],
        help="lists of a datalist that are predicted (default: unlabeled validation test)",
    )
    parser.add_argument("--config-file", nargs="+", default=[], help="further overlays of the bundle")
    model = parser.add_argument_group("test-time options")
    model.add_argument(
        "--uncertainty",
        choices=("entropy", "dual-axis", "ensemble"),
        help="a second map: disagreement of both decoders, or of several checkpoints (default there)",
    )
    model.add_argument("--window-weights", choices=("constant", "gaussian"), default="constant")
    model.add_argument(
        "--flips", type=int, nargs="+", metavar="AXIS", help="average over flips of these axes"
    )
    model.add_argument("--stride", type=int, nargs=3, metavar="N", help="step between windows in voxels")
    model.add_argument("--batch-size", type=int, default=4, help="windows at once (default 4)")
    model.add_argument(
        "--temperature", type=float, help="of the probabilities (default: that of medssl calibrate, else 1)"
    )
    model.add_argument("--amp", choices=("off", "bf16"), help="bf16 is faster (default: the bundle's)")
    model.add_argument("--device", help="such as cuda:0 (default: a GPU where there is one)")
    model.add_argument("--keep-largest", type=int, nargs="+", default=[], metavar="CLASS")
    model.add_argument("--fill-holes", type=int, nargs="+", default=[], metavar="CLASS")
    output = parser.add_argument_group("output")
    output.add_argument("--class-names", nargs="+", metavar="NAME", help="of class 1, 2 and so on")
    output.add_argument("--probabilities", action="store_true", help="write a map for every class")
    output.add_argument("--bids", action="store_true", help="name files as BIDS derivatives")
    output.add_argument("--dicom-seg", action="store_true", help="DICOM SEG for scans that are DICOM series")
    output.add_argument("--resume", action="store_true", help="go on: finished cases stay")
    output.add_argument("--overwrite", action="store_true", help="make all cases anew")
    parser.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    import torch

    from medssl.inference.checkpoints import model_record
    from medssl.inference.deployment import load_deployment
    from medssl.inference.predictor import Predictor, Uncertainty
    from medssl.review.case import PackageOptions
    from medssl.review.package import write_review_package
    from medssl.review.segments import segment_classes

    items = scans_of(arguments.input, lists=arguments.lists, cases=arguments.cases)
    uncertainty: Uncertainty = arguments.uncertainty or (
        "ensemble" if len(arguments.checkpoint) > 1 else "entropy"
    )
    deployment = load_deployment(
        arguments.bundle,
        arguments.checkpoint,
        config_files=arguments.config_file,
        overrides={"stride": arguments.stride} if arguments.stride else {},
        both_decoders=uncertainty == "dual-axis",
    )
    settings = deployment.settings
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    axes = sorted(set(arguments.flips or []))
    if not set(axes) <= {0, 1, 2}:
        raise InputError(f"--flips {axes}", "no such axis", "choose among 0 1 2")
    predictor = Predictor(
        [network.to(device) for network in deployment.networks],
        num_classes=settings["num_classes"],
        patch=settings["patch_size"],
        stride=settings["stride"],
        batch_size=arguments.batch_size,
        weights=arguments.window_weights,
        flips=list(chain.from_iterable(combinations(axes, n) for n in range(1, len(axes) + 1))),
        uncertainty=uncertainty,
        keep_probabilities=arguments.probabilities,
        temperature=_temperature(arguments),
        amp=arguments.amp or ("bf16" if settings["amp"] == "bf16" else "off"),
        channels_last=bool(settings["channels_last"]),
        device=device,
    )
    names = arguments.class_names or settings["class_names"] or []
    if len(names) > settings["num_classes"] - 1:
        raise InputError("--class-names", f"are {len(names)}", f"give {settings['num_classes'] - 1}")
    result = write_review_package(
        arguments.out,
        items=items,
        transform=deployment.transform,
        predictor=predictor,
        classes=segment_classes(settings["num_classes"], dict(enumerate(names, 1))),
        model=model_record(arguments.checkpoint),
        options=PackageOptions(
            bids=arguments.bids,
            keep_largest=tuple(arguments.keep_largest),
            fill_holes=tuple(arguments.fill_holes),
            dicom_seg=arguments.dicom_seg,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
        ),
    )
    print(f"{len(result.predicted)} predicted, {len(result.skipped)} were there, {len(result.failed)} failed")
    for message in result.failed.values():
        print(f"  {message}")
    print(f"open {result.folder / 'index.html'}")
    return 1 if result.failed else 0


def _temperature(arguments: argparse.Namespace) -> float:
    """What was asked for, or the stored one; members of an ensemble have none of their own."""
    from medssl.inference.temperature import stored_temperature

    if arguments.temperature is not None:
        if not arguments.temperature > 0:
            raise InputError(f"--temperature {arguments.temperature}", "not above 0", "1 changes nothing")
        return float(arguments.temperature)
    return stored_temperature(arguments.checkpoint[0]) if len(arguments.checkpoint) == 1 else 1.0


def scans_of(source: str, *, lists: list[str], cases: list[str] | None) -> list[dict[str, Any]]:
    """The scans of a folder, a single scan, or the cases of a datalist.

    Raises:
        InputError: nothing there, an unknown list, or a case that is not there.
    """
    from medssl.common.errors import unknown_name
    from medssl.data import list_scans, load_datalist
    from medssl.data.lists.datalist import LISTS
    from medssl.data.lists.layout import case_name

    path = Path(source)
    if path.suffix.lower() == ".json":
        for name in lists:
            if name not in LISTS:
                raise unknown_name("list", name, LISTS)
        datalist = load_datalist(path)
        kept = ("case", "image", "roi")
        found = [{k: v for k, v in item.items() if k in kept} for name in lists for item in datalist[name]]
        for case in cases or ():
            if case not in {item["case"] for item in found}:
                raise unknown_name("case", case, [item["case"] for item in found])
        return [item for item in found if not cases or item["case"] in cases]
    if path.is_file():
        return [{"case": case_name(path), "image": str(path.absolute())}]
    from medssl.data.lists.layout import is_dicom_folder

    if is_dicom_folder(path):
        return [{"case": path.name, "image": str(path.absolute())}]
    return list(list_scans(path, cases=cases))
