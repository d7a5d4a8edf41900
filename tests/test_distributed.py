"""Runs on two ranks: they are one run of one process, also when they are killed and go on."""

import multiprocessing
import shutil
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from conftest import end_of, lit_lul, log_folder, metrics, same_theta, wait_for_step
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from poisoned_fit import forked, poisoned_step

from lit_lul.errors import InvalidInput
from lit_lul.training.module import MetaLightningModule
from lit_lul.training.ranks import redistribute

OPTIONS = [
    *("fit", "--config", "tiny.yaml"),
    "--held_out={}",
    "--trainer.limit_val_batches=0",
    "--trainer.enable_progress_bar=false",
    "--trainer.max_steps=4",
    "--trainer.precision=64-true",  # in float32 the order of a sum may decide a relu's side
    "--trainer.log_every_n_steps=2",
    "--checkpoint.every_n_outer_steps=3",
    "--model.optimizer.class_path=torch.optim.SGD",
]
RANKS = ["--trainer.strategy=ddp", "--trainer.devices=2"]
ONE_RANK = ["--data.sizes.cohorts=4"]


FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["lit_lul.cli"])
ERRORS = Path("errors")


def fork(*args: str, **environment: str) -> ForkServerProcess:
    """Start a process of a run, from one that has imported what it needs."""
    values = {"ALL_REDUCES": "all_reduces"} | environment
    process = FORK.Process(target=forked, args=(Path.cwd(), list(args), values, ERRORS))
    process.start()
    return process


def start_two_ranks(*args: str, **environment: str) -> list[ForkServerProcess]:
    """Start both ranks of a run."""
    port = str(find_free_network_port())
    return [fork(*args, *RANKS, LOCAL_RANK=rank, MASTER_PORT=port, **environment) for rank in "01"]


def fit_on_two_ranks(*args: str) -> None:
    """Run both ranks to the end."""
    for process in start_two_ranks(*args):
        process.join(120)
        assert process.exitcode == 0, ERRORS.read_text()


