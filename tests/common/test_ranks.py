"""Two processes on the CPU against one process that sees both batches."""

import copy

import pytest
import torch
from torch import distributed, multiprocessing

from medssl.common.errors import InputError
from medssl.common.ranks import gather, on_first_rank, rank, world_size
from medssl.methods.base import Batch
from medssl.training.checkpointer import Checkpointer
from medssl.training.checkpoints import restore
from medssl.training.runs import start_run
from tests.training import tiny
from tests.training.test_resume import assert_same
from tests.training.test_runs import RUN
from tests.training.test_trainer import Plain, batches, loop, make

pytestmark = pytest.mark.slow


def _refused(folder):
    try:
        start_run(folder / "run", **RUN)
    except InputError as error:
        return str(error)
    return None


def _work(number, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=2)
    results = {"gathered": gather(number * 10), "first": on_first_rank(lambda: rank())}

    # Different weights in the beginning: those of the first process count.
    torch.manual_seed(number)
    method = Plain()
    trainer = make(method, batches()[number::2], max_epochs=1)
    trainer.run()
    results["plain"] = method.state_dict()

    # Randomness, normalisation buffers, checkpoints.
    start_run(folder / "run", **RUN)
    on_first_rank((folder / "run" / "log.jsonl").touch)
    results["refused"] = _refused(folder)
    straight = tiny.make_trainer(seed=number)
    Checkpointer(folder / "a").attach(straight)
    straight.run()
    results["tiny"] = straight.method.state_dict()
    first = tiny.make_trainer(seed=number)
    first.add_event_handler(tiny.Events.EPOCH_COMPLETED(once=2), lambda engine: engine.terminate())
    Checkpointer(folder / "b").attach(first)
    first.run()
    distributed.barrier()
    second = tiny.make_trainer(seed=7)
    restore(folder / "b/last.pt", trainer=second)
    Checkpointer(folder / "b").attach(second)
    second.run()
    results["resumed"] = second.method.state_dict()
    torch.save(results, folder / f"{number}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    multiprocessing.spawn(_work, args=(folder,), nprocs=2)
    return folder, [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(2)]


def test_both_processes_hold_the_same_weights(both):
    _, (a, b) = both
    for name in ("plain", "tiny", "resumed"):
        assert_same(a[name], b[name])


def test_gradients_are_averaged(both):
    """Three steps equal those of one process that averages the losses of both batches."""
    torch.manual_seed(0)
    method = Plain()

    class Average(Plain):
        def training_step(self, batch, step):
            halves = [self.pair[step * 2], self.pair[step * 2 + 1]]
            losses = [
                Plain.training_step(self, Batch(h["image"], h["label"], h["unlabeled"]), step)["loss"]
                for h in halves
            ]
            return {"loss": sum(losses) / 2}

    reference = Average(copy.deepcopy(method.network))
    reference.pair = batches()
    loop(reference, batches()[:3])
    for (name, a), b in zip(reference.state_dict().items(), both[1][0]["plain"].values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


def test_keys_are_those_of_one_process(both):
    assert list(both[1][0]["tiny"]) == list(tiny.make_trainer().method.state_dict())


def test_each_process_has_its_own_random_state_and_resumes_exactly(both):
    folder, (a, _) = both
    straight, resumed = (torch.load(folder / name / "last.pt", weights_only=True) for name in "ab")
    assert len(straight["rng"]) == 2
    assert not torch.equal(straight["rng"][0]["torch"], straight["rng"][1]["torch"])
    assert_same(straight, resumed)
    assert_same(a["tiny"], a["resumed"])


def test_a_checkpoint_of_two_processes_is_not_resumed_by_one(both):
    with pytest.raises(InputError, match=r"2 process\(es\); resume as that and not as .* 1 process"):
        restore(both[0] / "a/last.pt", trainer=tiny.make_trainer())


def test_what_the_first_process_does_or_refuses_holds_for_all(both):
    folder, results = both
    assert [result["gathered"] for result in results] == [[0, 10], [0, 10]]
    assert [result["first"] for result in results] == [0, 0]
    assert (folder / "run/run.json").exists()
    assert all("holds a run already" in result["refused"] for result in results)


def test_one_process_needs_no_group():
    assert (rank(), world_size(), gather(3), on_first_rank(lambda: 4)) == (0, 1, [3], 4)
    with pytest.raises(ZeroDivisionError):
        on_first_rank(lambda: 1 / 0)
