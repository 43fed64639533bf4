"""Files of every format are listed and read alike; the guide prints the table."""

import numpy as np
import pytest
import torch
from PIL import Image

from medssl.common.errors import InputError
from medssl.data import LoadCased, Orientd, case_name
from medssl.data.lists.layout import list_files, pair_cases
from medssl.data.reading.formats import FORMATS, format_of, strip_suffix
from tests.places import ROOT

COLOURS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
IDS = np.random.default_rng(1).integers(0, 3, (12, 20), dtype=np.uint8)


def test_the_guide_prints_the_table():
    lines = ["| format | name | notes |", "| --- | --- | --- |"]
    for entry in FORMATS:
        names = ", ".join(f"`{suffix}`" for suffix in entry.suffixes) or "a folder"
        lines.append(f"| {entry.name} | {names} | {entry.note} |")
    printed = "\n".join(lines) + "\n"
    assert printed in (ROOT / "docs" / "data.md").read_text(encoding="utf-8"), printed


@pytest.mark.parametrize("suffix", [suffix for entry in FORMATS for suffix in entry.suffixes])
def test_a_suffix_belongs_to_one_format_and_is_no_part_of_the_case(tmp_path, suffix):
    path = tmp_path / f"a.b{suffix.upper()}"
    assert [entry for entry in FORMATS if suffix in entry.suffixes] == [format_of(path)]
    assert strip_suffix(path) == case_name(path) == "a.b"


def test_folders_list_what_they_hold_of_one_kind(tmp_path):
    for name in ("a.nii.gz", "b.png", "c.JPG", ".d.png", "e.txt", "f.h5"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    assert list(list_files(tmp_path)) == ["a"]
    assert list(list_files(tmp_path, axes=2)) == ["b", "c"]
    assert list(list_files(tmp_path, axes=2, labels=True)) == ["b"]
    assert [files.case for files in pair_cases(tmp_path, None)] == ["a"]  # pictures beside scans
    (tmp_path / "a.nii.gz").unlink()
    assert [files.case for files in pair_cases(tmp_path, None)] == ["b", "c"]


def test_colours_become_channels_and_rows_come_first(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "image.png")
    Image.fromarray(IDS).save(tmp_path / "label.png")
    item = LoadCased(["image", "label"], in_channels=3, num_classes=3)(
        {"image": str(tmp_path / "image.png"), "label": str(tmp_path / "label.png")}
    )
    assert item["image"].dtype == torch.float32
    np.testing.assert_array_equal(item["image"].numpy(), COLOURS.transpose(2, 0, 1))
    np.testing.assert_array_equal(item["label"].numpy(), IDS[None])
    assert item["label"].dtype == torch.uint8


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 1), ("RGBA", 3), ("P", 3), ("I;16", 1)])
def test_an_image_is_grey_or_rgb_however_it_is_stored(tmp_path, mode, channels):
    if mode == "I;16":
        stored = Image.fromarray(COLOURS[..., 0].astype(np.uint16) * 200)
    else:
        stored = Image.fromarray(COLOURS).convert(mode)
    stored.save(tmp_path / "image.png")
    image = LoadCased("image")({"image": str(tmp_path / "image.png")})["image"]
    assert image.shape == (channels, 12, 20)
    if mode == "I;16":
        assert float(image.max()) > 255
    if mode == "RGBA":
        np.testing.assert_array_equal(image.numpy(), COLOURS.transpose(2, 0, 1))


def test_the_indices_of_a_palette_are_the_class_ids_of_a_label(tmp_path):
    label = Image.fromarray(IDS).convert("P")
    label.putdata(IDS.ravel().tolist())
    label.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200])
    label.save(tmp_path / "label.png")
    loaded = LoadCased("label", num_classes=3)({"label": str(tmp_path / "label.png")})["label"]
    np.testing.assert_array_equal(loaded[0].numpy(), IDS)


def test_faulty_2d_files_are_named_in_one_line(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "image.png")
    Image.fromarray(IDS[:, :-1]).save(tmp_path / "narrow.png")
    Image.fromarray(IDS).save(tmp_path / "label.jpg")
    Image.fromarray(COLOURS[:1]).save(tmp_path / "line.png")
    content = (tmp_path / "image.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_bytes(b"hello world" * 99)
    faults = [
        ("image.png", "narrow.png", "is 12 x 19 voxels, its image image.png 12 x 20"),
        ("image.png", "label.jpg", "compression changes class ids"),
        ("image.png", "image.png", "label with 3 channels"),
        ("line.png", None, "is not an image .its shape is 1 x 20"),
        ("cut.png", None, "truncated or damaged"),
        ("text.jpg", None, "cannot be read"),
    ]
    for image, label, fault in faults:
        item = {"image": str(tmp_path / image), **({"label": str(tmp_path / label)} if label else {})}
        with pytest.raises(InputError, match=fault) as caught:
            LoadCased(["image", "label"])(item)
        assert caught.value.where == str(tmp_path / (label or image))


def test_a_2d_image_has_no_orientation(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "image.png")
    loaded = LoadCased("image")({"image": str(tmp_path / "image.png")})
    with pytest.raises(InputError, match="no orientation"):
        Orientd("image", orientation="RAS")(loaded)
