"""What a checkpoint holds of every rank, and what a rank goes on from."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.estimators.estimator import Carry
from lit_lul.training.ranks import gather
from lit_lul.trees import to_device


def join_ranks(
    cohorts: Mapping[int, Carry], sums: Mapping[str, Tensor], turn: int
) -> dict[str, Any]:
    """What rank 0 saves of all ranks, as plain values. All ranks call it together.

    Args:
        cohorts: what this rank's cohorts carry, by number.
        sums: what this rank has a part of and all together the whole, by name.
        turn: cohorts of every rank that have had their truncation of the current outer step.
    """
    mine: dict[str, dict[Any, Any]] = {
        "cohorts": to_device(dict(cohorts), torch.device("cpu")),
        "sums": {name: value.cpu() for name, value in sums.items()},
    }
    ranks = gather(mine)
    return {
        "cohorts": {c: carry for rank in ranks for c, carry in rank["cohorts"].items()},
        "sums": [rank["sums"] for rank in ranks],
        "turn": turn,
    }


def own_part(
    source: str, checkpoint: dict[str, Any], size: int, rank: int, ranks: int
) -> tuple[dict[int, Carry], dict[str, Tensor], int]:
    """What a rank goes on from, of a checkpoint of as many cohorts in total.

    Of another number of ranks, Lightning's count of truncations in the checkpoint is changed to
    what it would be of this number.

    Args:
        source: what errors call the checkpoint.
        checkpoint: what `join_ranks` gave, within Lightning's checkpoint.
        size: cohorts of every rank.
        rank: the one that goes on.
        ranks: how many go on.

    Returns:
        Its cohorts, sums and turn, as in `join_ranks`.

    Raises:
        InvalidInput: for another number of ranks in the middle of an outer step.
    """
    before, turn = len(checkpoint["sums"]), checkpoint["turn"]
    if before != ranks:
        if turn:
            raise InvalidInput(
                f"{source}: saved in the middle of an outer step by {before} ranks, expected as "
                f"many now, not {ranks}"
            )
        more = checkpoint["global_step"] * (size - size * ranks // before)
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            counts.update({name: count + more for name, count in counts.items()})
    cohorts = {
        cohort: carry for cohort, carry in checkpoint["cohorts"].items() if cohort // size == rank
    }
    return cohorts, redistribute(checkpoint["sums"], rank, ranks), turn


def redistribute(
    sums: Sequence[dict[str, Tensor]], rank: int, world_size: int
) -> dict[str, Tensor]:
    """What a rank goes on from, of sums that every rank of an earlier run held a part of.

    With as many ranks as before each has its own part back; with another number, rank 0 has the
    whole and the others start at zero.

    Args:
        sums: the parts by name, (...) each, by rank.
        rank: the one that goes on.
        world_size: ranks that go on.
    """
    if len(sums) == world_size:
        return sums[rank]
    whole = {name: torch.stack([part[name] for part in sums]).sum(0) for name in sums[0]}
    return whole if rank == 0 else {name: torch.zeros_like(t) for name, t in whole.items()}
