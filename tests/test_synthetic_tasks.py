"""Synthetic tasks, and unlabelled rows of other classes and unlike frequency."""

import numpy as np
import pytest
import torch

from lit_lul.data.prior import World, draw_world
from lit_lul.data.prior.maps import MAPS
from lit_lul.data.prior.world import is_useful
from lit_lul.errors import InvalidInput
from lit_lul.tasks import SyntheticTasks
from lit_lul.tasks.class_tasks import draw_members
from lit_lul.tasks.sizes import ProblemSizes, Sizes
from lit_lul.tasks.source import Seeds

CPU = torch.device("cpu")
SEEDS = Seeds([0, 1], [0, 2])


def test_every_kind_of_world_gives_rows_in_bounds_again_and_again() -> None:
    kinds = set()
    for seed in range(30):
        world = World(6, 20, np.random.default_rng(seed))
        kinds.add(world.kind)
        members = torch.arange(6).repeat(10)
        first, again = (world(members, torch.Generator().manual_seed(0)) for _ in range(2))
        assert first.shape == (60, 20)
        assert first.isfinite().all() and first.min() >= 0 and first.max() <= 1
        assert torch.equal(first, again)
    assert kinds == set(MAPS)


def test_worlds_differ_in_their_rows() -> None:
    means = torch.stack(
        [
            World(4, 16, np.random.default_rng(seed))(
                torch.arange(4).repeat(50), torch.Generator().manual_seed(0)
            ).mean()
            for seed in range(12)
        ]
    )
    assert means.std() > 0.05


def test_worlds_that_raw_inputs_solve_or_nothing_can_are_useless() -> None:
    def solved(members: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.eye(4)[members]

    def hopeless(members: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.rand(len(members), 8, generator=generator)

    def ring(members: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        x = torch.randn(len(members), 8, generator=generator)
        return torch.nn.functional.normalize(x) * (1 + members[:, None])

    assert not is_useful(solved, 4, 0)
    assert not is_useful(hopeless, 4, 0)
    assert is_useful(ring, 2, 0)


def test_drawn_worlds_are_mostly_useful() -> None:
    worlds = [draw_world(6, 30, 6, np.random.default_rng(seed)) for seed in range(12)]
    assert sum(is_useful(world, 6, 1) for world in worlds) >= 10


def test_plans_become_rows_of_the_family() -> None:
    source, validation = SyntheticTasks(inputs=[8, 12], ways=(2, 4)).load("synthetic", None)
    assert validation is not None
    assert [f.inputs for f in source.families] == [8, 12]
    sizes = ProblemSizes(tasks=3, batch_size=5, labels_per_class=2, draws=2, classes=3.0)
    plan = source.plan(source.families[1], 10, sizes, SEEDS)
    batches, labelled = source.realise(plan, CPU)
    xs = torch.stack([batch.x for batch in batches])
    assert xs.shape == (10, 3, 5, 12)
    ways = labelled.support_y.shape[-1]
    assert 2 <= ways <= 4 and labelled.support_x.shape == (2, 3, 2 * ways, 12)
    assert plan["members"].max() >= ways  # classes that no label has
    assert torch.equal(labelled.support_y.sum(-2), torch.full((2, 3, ways), 2.0))
    rows = torch.cat([labelled.support_x, labelled.query_x], -2)
    assert (torch.cdist(rows[0, 0], rows[0, 0]) + torch.eye(4 * ways)).min() > 0  # none twice
    again, _ = source.realise(source.plan(source.families[1], 10, sizes, SEEDS), CPU)
    assert torch.equal(torch.stack([batch.x for batch in again]), xs)


def test_truncations_of_a_problem_share_the_generators() -> None:
    source, _ = SyntheticTasks(inputs=[6], ways=(3, 3)).load("synthetic", None)
    sizes = ProblemSizes(tasks=2, batch_size=400, labels_per_class=2, draws=1)
    one, other, new = (
        torch.cat(
            [b.x for b in source.realise(source.plan(source.families[0], 1, sizes, s), CPU)[0]]
        )
        for s in (SEEDS, Seeds([0, 1], [0, 3]), Seeds([1, 1], [0, 2]))
    )
    assert not torch.equal(one, other)
    near, far = ((one.mean(1) - x.mean(1)).abs().max() for x in (other, new))
    assert near < 0.1 < far


def test_sizes_are_drawn_within_bounds() -> None:
    sizes = Sizes(batch_size=(32, 128), labels_per_class=(1, 20), other_classes=9, class_skew=1)
    rng = np.random.default_rng(0)
    drawn = [sizes.sample(rng) for _ in range(500)]
    assert {d.labels_per_class for d in drawn} == set(range(1, 21))
    assert min(d.batch_size for d in drawn) == 32 and max(d.batch_size for d in drawn) == 128
    assert 1 <= min(d.classes for d in drawn) < 1.2 and 9 < max(d.classes for d in drawn) <= 10
    assert max(d.class_skew for d in drawn) <= 1


def test_classes_have_their_frequencies() -> None:
    weights = np.array([[1.0, 3.0], [4.0, 1.0]])
    members = draw_members(weights, (10, 2, 500), np.random.default_rng(0))
    np.testing.assert_allclose(members.mean((0, 2)), [0.75, 0.2], atol=0.03)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: SyntheticTasks(ways=(5, 3)), r"\(5, 3\)"),
        (lambda: Sizes(batch_size=(8, 4)), r"\(8, 4\)"),
    ],
)
def test_bad_settings_are_named(make, named: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidInput, match=named):
        make()
