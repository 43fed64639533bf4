import json

import pytest
import torch

from medssl.training.cost import peak_memory_mb, seconds_per_step
from tests.training import tiny


def log(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def line(step, epoch, seconds, event="train"):
    return {"event": event, "step": step, "epoch": epoch, "seconds": seconds}


def test_a_step_is_timed_within_epochs_only(tmp_path):
    lines = [line(10, 1, 5.0), line(20, 1, 10.0), line(20, 1, 10.1, "epoch"), line(30, 2, 90.0)]
    lines += [line(30, 2, 95.0, "validation"), line(40, 2, 94.0), line(50, 2, 101.0)]
    assert seconds_per_step(log(tmp_path / "log.jsonl", *lines)) == pytest.approx(0.5)


def test_a_log_that_tells_nothing(tmp_path):
    assert seconds_per_step(tmp_path / "none") is None
    assert seconds_per_step(log(tmp_path / "log.jsonl", line(10, 1, 5.0), line(20, 2, 9.0))) is None


def test_memory_of_this_process_is_plausible():
    before = peak_memory_mb(torch.device("cpu"))
    block = torch.ones(64 * 2**20 // 4 * 4)
    after = peak_memory_mb(torch.device("cpu"))
    assert block.numel()
    assert 50 < before <= after < 200_000


def test_a_run_records_its_cost_and_a_complete_one_keeps_it(tmp_path):
    tiny.train(tmp_path)
    cost = json.loads((tmp_path / "run.json").read_text())["cost"]
    parameters = sum(p.numel() for p in tiny.TinyNet().parameters())
    assert (cost["parameters"], cost["deployed_parameters"]) == (parameters, parameters)
    assert (cost["device"], cost["threads"]) == ("cpu", torch.get_num_threads())
    tiny.train(tmp_path, resume=True)
    assert json.loads((tmp_path / "run.json").read_text())["cost"] == cost
