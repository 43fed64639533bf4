"""Bundles as MONAI's specification has them, with tiny networks."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.networks.nets import VISTA3D, UNet
from monai.networks.nets.segresnet_ds import SegResNetDS2
from monai.networks.nets.vista3d import ClassMappingClassify, PointMappingSAM

from medssl.annotators.monai_bundle import MonaiBundle, parse_class_map
from medssl.common.errors import InputError

SHAPE = (20, 18, 16)
UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 4,
    "channels": [2, 4],
    "strides": [2],
}
PREPARATION = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
]
NAMES = ("background", "one", "two")


def config(preprocessing=PREPARATION, network=UNET, **more):
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda')",
        "dataset_dir": "/nowhere",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": list(preprocessing)},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 2},
        "evaluator": {"_target_": "SupervisedEvaluator", "val_data_loader": "$open('/no/such/file')"},
        **more,
    }


def write_bundle(folder, content, network=None):
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(content))
    if network is None:
        torch.manual_seed(0)
        network = UNet(**{key: value for key, value in UNET.items() if key != "_target_"})
        torch.nn.init.normal_(list(network.parameters())[-1], std=2)
    torch.save({"model": network.state_dict()}, folder / "models" / "model.pt")
    return network.eval()


def write_scan(path, shape=SHAPE):
    """Stored back to front and turned, as scanners do."""
    affine = np.array([[0, -1.5, 0, 4], [1, 0, 0, -3], [0, 0, -2.0, 5], [0, 0, 0, 1]])
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    nib.save(nib.Nifti1Image(values, affine), path)
    return values


def test_probabilities_are_the_networks_on_the_voxels_of_the_file(tmp_path):
    network = write_bundle(tmp_path / "bundle", config())
    values = write_scan(tmp_path / "a.nii.gz")
    bundle = MonaiBundle(tmp_path / "bundle", NAMES, {0: [0], 1: [2, 3], 2: [1]})
    probs = bundle.annotate(tmp_path / "a.nii.gz")
    assert probs.dtype == np.float32
    assert probs.shape == (3, *SHAPE)
    oriented = nib.as_closest_canonical(nib.load(tmp_path / "a.nii.gz")).get_fdata(dtype=np.float32)
    assert not np.array_equal(oriented.shape, values.shape)
    with torch.inference_mode():
        logits = bundle.inferer(torch.from_numpy(oriented.copy())[None, None], network)
    expected = logits[0].softmax(0).numpy()
    expected = np.stack([expected[0], expected[2] + expected[3], expected[1]])
    turn = nib.orientations.io_orientation(nib.load(tmp_path / "a.nii.gz").affine)
    back = nib.orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), turn)
    stored = [nib.orientations.apply_orientation(channel, back) for channel in expected]
    np.testing.assert_allclose(probs, np.stack(stored), atol=1e-5)


def test_what_no_class_of_ours_names_is_background(tmp_path):
    write_bundle(tmp_path / "bundle", config())
    write_scan(tmp_path / "a.nii.gz")
    whole = MonaiBundle(tmp_path / "bundle", "abcd", {0: [0], 1: [1], 2: [2], 3: [3]}).annotate(
        tmp_path / "a.nii.gz"
    )
    part = MonaiBundle(tmp_path / "bundle", "ab", {1: [2]}).annotate(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(part[1], whole[2], atol=1e-5)
    np.testing.assert_allclose(part[0], whole[[0, 1, 3]].sum(0), atol=1e-5)


def test_resampled_and_cropped_scans_come_back_and_the_rest_is_background(tmp_path):
    preparation = [
        *PREPARATION,
        {"_target_": "Spacingd", "keys": "image", "pixdim": [1.2, 1.2, 1.2], "mode": "bilinear"},
        {"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": [16, 12, 12]},
    ]
    write_bundle(tmp_path / "bundle", config(preparation))
    write_scan(tmp_path / "a.nii.gz")
    probs = MonaiBundle(tmp_path / "bundle", NAMES, {1: [2], 2: [1]}).annotate(tmp_path / "a.nii.gz")
    assert probs.shape == (3, *SHAPE)
    np.testing.assert_allclose(probs.sum(0), 1, atol=1e-5)
    assert (probs[0, 0] == 1).all()
    assert probs[1:, SHAPE[0] // 2, SHAPE[1] // 2, SHAPE[2] // 2].min() > 0


@pytest.mark.parametrize(
    ("step", "activation"), [({"sigmoid": True}, "sigmoid"), ({"softmax": True}, "softmax")]
)
def test_the_activation_is_that_of_the_bundle(tmp_path, step, activation):
    after = {"_target_": "Compose", "transforms": [{"_target_": "Activationsd", "keys": "pred", **step}]}
    network = write_bundle(tmp_path / "bundle", config(PREPARATION[:2], postprocessing=after))
    values = write_scan(tmp_path / "a.nii.gz")
    bundle = MonaiBundle(tmp_path / "bundle", NAMES, {1: [1, 3], 2: [2]})
    assert bundle.record["activation"] == activation
    probs = bundle.annotate(tmp_path / "a.nii.gz")
    with torch.inference_mode():
        logits = bundle.inferer(torch.from_numpy(values)[None, None], network)[0]
    if activation == "sigmoid":
        score = logits.sigmoid()
        scores = torch.stack([1 - score[1:].amax(0), torch.maximum(score[1], score[3]), score[2]])
        expected = scores / scores.sum(0)
    else:
        p = logits.softmax(0)
        expected = torch.stack([p[0], p[1] + p[3], p[2]])
    np.testing.assert_allclose(probs, expected, atol=1e-5)


def test_a_network_that_takes_class_prompts_is_asked_for_ours(tmp_path):
    torch.manual_seed(0)
    vista = VISTA3D(
        image_encoder=SegResNetDS2(in_channels=1, blocks_down=(1, 1), norm="instance", out_channels=8,
                                   init_filters=8, dsdepth=1),
        point_head=PointMappingSAM(feature_size=8, n_classes=16, last_supported=8),
        class_head=ClassMappingClassify(n_classes=16, feature_size=8, use_mlp=True),
    )  # fmt: skip
    write_bundle(tmp_path / "bundle", config(PREPARATION[:2], network="$@built"), vista)
    path = tmp_path / "bundle" / "configs" / "inference.json"
    content = json.loads(path.read_text())
    torch.save(vista, tmp_path / "vista.pt")
    content["network_def"] = f"$torch.load('{tmp_path / 'vista.pt'}', weights_only=False)"
    path.write_text(json.dumps(content))
    values = write_scan(tmp_path / "a.nii.gz", (16, 16, 16))
    bundle = MonaiBundle(tmp_path / "bundle", NAMES, {1: [5, 3], 2: [7]})
    assert bundle.is_prompted
    probs = bundle.annotate(tmp_path / "a.nii.gz")
    with torch.inference_mode():
        score = vista.eval()(
            torch.from_numpy(values)[None, None], class_vector=torch.tensor([[5], [3], [7]])
        )[:, 0].sigmoid()
    scores = torch.stack([1 - score.amax(0), score[:2].amax(0), score[2]])
    np.testing.assert_allclose(probs, scores / scores.sum(0), atol=1e-4)


@pytest.mark.parametrize(
    ("class_map", "fault"),
    [
        ({1: [1]}, "names nothing for class 2"),
        ({1: [1], 2: [2], 3: [3]}, "there is no class 3"),
        ({1: [1], 2: [1]}, "class 1 comes twice"),
        ({1: [-1], 2: [1]}, "negative"),
    ],
)
def test_class_maps_that_do_not_fit_are_refused(tmp_path, class_map, fault):
    with pytest.raises(InputError, match=fault):
        MonaiBundle(tmp_path, NAMES, class_map)


def test_what_is_no_bundle_is_refused_in_one_line(tmp_path):
    class_map = {1: [1], 2: [2]}

    def annotated(image, **changes):
        arguments = {"class_map": class_map, **changes}
        return MonaiBundle(tmp_path / "bundle", NAMES, **arguments).annotate(image)

    def refused(fault, image=None, **changes):
        with pytest.raises(InputError, match=fault) as refusal:
            annotated(image, **changes)
        assert "\n" not in str(refusal.value)

    refused("is no MONAI bundle")
    write_bundle(tmp_path / "bundle", config())
    write_scan(tmp_path / "a.nii.gz")
    refused("names class 9, the bundle has 4", tmp_path / "a.nii.gz", class_map={1: [9], 2: [1]})
    (tmp_path / "b.nii.gz").write_text("hello")
    refused("the bundle cannot read it", tmp_path / "b.nii.gz")
    refused("no such file", weights=tmp_path / "none.pt")
    refused("does not hold weights", weights=tmp_path / "b.nii.gz")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    refused("does not hold weights", weights=tmp_path / "other.pt")
    path = tmp_path / "bundle" / "configs" / "inference.json"
    path.write_text(json.dumps(config(network={"_target_": "UNet"})))
    refused("'network_def' cannot be built")
    content = config()
    del content["inferer"]
    path.write_text(json.dumps(content))
    refused("has no 'inferer'")


def test_class_maps_are_parsed():
    assert parse_class_map(["0=0", "1=7,8"]) == {0: [0], 1: [7, 8]}
    for text in ("1", "a=1", "1=x", "1="):
        with pytest.raises(InputError, match="is not OURS=THEIRS"):
            parse_class_map([text])
