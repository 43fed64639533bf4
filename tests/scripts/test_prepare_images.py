"""The scripts for published sets of images, on small trees in the form of the official downloads."""

import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

from medssl.common.errors import InputError
from medssl.data import LoadCased, read_split
from medssl.data.checks.run import check_datalist
from tests.scripts.load import script

SIZE = (12, 16)


def picture(path, *, mode="RGB", seed=0, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if mode == "L" else (*size, 3)
    pixels = np.random.default_rng([seed, *map(ord, path.stem)]).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path, ids, *, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = Image.fromarray(np.asarray(ids, np.uint8))
    if palette:
        stored.putpalette(list(range(256)) * 3)
    stored.save(path)


def random_ids(high, *, seed=0, ignore=True):
    ids = np.random.default_rng(seed).integers(0, high, SIZE)
    if ignore:
        ids[0] = 255
    return ids


def stored(out, case):
    return np.asarray(Image.open(out / "labels" / f"{case}.png"))


def voc(root):
    """Nine images of the first classic subset, two of validation, one of SBD."""
    split = read_split("pascal_voc")
    fine = set(split.partitions["1464"])
    sbd = next(case for case in split.training if case not in fine)
    cases = [*split.partitions["92"][:9], *split.validation[:2], sbd]
    for number, case in enumerate(cases):
        picture(root / "VOC2012" / "JPEGImages" / f"{case}.jpg")
        if case != sbd:
            name = root / "VOC2012" / "SegmentationClass" / f"{case}.png"
            mask(name, random_ids(21, seed=number), palette=True)
    ids = random_ids(21, ignore=False).astype(np.uint8)
    (root / "sbd" / "cls").mkdir(parents=True)
    scipy.io.savemat(root / "sbd" / "cls" / f"{sbd}.mat", {"GTcls": {"Segmentation": ids}})
    return cases, sbd, ids


def test_voc_takes_palette_masks_and_those_of_sbd(tmp_path, capsys):
    cases, sbd, ids = voc(tmp_path)
    prepare, out = script("prepare_voc"), tmp_path / "out"
    command = [str(tmp_path / "VOC2012"), str(out)]
    assert prepare.main([*command, "--sbd", str(tmp_path / "sbd"), "--labeled", "92"]) == 0
    assert sorted(path.stem for path in (out / "images").iterdir()) == sorted(cases)
    np.testing.assert_array_equal(stored(out, cases[1]), random_ids(21, seed=1))
    np.testing.assert_array_equal(stored(out, sbd), ids)
    original = tmp_path / "VOC2012" / "JPEGImages" / f"{cases[0]}.jpg"
    assert (out / "images" / f"{cases[0]}.jpg").read_bytes() == original.read_bytes()
    assert (out / "images" / f"{cases[0]}.jpg").samefile(original)  # linked, not copied
    datalist = json.loads((out / "datalist_92.json").read_text())
    assert [item["case"] for item in datalist["training"]] == cases[:9]
    assert [item["case"] for item in datalist["unlabeled"]] == [sbd]
    assert list(datalist["hidden_labels"]) == [sbd]
    assert len(datalist["test"]) == 2
    assert "the published subset 92" in datalist["selection"]
    result = check_datalist(out / "datalist_92.json", num_classes=21, allow_absent_classes=True)
    assert result.count("error") == 0
    capsys.readouterr()
    assert prepare.main([*command, "--sbd", str(tmp_path / "sbd")]) == 0  # a second run does nothing
    assert "0 cases written, 12 were there already" in capsys.readouterr().out


def test_voc_without_sbd_leaves_its_images_unlabelled(tmp_path):
    _, sbd, _ = voc(tmp_path)
    out = tmp_path / "out"
    assert script("prepare_voc").main([str(tmp_path / "VOC2012"), str(out), "--labeled", "92"]) == 0
    datalist = json.loads((out / "datalist_92.json").read_text())
    assert [item["case"] for item in datalist["unlabeled"]] == [sbd]
    assert datalist["hidden_labels"] == {}


def test_a_damaged_mask_costs_no_other_case_and_is_named(tmp_path, capsys):
    cases, _, _ = voc(tmp_path)
    bad, small = (tmp_path / "VOC2012" / "SegmentationClass" / f"{case}.png" for case in cases[:2])
    mask(bad, np.full(SIZE, 77))
    mask(small, np.zeros((5, 5)))
    out = tmp_path / "out"
    assert script("prepare_voc").main([str(tmp_path / "VOC2012"), str(out)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(cases[0] in line and "holds the ids 77" in line for line in lines)
    assert any(cases[1] in line and "5 x 5" in line for line in lines)
    assert not (out / "images" / f"{cases[0]}.jpg").exists()
    assert not list(out.rglob(".tmp*"))
    mask(bad, random_ids(21))
    mask(small, random_ids(21))
    assert script("prepare_voc").main([str(tmp_path / "VOC2012"), str(out)]) == 0
    assert "2 cases written, 10 were there already" in capsys.readouterr().out


def test_cityscapes_ids_become_train_ids(tmp_path):
    split = read_split("cityscapes")
    cases = {"train": split.partitions["1_16"][:2] + split.training[-1:], "val": split.validation[:1]}
    official = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 34
    for part, names in cases.items():
        for case in names:
            city = case.split("_")[0]
            picture(tmp_path / "leftImg8bit" / part / city / f"{case}_leftImg8bit.png")
            mask(tmp_path / "gtFine" / part / city / f"{case}_gtFine_labelIds.png", official)
    out = tmp_path / "out"
    assert script("prepare_cityscapes").main([str(tmp_path), str(out), "--labeled", "1/16"]) == 0
    # Names in the official order of the table, as the benchmark lists them with their ids.
    ids = {"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
           "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car":
           26, "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33}  # fmt: skip
    prepared = stored(out, cases["train"][0])
    for number in range(34):
        names = [name for name, stored_id in ids.items() if stored_id == number]
        expected = split.classes.index(names[0]) if names else 255
        assert (prepared[official == number] == expected).all()
    datalist = json.loads((out / "datalist_1_16.json").read_text())
    assert [item["case"] for item in datalist["training"]] == list(cases["train"][:2])
    assert "hidden_labels" in datalist
    assert [item["case"] for item in datalist["unlabeled"]] == list(cases["train"][2:])


def test_ade20k_ids_begin_at_0_and_0_is_ignored(tmp_path):
    split = read_split("ade20k")
    cases = {"training": split.partitions["1_64"][:2], "validation": split.validation[:1]}
    ids = np.random.default_rng(0).integers(0, 151, SIZE)
    for part, names in cases.items():
        for case in names:
            picture(tmp_path / "images" / part / f"{case}.jpg")
            mask(tmp_path / "annotations" / part / f"{case}.png", ids)
    picture(tmp_path / "images" / "training" / f"{cases['training'][0]}.jpg", mode="L")
    out = tmp_path / "out"
    assert script("prepare_ade20k").main([str(tmp_path), str(out), "--labeled", "1/64"]) == 0
    np.testing.assert_array_equal(stored(out, cases["training"][0]), np.where(ids == 0, 255, ids - 1))
    # The grey photograph has become one in colours, of the same values up to a grey level.
    grey = LoadCased("image", in_channels=3)({"image": out / "images" / f"{cases['training'][0]}.jpg"})[
        "image"
    ]
    original = np.asarray(Image.open(tmp_path / "images" / "training" / f"{cases['training'][0]}.jpg"))
    assert np.abs(grey.numpy() - original).max() <= 1


def test_camvid_in_the_form_of_segnet_and_in_colours(tmp_path):
    split = read_split("camvid")
    cases = {"train": split.training[:2], "val": split.validation[:1]}
    prepare = script("prepare_camvid")
    ids = random_ids(12, ignore=False)
    expected = np.where(ids == 11, 255, ids)
    first = {number: group[0] for number, group in prepare.COLOURS.items()}
    colours = np.vectorize(first.get)(expected)
    for part, names in cases.items():
        for case in names:
            picture(tmp_path / "segnet" / part / f"{case}.png")
            mask(tmp_path / "segnet" / f"{part}annot" / f"{case}.png", ids)
            picture(tmp_path / "official" / "701_StillsRaw_full" / f"{case}.png")
            rgb = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1)
            mask(tmp_path / "official" / "LabeledApproved_full" / f"{case}_L.png", rgb)
    for form in ("segnet", "official"):
        out = tmp_path / f"out_{form}"
        assert prepare.main([str(tmp_path / form), str(out), "--labeled", "1/16"]) == 0
        np.testing.assert_array_equal(stored(out, cases["train"][0]), expected)
        datalist = json.loads((out / "datalist_1_16.json").read_text())
        assert [item["case"] for item in datalist["training"]] == list(cases["train"])
    wrong = rgb.copy()
    wrong[0, 0] = (1, 2, 3)
    with pytest.raises(InputError, match="#010203"):
        prepare.ids_of(wrong.astype(np.uint8), "a_L.png")
    assert len({colour for group in prepare.COLOURS.values() for colour in group}) == 32


def coco(root, *, training=240):
    """As many images as the smallest subset and some more; objects of three kinds in the first."""
    category_ids = [
        number for number in range(1, 91) if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
    ]
    names = read_split("coco").classes[1:]
    categories = [{"id": i, "name": name} for i, name in zip(category_ids, names, strict=True)]
    lists = {"train": range(1, training + 1), "val": range(1000, 1003)}
    crowd = {"counts": [0, 2, 12 * 16 - 2], "size": list(SIZE)}  # the first two pixels of the first column
    objects = [
        {"category_id": 1, "segmentation": [[2, 2, 6, 2, 6, 8, 2, 8]], "iscrowd": 0},
        {"category_id": 90, "segmentation": [[4, 4, 12, 4, 12, 10, 4, 10]], "iscrowd": 0},
        {"category_id": 13, "segmentation": crowd, "iscrowd": 1},
    ]
    for part, numbers in lists.items():
        images = [{"id": n, "file_name": f"{n:012d}.jpg", "height": 12, "width": 16} for n in numbers]
        for image in images:
            picture(root / f"{part}2017" / image["file_name"])
        annotations = [{"image_id": numbers[0], **annotation} for annotation in objects]
        facts = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(facts))


def test_coco_draws_objects_the_first_on_top(tmp_path):
    coco(tmp_path)
    out = tmp_path / "out"
    assert script("prepare_coco").main([str(tmp_path), str(out), "--labeled", "1/512"]) == 0
    classes = read_split("coco").classes
    expected = np.zeros(SIZE, np.uint8)
    expected[4:10, 4:12] = classes.index("toothbrush")
    expected[2:8, 2:6] = classes.index("person")
    expected[:2, 0] = classes.index("stop sign")
    np.testing.assert_array_equal(stored(out, "000000000001"), expected)
    assert not stored(out, "000000000002").any()
    datalist = json.loads((out / "datalist_1_512.json").read_text())
    assert [len(datalist[name]) for name in ("training", "unlabeled", "test")] == [232, 8, 3]
    again = tmp_path / "again"
    assert script("prepare_coco").main([str(tmp_path), str(again), "--labeled", "232"]) == 0
    other = json.loads((again / "datalist_232.json").read_text())
    assert [item["case"] for item in other["training"]] == [item["case"] for item in datalist["training"]]


def test_coco_takes_the_published_lists(tmp_path, capsys):
    coco(tmp_path, training=12)
    for name in read_split("coco").labeled_counts:
        folder = tmp_path / "lists" / name
        folder.mkdir(parents=True)
        lines = [f"train2017/{n:012d}.jpg masks/{n:012d}.png" for n in (3, 7)]
        (folder / "labeled.txt").write_text("\n".join(lines) + "\n")
    command = [str(tmp_path), str(tmp_path / "out"), "--lists", str(tmp_path / "lists")]
    assert script("prepare_coco").main([*command, "--labeled", "1/32"]) == 0
    datalist = json.loads((tmp_path / "out" / "datalist_1_32.json").read_text())
    assert [item["case"] for item in datalist["training"]] == ["000000000003", "000000000007"]
    (tmp_path / "lists" / "1_32" / "labeled.txt").write_text("train2017/000000000999.jpg x\n")
    assert script("prepare_coco").main(command) == 2
    assert "names 1 images that are not there" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["voc", "cityscapes", "coco", "ade20k", "camvid"])
def test_a_wrong_folder_ends_with_one_line(tmp_path, name, capsys):
    (tmp_path / "empty").mkdir()
    assert script(f"prepare_{name}").main([str(tmp_path / "empty"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


def test_an_unknown_subset_is_refused_after_the_work(tmp_path, capsys):
    voc(tmp_path)
    assert (
        script("prepare_voc").main([str(tmp_path / "VOC2012"), str(tmp_path / "out"), "--labeled", "1/7"])
        == 2
    )
    assert "labeled '1/7': no such name" in capsys.readouterr().err