def check_close(one: Path, other: Path) -> None:
    """Check that two runs agree to rounding, in their logs and in θ."""
    rows, expected = metrics(one), metrics(other)
    assert [set(row) for row in rows] == [set(row) for row in expected]
    for row, values in zip(rows, expected, strict=True):
        for name, value in values.items():
            assert float(row[name]) == pytest.approx(float(value), rel=1e-6, abs=1e-9), name
    for name, tensor in end_of(one).items():
        torch.testing.assert_close(tensor, end_of(other)[name], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_two_ranks_are_one_process_with_their_cohorts(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_on_two_ranks(*OPTIONS)
    truncations = [line.split() for line in Path("all_reduces").read_text().splitlines()]
    for rank in "01":
        of_rank = [int(met) for _, number, met in truncations if number == rank]
        assert of_rank == [0, 1, 0, 3] * 2, "one a step; where it is logged a sum and a maximum too"

    killed = start_two_ranks(
        *OPTIONS, "--trainer.max_steps=5", ALL_REDUCES="killed_ranks", HOLD="4"
    )
    wait_for_step(killed[0], log_folder(run_folder, 1), 4)
    for process in killed:
        process.kill()
        process.join(60)
    saved = log_folder(run_folder, 1) / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(saved, weights_only=True)
    assert checkpoint["global_step"] == 3
    shutil.copytree(log_folder(run_folder, 1), run_folder / "killed")

    fit_on_two_ranks(*OPTIONS, "--ckpt_path=last")
    assert metrics(log_folder(run_folder, 1)) == metrics(log_folder(run_folder, 0))
    same_theta(log_folder(run_folder, 1), log_folder(run_folder, 0))

    monkeypatch.setattr(MetaLightningModule, "training_step", poisoned_step)
    lit_lul(*OPTIONS, *ONE_RANK)
    check_close(log_folder(run_folder, 0), log_folder(run_folder, 2))
    restarts = [row["train/cohort_restarts"] for row in metrics(log_folder(run_folder, 2))]
    assert restarts == ["1.0"] * 2

    shutil.rmtree(log_folder(run_folder, 1))
    shutil.move(run_folder / "killed", log_folder(run_folder, 3))
    saved = log_folder(run_folder, 3) / "checkpoints" / "last.ckpt"
    with pytest.raises(InvalidInput, match=r"data\.sizes\.cohorts × ranks 4, not 3"):
        lit_lul(*OPTIONS, "--data.sizes.cohorts=3", "--ckpt_path=last")
    torch.save(checkpoint | {"turn": 1}, saved)
    with pytest.raises(InvalidInput, match="middle of an outer step by 2 ranks"):
        lit_lul(*OPTIONS, *ONE_RANK, "--ckpt_path=last")
    torch.save(checkpoint, saved)
    lit_lul(*OPTIONS, *ONE_RANK, "--ckpt_path=last")
    check_close(log_folder(run_folder, 3), log_folder(run_folder, 2))


@pytest.mark.slow
def test_two_ranks_take_the_rounds_of_one_process(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if one process goes on with what they began; a cohort fails in each round of a step."""
    options = [*OPTIONS, "--data.rounds.last=3", "--data.rounds.over=2"]
    fit_on_two_ranks(*options, "--trainer.max_steps=2")
    truncations = [line.split()[1:] for line in Path("all_reduces").read_text().splitlines()]
    met = [int(times) > 0 for rank, times in truncations if rank == "1"]
    assert met == [False, True, False, False, False, True], "one round, then two"
    monkeypatch.setattr(MetaLightningModule, "training_step", poisoned_step)
    lit_lul(*options, *ONE_RANK, "--ckpt_path=last")
    lit_lul(*options, *ONE_RANK)
    begun, whole = (log_folder(run_folder, run) for run in range(2))
    check_close(begun, whole)
    assert [row["train/cohort_restarts"] for row in metrics(whole)] == ["2.0"] * 2
    counts = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["loops"]["fit_loop"][
            "epoch_loop.batch_progress"
        ]["total"]
        for run in (begun, whole)
    ]
    assert counts[0] == counts[1]


def test_learners_of_labelled_examples_run_on_two_ranks(run_folder: Path) -> None:
    """MAML's gradient is computed within another; their mean is that of one process."""
    maml = [
        *("fit", "--config", "maml.yaml", "--trainer.accelerator=cpu", "--trainer.max_steps=2"),
        *("--trainer.precision=64-true", "--trainer.log_every_n_steps=1"),
        *("--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false"),
        *("--data.sources.glyphs.side=8", "--model.learner.settings.inputs=64"),
        *("--model.learner.settings.channels=4", "--data.sizes.tasks=2"),
        *("--data.sizes.labels_per_class=1", "--data.sizes.queries_per_class=2"),
        "--model.optimizer.class_path=torch.optim.SGD",
    ]
    fit_on_two_ranks(*maml)
    lit_lul(*maml, "--data.sizes.cohorts=2")
    one, two = (run_folder / "runs" / "maml" / f"version_{run}" for run in (0, 1))
    check_close(one, two)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_error_of_one_rank_ends_all_in_one_line(run_folder: Path, rank: str) -> None:
    """Also where this is the process that has started the other, by Lightning's launcher."""
    failing = fork(*OPTIONS, *RANKS, FAIL=rank)
    failing.join(60)
    assert failing.exitcode != 0
    errors = ERRORS.read_text()
    assert errors.count("error: this rank fails\n") == 1
    assert "Traceback" not in errors


def test_sums_are_redistributed() -> None:
    parts = [{"total": torch.tensor([1.0, 2.0])}, {"total": torch.tensor([3.0, 5.0])}]
    assert redistribute(parts, 1, 2)["total"].tolist() == [3, 5]
    assert redistribute(parts, 0, 3)["total"].tolist() == [4, 7]
    assert redistribute(parts, 2, 3)["total"].tolist() == [0, 0]
