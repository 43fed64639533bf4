"""What every bundle of the package holds, read as text."""

import json

import pytest
import yaml

from medssl.common.bundles import KINDS, bundle_names, find_bundle
from tests.places import ROOT

CONFIG_FILES = ("metadata.json", "train.yaml", "evaluate.yaml", "inference.yaml", "robustness.yaml")
BUNDLES = [ROOT / "bundles" / name for name in bundle_names()]
each_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)


class Strict(yaml.SafeLoader):
    """YAML keeps the last of two keys and says nothing."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), (node.start_mark, keys)
        return super().construct_mapping(node, deep)


def configs_of(bundle):
    """Every config file of a bundle with its content."""
    paths = sorted((bundle / "configs").rglob("*.yaml"))
    return {
        path.relative_to(bundle / "configs").as_posix(): yaml.safe_load(path.read_text()) for path in paths
    }


@each_bundle
def test_bundle_has_the_files_of_the_specification(bundle):
    for name in (*CONFIG_FILES, "logging.conf", "multi_gpu_train.yaml"):
        assert (bundle / "configs" / name).is_file()
    assert (bundle / "LICENSE").is_file()
    for name in ("README.md", "data_license.txt"):
        assert (bundle / "docs" / name).is_file()


@each_bundle
def test_no_key_stands_twice_in_a_config(bundle):
    for path in (bundle / "configs").rglob("*.yaml"):
        assert isinstance(yaml.load(path.read_text(), Strict), dict), path


@each_bundle
def test_no_part_is_typed_twice(bundle):
    """What train.yaml has as a part, another config refers to, or replaces by something else."""
    configs = configs_of(bundle)
    del configs["inference.yaml"]
    parts = [part for part in parts_of(configs.pop("train.yaml")) if len(part) > 3]
    assert len(parts) > 20
    for name, config in configs.items():
        assert not [part for part in parts_of(config) if part in parts], name


def parts_of(config):
    """Every component of a configuration."""
    if isinstance(config, dict) and "_target_" in config:
        yield config
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from parts_of(value)


@each_bundle
def test_an_overlay_sets_what_train_yaml_has(bundle):
    configs = configs_of(bundle)
    known = set(configs["train.yaml"])
    for name, overlay in configs.items():
        if name.split("/")[0] in KINDS:
            assert {key.split("::")[0] for key in overlay} <= known, name


def test_options_of_both_bundles_have_one_name():
    """Whoever knows one bundle's options knows the other's, but for what scans or images alone have."""
    scans, images = (configs_of(ROOT / "bundles" / name)["train.yaml"] for name in ("tcseg", "natural_image"))
    assert set(scans) - set(images) == {
        *("h5_spacing", "flips", "flip_axes", "lateral_classes"),
        *("width", "dropout", "ramp_share", "ramp_stairs", "oversampling", "plan"),
        *("network_strides", "network_kernels"),
    }
    assert set(images) - set(scans) == {
        *("max_intensity", "resize", "scale_range", "flip_probability", "rescale", "strong_view"),
        *("threshold", "criterion", "head_multiplier", "weight_decay", "weights", "groups", "adamw", "cache"),
    }


@each_bundle
def test_versions_in_the_metadata_are_those_of_the_pinned_packages(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    named = {**metadata["required_packages_version"], "torch": metadata["pytorch_version"]}
    named |= {"numpy": metadata["numpy_version"], "monai": metadata["monai_version"]}
    for name, version in named.items():
        assert pinned.get(name, version) == version, name
    assert {"torch", "numpy", "monai"} <= pinned.keys()


def test_a_bundle_of_the_package_is_found_by_name():
    assert [find_bundle(bundle.name).path for bundle in BUNDLES] == BUNDLES
    assert {bundle.name for bundle in BUNDLES} >= {"tcseg", "natural_image"}
