"""Communication between the ranks of a run, and the state of all of them in one checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.estimators.estimator import Carry
from lit_lul.tasks.schedules import Rounds
from lit_lul.trees import to_device

T = TypeVar("T")


def reduce(value: Tensor, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
    """All-reduce of every rank's value (...), by default the sum; overwrites `value`."""
    if dist.is_initialized():
        dist.all_reduce(value, op)
    return value


def gather(value: T) -> list[T]:
    """All ranks' values on rank 0, by rank; an empty list on others. All ranks must call it.

    Tensors within the value should be on the CPU.
    """
    if not dist.is_initialized():
        return [value]
    group = dist.new_group(backend="gloo")
    values: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values, dst=0, group=group)
    dist.destroy_process_group(group)
    return values or []


def join_ranks(
    cohorts: Mapping[int, Carry], sums: Mapping[str, Tensor], turn: int
) -> dict[str, Any]:
    """The state of all ranks on rank 0, as plain values. All ranks must call it.

    They are its cohorts' carries, its parts of sums, and the truncations of this outer step so far.
    """
    ranks = gather(to_device((dict(cohorts), dict(sums)), torch.device("cpu")))
    return {
        "cohorts": {cohort: carry for own, _ in ranks for cohort, carry in own.items()},
        "sums": [own for _, own in ranks],
        "turn": turn,
    }


def own_part(
    source: str, checkpoint: dict[str, Any], size: int, rounds: Rounds, rank: int, ranks: int
) -> tuple[dict[int, Carry], dict[str, Tensor], int]:
    """The part of a checkpoint that one rank resumes from; the total of cohorts must be the same.

    If the number of ranks or the rounds differ, Lightning's count of truncations in the checkpoint
    is changed to what it would be with the new numbers.

    Args:
        source: name of the checkpoint in errors.
        checkpoint: Lightning's checkpoint, with the items of `join_ranks`.
        size: cohorts per rank.
        rounds: rounds of the outer steps.
        rank: the rank that resumes, of `ranks`.
        ranks: their number.

    Returns:
        Its cohorts, sums and turn, as in `join_ranks`.

    Raises:
        InvalidInput: when another number of ranks saved it in the middle of an outer step.
    """
    before, turn = len(checkpoint["sums"]), checkpoint["turn"]
    if turn and before != ranks:
        raise InvalidInput(
            f"{source}: saved in the middle of an outer step by {before} ranks, expected as "
            f"many now, not {ranks}"
        )
    outer_step = checkpoint["global_step"]
    in_last_round = size * (rounds.at(outer_step) - 1) + turn % size
    done = size * rounds.before(outer_step) + min(turn, in_last_round)
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    more = done - progress["total"]["ready"]
    for counts in (progress["total"], progress["current"]):
        counts.update({name: count + more for name, count in counts.items()})
    cohorts = {
        cohort: carry for cohort, carry in checkpoint["cohorts"].items() if cohort // size == rank
    }
    return cohorts, redistribute(checkpoint["sums"], rank, ranks), turn


def redistribute(
    sums: Sequence[dict[str, Tensor]], rank: int, world_size: int
) -> dict[str, Tensor]:
    """The parts of sums, one dict for each rank that saved, that one rank resumes with.

    If the number of ranks is unchanged, each gets its own parts back; otherwise rank 0 gets the
    totals and the others zeros.
    """
    if len(sums) == world_size:
        return sums[rank]
    whole = {name: torch.stack([part[name] for part in sums]).sum(0) for name in sums[0]}
    return whole if rank == 0 else {name: torch.zeros_like(t) for name, t in whole.items()}
