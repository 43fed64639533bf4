import json

import numpy as np
import pytest
from PIL import Image

from medssl.cli import main
from medssl.common.errors import InputError
from medssl.data import build_datalist
from medssl.data.preparing.phantom_set import write_phantoms, write_shapes
from medssl.data.preparing.shapes import SHAPE_CLASSES, make_shapes

SMALL = (40, 52)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.png")}


def test_an_image_depends_on_seed_and_number_alone():
    first, again = (make_shapes(3, seed=1, size=SMALL) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.label, again.label)
    for other in (make_shapes(4, seed=1, size=SMALL), make_shapes(3, seed=2, size=SMALL)):
        assert (first.image != other.image).mean() > 0.5


def test_every_class_is_common_and_outlines_are_ignored():
    labels = np.stack([make_shapes(case, seed=1).label for case in range(12)])
    shares = [(labels == label).mean() for label in SHAPE_CLASSES]
    assert shares[0] > 0.5
    assert min(shares[1:]) > 0.02
    assert 0.005 < (labels == 255).mean() < 0.1
    assert set(np.unique(labels)) == {*SHAPE_CLASSES, 255}
    # Between two classes there is an outline, along rows and along columns.
    for first, second in ((labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])):
        touching = (first != second) & (first != 255) & (second != 255)
        assert touching.mean() < 1e-3


def test_colour_alone_does_not_tell_the_class():
    """Not even the nearest of all colours of other images, which is what a classifier of pixels learns."""
    images = [make_shapes(case, seed=1) for case in range(8)]
    pixels = [(s.image[s.label != 255].astype(float), s.label[s.label != 255]) for s in images]
    known, ids = (np.concatenate(values)[::60] for values in zip(*pixels[:6], strict=True))
    queries, truth = (np.concatenate(values)[::60] for values in zip(*pixels[6:], strict=True))
    nearest = ids[((queries[:, None] - known[None]) ** 2).sum(-1).argmin(1)]
    found = [(nearest == label)[truth == label].mean() for label in (1, 2, 3)]
    assert np.mean(found) < 0.8


def test_a_set_is_completed_and_no_other_is_touched(tmp_path):
    out = tmp_path / "shapes"
    assert write_shapes(out, cases=2, seed=1, size=SMALL) == ["shapes_000", "shapes_001"]
    before = contents(out)
    (out / "labels" / "shapes_001.png").unlink()
    write_shapes(out, cases=3, seed=1, size=SMALL)
    after = contents(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == 6
    with pytest.raises(InputError, match="holds a set made with seed=1"):
        write_shapes(out, cases=3, seed=2, size=SMALL)
    with pytest.raises(InputError, match="holds a set of shapes cases"):
        write_phantoms(out, cases=1, seed=1, size=(40, 40, 32), overwrite=True)
    assert contents(out) == after
    record = json.loads((out / "dataset.json").read_text())
    assert (record["name"], record["size"]) == ("shapes", [40, 52])


def test_the_command_makes_images_that_check_finds_sound(tmp_path, capsys):
    out = tmp_path / "shapes"
    assert main(["phantom", str(out), "--axes", "2", "--cases", "6", "--size", "40", "52"]) == 0
    assert capsys.readouterr().out == f"6 images in {out}\n"
    assert Image.open(out / "images" / "shapes_000.png").size == (52, 40)
    datalist = build_datalist(out, dataset="shapes", labeled=2, validation=1, test=1)
    (tmp_path / "d.json").write_text(json.dumps(datalist))
    assert main(["check", str(tmp_path / "d.json"), "--classes", "4"]) == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--size 20 40", "image of 20x40 pixels: needs two sides of at least 32"),
        ("--size 40 40 40", "image of 40x40x40 pixels: needs two sides"),
        ("--spacing 1 1 1", "--spacing: images have none"),
        ("--cases 0", "cases=0: must be at least 1"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, words, line):
    assert main(["phantom", str(tmp_path / "out"), "--axes", "2", *words.split()]) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
