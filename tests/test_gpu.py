"""What a GPU must do as a CPU does; skipped where there is none. About a minute on one."""

import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lit_lul, log_folder, metrics
from torch import Tensor

from lit_lul.estimators import PersistentES, TruncatedBackprop, Truncation
from lit_lul.estimators.estimator import Estimator
from lit_lul.learners import (
    Learner,
    LocalRule,
    LocalSettings,
    PrototypeRule,
    UnsupervisedUpdate,
)
from lit_lul.learners.metz import UpdateSettings
from lit_lul.networks import MLPs
from lit_lul.objectives import FewShotRidge
from lit_lul.tasks import GlyphTasks, TaskSource
from lit_lul.tasks.schedules import ProblemLength, UnrollLength
from lit_lul.tasks.sizes import Sizes
from lit_lul.tasks.stream import TaskStream
from lit_lul.tasks.transforms import Permutation
from lit_lul.training.truncations import Needs, realise
from lit_lul.trees import tensors_of, to_device

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SMALL: dict[str, Any] = {"hidden_channels": 8, "error_channels": 4, "top_channels": 8}
ON_GPU = ["--trainer.accelerator=gpu", "--trainer.devices=1"]


def make_learner(name: str) -> Learner:
    """A learner by name, the same every time."""
    torch.manual_seed(0)
    if name == "hebbian":
        return LocalRule(LocalSettings())
    if name == "competitive":
        return PrototypeRule()
    return UnsupervisedUpdate(UpdateSettings(**SMALL, inner_rate=0.03))


def truncations(count: int, device: torch.device, dtype: torch.dtype) -> list[Truncation]:
    """Truncations of permuted characters, which draw nothing on the device."""
    sizes = Sizes(cohorts=1, tasks=2, batch_size=16, labels_per_class=3, draws=2)
    source, _ = GlyphTasks(side=8, ways=[5], transforms=[Permutation()]).load("glyphs", None)
    lengths = UnrollLength((3, 3), (3, 3), 1), ProblemLength(90, 90, 1, 0)
    sources: list[TaskSource] = [source]
    stream = TaskStream(sources, MLPs((1, 1), (12, 12)), sizes, *lengths, 32, seed=0)
    return [realise(plan.to(device), Needs(device, dtype)) for plan in islice(stream, count)]


def start(learner: Learner, batch: Truncation, device: torch.device) -> Any:
    """The same state on every device, drawn on the CPU."""
    generator = torch.Generator().manual_seed(1)
    cpu = deepcopy(learner).cpu()
    network = cpu.network_for(batch.network)
    return to_device(cpu.start(network, 2, generator), device)


@pytest.mark.parametrize("name", ["update", "hebbian", "competitive"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_step_and_gradient_agree_with_the_cpu(name: str, dtype: torch.dtype) -> None:
    outcomes = []
    for device in (CPU, CUDA):
        learner = make_learner(name).to(device, dtype)
        learner.prepare(compile=False)
        (batch,) = truncations(1, device, dtype)
        carry = start(learner, batch, device)
        network = learner.network_for(batch.network)
        truncation = replace(batch, network=network)
        outcome = TruncatedBackprop()(learner, FewShotRidge(), carry, truncation)
        outcomes.append([outcome.gradient.cpu(), *(t.cpu() for _, t in tensors_of(outcome.carry))])
    rtol, atol = (1e-7, 1e-9) if dtype == torch.float64 else (1e-3, 1e-4)
    for i, (cpu, gpu) in enumerate(zip(*outcomes, strict=True)):
        if i == 0 and dtype == torch.float32:
            assert torch.cosine_similarity(cpu, gpu, dim=0) > 0.999
        else:
            torch.testing.assert_close(cpu, gpu, rtol=rtol, atol=atol)


def test_hidden_states_keep_the_type_of_autocast() -> None:
    learner = make_learner("update").to(CUDA)
    assert isinstance(learner, UnsupervisedUpdate)
    (batch,) = truncations(1, CUDA, torch.float32)
    state = start(learner, batch, CUDA)
    with torch.autocast("cuda", torch.bfloat16), torch.no_grad():
        x = next(iter(batch.batches)).x
        activations = batch.network.activations(state["params"], x)
        _, h = learner.propagate(state, activations)
    assert {t.dtype for t in h} == {torch.bfloat16}


@pytest.mark.parametrize("estimator", [TruncatedBackprop(), PersistentES()])
def test_no_host_synchronisation_within_a_truncation(estimator: Estimator) -> None:
    learner, objective = make_learner("update").to(CUDA), FewShotRidge()
    learner.prepare(compile=False)
    first, second = truncations(2, CUDA, torch.float32)
    carry = estimator(learner, objective, None, first).carry  # compiles, warms up
    estimator(learner, objective, carry, second)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        outcome = estimator(learner, objective, carry, second)
        fresh = estimator(learner, objective, None, first)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert outcome.gradient.isfinite().all() and fresh.gradient.isfinite().all()


def theta_of(folder: Path) -> Tensor:
    """θ at the end of a run."""
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    state = checkpoint["state_dict"]
    return torch.cat([t.flatten() for name, t in state.items() if name.startswith("learner.")])


def test_a_run_resumes_on_the_gpu(run_folder: Path) -> None:
    options = ["fit", "--config", "tiny.yaml", *ON_GPU]
    lit_lul(*options, "--trainer.max_steps=2")
    lit_lul(*options, "--ckpt_path=last")
    lit_lul(*options)
    first, second = (log_folder(run_folder, version) for version in range(2))
    torch.testing.assert_close(theta_of(first), theta_of(second), rtol=1e-3, atol=1e-5)
    assert [row["step"] for row in metrics(first)] == [row["step"] for row in metrics(second)]


def test_a_checkpoint_of_the_gpu_resumes_on_the_cpu(run_folder: Path) -> None:
    lit_lul("fit", "--config", "tiny.yaml", *ON_GPU, "--trainer.max_steps=2")
    lit_lul("fit", "--config", "tiny.yaml", "--ckpt_path=last")
    assert theta_of(log_folder(run_folder)).isfinite().all()


def test_nccl_with_one_rank(run_folder: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    options = ["fit", "--config", "tiny.yaml", *ON_GPU, "--held_out={}"]
    done = subprocess.run(
        [*torchrun, "-m", "lit_lul", *options, "--trainer.strategy=ddp"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lit_lul(*options)
    same_steps = [[row["step"] for row in metrics(log_folder(run_folder, v))] for v in range(2)]
    assert same_steps[0] == same_steps[1]
    torch.testing.assert_close(
        theta_of(log_folder(run_folder, 0)),
        theta_of(log_folder(run_folder, 1)),
        rtol=1e-3,
        atol=1e-5,
    )
