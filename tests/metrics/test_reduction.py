"""Sums of two processes are those of one that saw all images."""

import pytest
import torch
from torch import distributed, multiprocessing

from medssl.metrics import ReliabilityMetrics

from .test_reliability_summary import random_images


def _work(number, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=3)
    metrics = ReliabilityMetrics(4)
    if number < 2:  # the third process sees no image
        metrics.update(*torch.load(folder / "images.pt")[number])
    metrics.reduce()
    torch.save(metrics.compute(), folder / f"{number}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_add_up(tmp_path):
    images = [random_images(seed, ignored=0.2) for seed in (0, 1)]
    torch.save(images, tmp_path / "images.pt")
    multiprocessing.spawn(_work, (tmp_path,), nprocs=3)
    expected = ReliabilityMetrics(4)
    for pair in images:
        expected.update(*pair)
    for number in range(3):
        assert torch.load(tmp_path / f"{number}.pt") == expected.compute()


def test_one_process_alone_stays_as_it_is():
    metrics = ReliabilityMetrics(4)
    metrics.update(*random_images(3))
    before = metrics.compute()
    metrics.reduce()
    assert metrics.compute() == before
