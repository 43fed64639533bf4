import gzip

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, zoom

from medssl.data import LoadCased
from medssl.data.checks.fingerprints import GRID, coarse_look, content_hash, find_alike

SHAPE = (44, 40, 36)


def scan(seed):
    """Smooth structures with noise."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=SHAPE), 3)
    return (200 * smooth / smooth.std() + rng.normal(0, 20, SHAPE)).round().astype(np.int16)


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]


def load(path):
    return LoadCased("image").volume([path], "image").as_tensor()


def save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def test_hash_outlives_compression_name_type_header_and_format(tmp_path):
    array = scan(0)
    first = save(tmp_path / "a.nii.gz", array)
    again = tmp_path / "b.nii.gz"
    again.write_bytes(gzip.compress(gzip.decompress(first.read_bytes()), 1))
    others = [
        again,
        save(tmp_path / "c.nii", array),
        save(tmp_path / "d.nii.gz", array.astype(np.float64), np.diag([2.0, -3, 4, 1])),
        save(tmp_path / "e.nii.gz", array.astype(">i2")),
    ]
    assert {content_hash(load(path)) for path in others} == {content_hash(load(first))}


def test_hash_tells_one_voxel_the_shape_and_the_sign_of_zero_apart_rightly():
    image = tensor(scan(0))
    changed = image.clone()
    changed[0, 3, 3, 3] += 1
    assert content_hash(changed) != content_hash(image)
    assert content_hash(image.reshape(1, 40, 44, 36)) != content_hash(image)
    assert content_hash(torch.zeros(1, 2, 2, 2)) == content_hash(-torch.zeros(1, 2, 2, 2))
    assert content_hash(image[:, ::2]) == content_hash(image[:, ::2].contiguous())


def test_look_is_blind_to_increasing_maps_of_intensity_and_to_padding():
    image = tensor(scan(1))
    look = coarse_look(image)
    assert look.shape == (GRID,) * 3
    assert (float(look.min()), float(look.max())) == (0.0, 1.0)
    assert torch.equal(coarse_look(image * 2 - 4096), look)
    padded = torch.nn.functional.pad(image, (3, 4, 5, 6, 7, 8), value=float(image.min()) - 1)
    assert torch.equal(coarse_look(padded), look)


CHANGES = {
    "rescaled": lambda x: x * 0.37 + 12,
    "gamma": lambda x: ((x - x.min()) / (x.max() - x.min())) ** 0.7,
    "clipped": lambda x: x.clip(*np.percentile(x, (3, 97))),
    "noisy": lambda x: x + np.random.default_rng(9).normal(0, 20, x.shape),
    "coarser": lambda x: zoom(x.astype(np.float32), 0.6, order=1),
    "flipped": lambda x: x[::-1, :, ::-1],
    "turned": lambda x: x.transpose(2, 0, 1),
    "padded": lambda x: np.pad(x, 5, constant_values=x.min()),
    "cropped": lambda x: x[3:42, 1:38, 4:36],
    "corner": lambda x: x[8:, :33, 6:],
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_changed_scan_is_found_among_others(change):
    looks = [coarse_look(tensor(scan(seed))) for seed in range(8)]
    looks.append(coarse_look(tensor(CHANGES[change](scan(3)))))
    pairs = [(pair.first, pair.second) for pair in find_alike(looks)]
    assert pairs == [(3, 8)]


@pytest.mark.slow
def test_different_scans_are_far_below_the_threshold():
    looks = [coarse_look(tensor(scan(seed))) for seed in range(20)]
    assert find_alike(looks) == []
    highest = find_alike(looks, threshold=-1)[0].similarity
    assert highest < 0.6


def test_similarity_is_one_for_itself_and_the_list_is_sorted():
    look, other = coarse_look(tensor(scan(0))), coarse_look(tensor(scan(1)))
    pairs = find_alike([look, other, look], threshold=-1)
    assert pairs[0][:2] == (0, 2)
    assert pairs[0].similarity == pytest.approx(1, abs=1e-5)
    assert [pair.similarity for pair in pairs] == sorted((p.similarity for p in pairs), reverse=True)
    assert find_alike([look]) == []


def test_tiny_and_thin_volumes_have_a_look():
    for shape in ((2, 2, 2), (3, 50, 7)):
        image = torch.arange(float(np.prod(shape))).reshape(1, *shape)
        assert torch.isfinite(coarse_look(image)).all()
