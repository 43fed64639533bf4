"""``medssl annotate``: what somebody else's model says of every image, once; and how good that is."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.common.errors import InputError

if TYPE_CHECKING:
    from medssl.annotators import Annotator

EXAMPLES = """\
asked in words:   medssl annotate d.json MAPS --model clipseg --classes "sky; building; pole, column"
                  medssl annotate d.json MAPS --model sam3 --weights FOLDER --classes "background; dog; cat"
a MONAI bundle:   medssl annotate d.json MAPS --model bundle --weights FOLDER \\
                                  --classes "background; spleen" --class-map 0=0 1=3
a run of yours:   medssl annotate d.json MAPS --run RUN
how good it is:   medssl annotate report MAPS d.json --alpha 0.05 0.1 --out FOLDER

Classes are separated by semicolons, in the order of their ids; synonyms by commas. Nothing is asked for a
class 0 that is called background: it is what no other class is. Started again, the command goes on where it
ended.
"""
LISTS = ("training", "unlabeled", "validation", "test")


def add_annotate(commands: Any) -> None:
    """``medssl annotate`` and ``medssl annotate report``."""
    parser = commands.add_parser(
        "annotate",
        help="let another model annotate images, and measure how good it is",
        description="Write a map of every image: probabilities of your classes, by another model.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="medssl annotate DATALIST OUT [options]\n"
        "       medssl annotate report MAPS [MAPS ...] DATALIST [options]",
    )
    parser.add_argument(
        "places",
        nargs="+",
        metavar="DATALIST OUT",
        help="a MONAI datalist or a folder of images, and the folder of the maps; or: report, folders with "
        "maps, and a datalist",
    )
    parser.add_argument(
        "--lists",
        nargs="+",
        metavar="LIST",
        help="lists of the datalist (default: all; of a report, those to measure on: validation and test; "
        "unlabeled stands for its hidden labels)",
    )
    _add_model_options(parser)
    report = parser.add_argument_group("report")
    report.add_argument(
        "--alpha",
        type=float,
        nargs="+",
        default=[0.05],
        metavar="RISK",
        help="shares of pixels that sets may miss (default 0.05)",
    )
    report.add_argument(
        "--pooling",
        choices=("pixel", "image", "kmeans", "genann"),
        help="which pixels are calibrated together (default: pixel, of volumes image)",
    )
    report.add_argument(
        "--grid",
        type=int,
        nargs="+",
        metavar="N",
        help="of the calibration (default 512 512; image: none)",
    )
    report.add_argument(
        "--background",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether class 0 is the background, to which sets prefer others (default: of volumes, and where "
        "it is called background)",
    )
    report.add_argument("--out", metavar="FOLDER", help="write the tables (CSV) and the figure there")
    report.add_argument("--seed", type=int, default=0, help="of pooling kmeans and genann (default 0)")
    parser.set_defaults(run=_run, goes_on=True)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("the annotator")
    model.add_argument("--model", choices=("clipseg", "sam3", "bundle"), help="kind of model")
    model.add_argument(
        "--weights",
        metavar="NAME_OR_FOLDER",
        help="on the Hugging Face hub, or a folder; of a bundle its folder",
    )
    model.add_argument("--run", dest="trained", nargs="+", metavar="RUN", help="instead: runs or checkpoints")
    model.add_argument("--classes", metavar="TEXT", help='such as "sky; building; pole, column"')
    model.add_argument(
        "--class-map", nargs="+", default=[], metavar="OURS=THEIRS", help="of a bundle, such as 0=0 1=7,8"
    )
    model.add_argument("--cases", nargs="+", metavar="CASE", help="only these cases")
    model.add_argument(
        "--precision",
        choices=("uint8", "float16", "float32"),
        default="uint8",
        help="of the numbers on disk (default uint8: steps of 1/255)",
    )
    model.add_argument("--prompts-at-once", type=int, default=4, metavar="N", help="default 4")
    model.add_argument(
        "--allow", nargs="+", default=[], metavar="PACKAGE", help="of --run: see medssl predict"
    )
    model.add_argument("--device", help="such as cuda:0 (default: a GPU where there is one)")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.places[0] == "report":
        return _report(arguments)
    if len(arguments.places) != 2:
        raise InputError(f"{len(arguments.places)} place(s)", "too many or too few", "give DATALIST OUT")
    from medssl.annotators import annotate_images
    from medssl.data.lists.scans import scans_of

    source, out = arguments.places
    annotator = _annotator(arguments)
    items = scans_of(source, lists=arguments.lists or LISTS, cases=arguments.cases, axes=annotator.axes)
    images = list({str(item["image"]): item["image"] for item in items}.values())  # some lists share images
    result = annotate_images(annotator, images, out, precision=arguments.precision)
    print(f"{len(result.annotated)} annotated, {len(result.skipped)} were there, {len(result.failed)} failed")
    for message in result.failed.values():
        print(f"  {message}")
    if Path(source).suffix.lower() == ".json" and not result.failed:
        from medssl.common.next_steps import command_line

        print(f"next: {command_line('medssl', 'annotate', 'report', out, source)}")
    return 1 if result.failed else 0


def _annotator(arguments: argparse.Namespace) -> "Annotator":
    import torch

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if bool(arguments.trained) == bool(arguments.model):
        raise InputError("the annotator", "is not said, or twice", "give --model clipseg, or --run RUN")
    if arguments.class_map and arguments.model != "bundle":
        raise InputError("--class-map", "goes with --model bundle, which is not given", "leave it out")
    from medssl.annotators import parse_classes

    if arguments.trained:
        from medssl.inference.annotator import RunAnnotator
        from medssl.inference.checkpoints import checkpoint_file

        if arguments.weights:
            raise InputError("--weights", "goes with --model, which is not given", "leave it out")
        names = [entry.name for entry in parse_classes(arguments.classes)] if arguments.classes else []
        checkpoints = [checkpoint_file(run, "last") for run in arguments.trained]
        return RunAnnotator(checkpoints, classes=names, allow=arguments.allow, device=device)
    if not arguments.classes:
        raise InputError(
            "--classes", "is missing", 'name your classes: --classes "sky; building; pole, column"'
        )
    classes = parse_classes(arguments.classes)
    if arguments.model == "bundle":
        from medssl.annotators.monai_bundle import MonaiBundle, parse_class_map

        if not arguments.weights or not arguments.class_map:
            remedy = "give --weights FOLDER --class-map 0=0 1=7,8"
            raise InputError("--model bundle", "needs the bundle's folder and a class map", remedy)
        class_map = parse_class_map(arguments.class_map)
        names = [entry.name for entry in classes]
        return MonaiBundle(arguments.weights, names, class_map, device=device)
    from medssl.annotators.text_prompted import TextPrompted

    return TextPrompted(
        arguments.model,
        classes,
        weights=arguments.weights,
        prompts_at_once=arguments.prompts_at_once,
        device=device,
    )


def _report(arguments: argparse.Namespace) -> int:
    if len(arguments.places) < 3:
        raise InputError("report", "needs folders with maps, and a datalist", "give report MAPS DATALIST")
    from medssl.evaluation.annotations import measure_annotations

    background = {"auto": None, "yes": True, "no": False}[arguments.background]
    measured = measure_annotations(
        arguments.places[1:-1],
        arguments.places[-1],
        lists=arguments.lists or ("validation", "test"),
        alphas=arguments.alpha,
        pooling=arguments.pooling,
        grid=arguments.grid,
        background=background,
        seed=arguments.seed,
    )
    print(measured.text())
    if arguments.out:
        from medssl.reports.coverage import write_coverage

        out = Path(arguments.out)
        write_coverage(out, measured.coverages(), measured.names)
        measured.write(out / "annotator.csv")
        print(f"report: annotator.csv, coverage.csv, coverage.md, coverage.png and coverage.svg in {out}")
    return 0
