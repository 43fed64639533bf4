"""A folder of images becomes a folder for review: PNG files on the pixels of every image."""

import csv
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from monai.data import MetaTensor
from monai.networks.nets import UNet
from PIL import Image

from medssl.cli import main
from medssl.common.errors import InputError
from medssl.data import LoadCased
from medssl.inference import predict
from medssl.networks import Adapted
from medssl.review.class_colors import CAMVID, image_classes, voc_color
from medssl.review.image_files import displayed
from medssl.review.kinds import KINDS
from tests.inference.images import IMAGE_META, UNET, save_label, save_model, save_picture

SIZES = {"a street": (45, 70), "b": (37, 36), "c #1?": (24, 31)}
SUFFIXES = ("seg", "overlay", "confidence", "uncertainty")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / "last.pt", {**IMAGE_META, "patch_size": [16, 16]})
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number, (case, size) in enumerate(SIZES.items()):
        suffix = ".jpg" if case == "b" else ".png"
        save_picture(folder / f"{case}{suffix}", size=size, seed=number)
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def reviewed(run, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("review") / "out"
    assert main(["predict", str(run), str(images), str(out), "--device", "cpu"]) == 1  # the broken one
    return out


def test_every_image_has_its_files_at_its_own_size(reviewed):
    for case, (height, width) in SIZES.items():
        for suffix in SUFFIXES:
            with Image.open(reviewed / f"{case}_{suffix}.png") as picture:
                assert picture.size == (width, height)
                assert picture.mode == {"seg": "P", "overlay": "RGB"}.get(suffix, "L")
    names = {path.name for path in reviewed.iterdir()}
    assert not any(name.startswith(("broken", "notes", ".hidden")) for name in names)
    assert {"index.html", "worklist.csv", "classes.csv"} <= names
    assert not any(name.startswith("labels.") for name in names)


def test_the_files_hold_what_the_predictor_says(run, images, reviewed):
    prediction = predict(run, images / "a street.png", device="cpu")
    seg = Image.open(reviewed / "a street_seg.png")
    np.testing.assert_array_equal(np.asarray(seg), prediction.labels)
    colors = np.asarray(seg.convert("RGB"))
    for label, name in enumerate(IMAGE_META["class_names"]):
        assert (colors[prediction.labels == label] == CAMVID[name]).all()
    for suffix in ("confidence", "uncertainty"):
        levels = Image.open(reviewed / f"a street_{suffix}.png")
        values = getattr(prediction, suffix)
        np.testing.assert_allclose(np.asarray(levels) / 255, values, atol=0.5 / 255 + 1e-6)
        assert levels.text["Description"] == f"{suffix} = grey level / 255"
    picture = np.asarray(Image.open(images / "a street.png"), np.float64)
    overlay = np.asarray(Image.open(reviewed / "a street_overlay.png"), np.float64)
    np.testing.assert_allclose(overlay, (picture + colors) / 2, atol=0.51)


def test_class_ids_are_read_back_as_a_label(reviewed):
    label = LoadCased("label", num_classes=4)({"label": str(reviewed / "b_seg.png")})["label"]
    np.testing.assert_array_equal(label[0].numpy(), np.asarray(Image.open(reviewed / "b_seg.png")))


def test_the_worklist_is_sorted_and_says_what_failed(reviewed):
    with (reviewed / "worklist.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["case"] == "broken"
    assert rows[0]["status"].startswith("failed: ")
    priorities = [float(row["priority"]) for row in rows[1:]]
    assert priorities == sorted(priorities, reverse=True)
    assert {row["case"] for row in rows[1:]} == set(SIZES)
    side_car = json.loads((reviewed / "b.json").read_text())
    shares = [values["share"] for values in side_car["statistics"]["classes"].values()]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert list(side_car["statistics"]["classes"]) == IMAGE_META["class_names"]
    row = next(row for row in rows if row["case"] == "b")
    largest = IMAGE_META["class_names"][int(np.argmax(shares))]
    assert row["largest_classes"].startswith(f"{largest} {100 * max(shares):.0f}%")
    assert side_car["settings"]["stride"] is None
    assert "use" not in side_car


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.pictures, self.colors = [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "a":
            self.links.append(values["href"])
        if tag == "img":
            self.pictures += 1
            assert values["src"].startswith("data:image/jpeg;base64,")
        if tag == "i":
            self.colors.append(values["style"])


def test_the_page_suits_images(reviewed):
    text = (reviewed / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.pictures == 2 * len(SIZES)
    assert page.colors == [f"background:rgb{CAMVID[name]}" for name in IMAGE_META["class_names"]]
    assert "c%20%231%3F_overlay.png" in page.links
    for word in ("ITK-SNAP", "Slicer", "NIfTI", "medical", "volume", "scan"):
        assert word not in text, word


def test_a_folder_is_resumed_or_overwritten_and_not_mixed(run, images, tmp_path, capsys):
    only = tmp_path / "in"
    only.mkdir()
    save_picture(only / "a.png", size=(20, 24))
    arguments = ["predict", str(run), str(only), str(tmp_path / "out"), "--device", "cpu"]
    assert main(arguments) == 0
    before = (tmp_path / "out" / "a_seg.png").read_bytes()
    assert main(arguments) == 2
    assert "--resume to go on" in capsys.readouterr().err
    save_picture(only / "b.png", size=(20, 25))
    assert main([*arguments, "--resume"]) == 0
    assert "1 predicted, 1 were there" in capsys.readouterr().out
    assert main([*arguments, "--overwrite"]) == 0
    assert (tmp_path / "out" / "a_seg.png").read_bytes() == before


@pytest.mark.parametrize("option", [["--bids"], ["--keep-largest", "1"], ["--flips", "2"]])
def test_options_of_scans_are_refused(run, images, tmp_path, capsys, option):
    assert main(["predict", str(run), str(images), str(tmp_path / "out"), "--device", "cpu", *option]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_dual_axis_of_one_decoder_is_refused_before_a_file_is_made(run, images, tmp_path, capsys):
    command = ["predict", str(run), str(images), str(tmp_path / "out"), "--device", "cpu"]
    assert main([*command, "--uncertainty", "dual-axis"]) == 2
    assert "the network has one decoder; use entropy, or an ensemble" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_images_and_a_scan_are_refused_in_a_line(run, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("nothing")
    assert main(["predict", str(run), str(tmp_path), str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "holds no image" in capsys.readouterr().err


def test_grey_images_are_shown_as_grey(tmp_path):
    grey = {**IMAGE_META["preprocessing"][0], "arguments": {"keys": "image", "in_channels": 1}}
    network = {**IMAGE_META["network"]["network"], "in_channels": 1}
    meta = {
        **IMAGE_META,
        "network": {**IMAGE_META["network"], "network": network},
        "preprocessing": [grey, IMAGE_META["preprocessing"][1]],
    }

    save_model(
        tmp_path / "last.pt", meta, network=Adapted(UNet(**{**UNET, "in_channels": 1}), patch_multiple=8)
    )
    save_picture(tmp_path / "x.png", size=(33, 21), mode="L")
    out = tmp_path / "out"
    assert main(["predict", str(tmp_path), str(tmp_path / "x.png"), str(out), "--device", "cpu"]) == 0
    assert Image.open(out / "x_seg.png").size == (21, 33)


def test_images_are_displayed_whatever_their_values():
    bits8 = np.arange(48, dtype=np.float32).reshape(3, 4, 4)
    np.testing.assert_array_equal(displayed(MetaTensor(bits8)), bits8.transpose(1, 2, 0).astype(np.uint8))
    bits16 = displayed(MetaTensor(bits8[:1] * 4000))
    assert bits16.shape == (4, 4, 3)
    assert (bits16.min(), bits16.max()) == (0, 255)


def test_known_classes_have_the_colours_of_their_data_set():
    assert image_classes(11, list(CAMVID))[3].color == (128, 64, 128)
    assert image_classes(3, ["background", "dining table", "tv monitor"])[1].color == voc_color(11)
    assert [voc_color(k) for k in (0, 1, 2, 8, 15)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (64, 0, 0), (192, 128, 128),
    ]  # fmt: skip
    unknown = image_classes(22, ["background"])
    assert unknown[0].color == (0, 0, 0)
    assert unknown[3].name == "class 3"
    assert len({entry.color for entry in unknown}) == 22


def test_review_evaluate_says_how_good_the_order_is(reviewed, tmp_path, capsys):
    for number, (case, size) in enumerate(SIZES.items()):
        save_label(tmp_path / f"{case}.png", size=size, seed=number)
    assert main(["review", "evaluate", str(reviewed), "--labels", str(tmp_path)]) == 0
    assert "3 cases, mean error" in capsys.readouterr().out
    with (reviewed / "triage.csv").open(encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["case"] == "b")
    predicted = np.asarray(Image.open(reviewed / "b_seg.png"))
    truth = np.asarray(Image.open(tmp_path / "b.png"))
    scores = []
    for label in range(4):
        p, t = (predicted == label)[truth != 255], (truth == label)[truth != 255]
        if p.any() or t.any():
            scores.append(2 * (p & t).sum() / (p.sum() + t.sum()))
    assert float(row["error"]) == pytest.approx(1 - np.mean(scores), abs=1e-6)


def test_too_many_class_names_are_refused():
    with pytest.raises(InputError, match="give 2"):
        KINDS[2].classes(2, ["a", "b", "c"])
