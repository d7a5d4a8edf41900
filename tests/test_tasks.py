"""Sources of tasks, and the stream of cohorts."""

from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any, get_args

import numpy as np
import pytest
import torch

from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import LearnsFrom
from lit_lul.networks import MLP, MLPs
from lit_lul.tasks.class_tasks import ClassTasks, distinct
from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.plan import Plan
from lit_lul.tasks.schedules import ProblemLength, Rounds, UnrollLength, Weight, WeightSchedule
from lit_lul.tasks.sizes import Sizes
from lit_lul.tasks.source import STEPS_AT_ONCE, Seeds, Source, TaskSource
from lit_lul.tasks.stream import TaskStream, strata
from lit_lul.tasks.synthetic_tasks import SyntheticTasks
from lit_lul.tasks.transforms import Permutation, Placement
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.truncations import Needs, realise
from lit_lul.trees import tensors_of

SIDE = 6
CPU = torch.device("cpu")
SIZES = Sizes(cohorts=3, tasks=4, batch_size=7, labels_per_class=3, draws=2)
PROBLEM = SIZES.sample(np.random.default_rng(0))


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Eight classes of unlike sizes; every image shows its own row number."""
    sizes = torch.tensor([8, 9, 10, 11, 12, 13, 14, 15])
    start = torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])
    rows = torch.arange(int(start[-1]), dtype=torch.uint8)
    return ImageSet(rows.view(-1, 1, 1, 1).repeat(1, 1, SIDE, SIDE), start, tuple("abcdefgh"))


def sources(images: ImageSet) -> list[TaskSource]:
    """Grey images with tasks of 3 and of 5 classes, and colour ones."""
    colour = ImageSet(
        images.images[:, :, :4, :4].repeat(1, 3, 1, 1), images.class_start, images.class_names
    )
    transforms = [Placement(turned=0.5, shifted=0.25, max_shift=2.0), Permutation()]
    return [
        ClassTasks("grey", images, range(7), [3, 5], 8.0, transforms),
        ClassTasks("colour", colour, range(4), [3], 2.0, transforms),
    ]


def make_stream(images: ImageSet, **changes: Any) -> TaskStream:
    """A stream of three cohorts."""
    arguments: dict[str, Any] = {
        "sources": sources(images),
        "networks": MLPs((1, 3), (4, 9)),
        "sizes": SIZES,
        "unroll_length": UnrollLength((2, 4), (2, 4), 1),
        "problem_length": ProblemLength(9, 9, 1, 0.3),
        "embedding_units": 5,
        "seed": 1,
    }
    return TaskStream(**(arguments | changes))


def plans(stream: TaskStream, n: int) -> list[Plan]:
    """The next n truncations."""
    return list(islice(stream, n))


def same(a: Plan, b: Plan) -> bool:
    """Whether two plans are equal in all but the cohort's number."""
    tensors = zip(tensors_of(a.content), tensors_of(b.content), strict=True)
    return (a.network, a.start_seed, a.noise_seed, a.age) == (
        b.network,
        b.start_seed,
        b.noise_seed,
        b.age,
    ) and all(n == m and torch.equal(x, y) for (n, x), (m, y) in tensors)


def steps_of(plan: Plan) -> int:
    """U."""
    return len(plan.content["rows"])


def test_cohorts_take_turns_and_age(images: ImageSet) -> None:
    taken = plans(make_stream(images), 60)
    assert [plan.cohort for plan in taken] == [0, 1, 2] * 20
    for cohort in range(3):
        own = taken[cohort::3]
        assert own[0].fresh
        assert any(plan.fresh for plan in own[1:])
        for before, after in pairwise(own):
            if after.fresh:
                assert after.age == 0
                assert after.start_seed != before.start_seed
            else:
                assert after.age == before.age + steps_of(before)
                assert (after.network, after.family) == (before.network, before.family)
                drawn = [dict(tensors_of(plan.content["transforms"])) for plan in (before, after)]
                assert all(torch.equal(drawn[0][name], t) for name, t in drawn[1].items())
                assert not torch.equal(before.content["rows"][0], after.content["rows"][0])
                assert after.noise_seed != before.noise_seed


def test_stream_resumes_from_its_state(images: ImageSet) -> None:
    stream = make_stream(images)
    whole = plans(stream, 20)
    assert stream.state_dict()["slots"] == [], "fetched ahead, not used"
    stream.used(whole[10])
    resumed = make_stream(images)
    resumed.load_state_dict(stream.state_dict())
    assert all(same(a, b) for a, b in zip(whole[11:], plans(resumed, 9), strict=True))


def test_cohorts_keep_their_family_when_weights_change(images: ImageSet) -> None:
    stream = make_stream(images)
    before = plans(stream, 3)
    stream.used(before[-1])
    grey, colour = sources(images)
    grey.families = [family._replace(weight=1e-6) for family in grey.families]
    other = make_stream(images, sources=[grey, colour])
    other.load_state_dict(stream.state_dict())
    for old, new in zip(before, plans(other, 3), strict=True):
        if not new.fresh:
            assert new.family == old.family
    gone = make_stream(images, sources=[colour])
    gone.load_state_dict(stream.state_dict())
    names = [stream.families[plan.family] for plan in before]
    for name, plan in zip(names, plans(gone, 3), strict=True):
        assert plan.fresh or name.startswith("colour"), "a family that is gone ends its problems"


def test_seed_and_rank_determine_the_data(images: ImageSet) -> None:
    whole = plans(make_stream(images, sizes=Sizes(4, 4, 7, 3, 2)), 8)
    ranks = [
        plans(make_stream(images, sizes=Sizes(2, 4, 7, 3, 2), rank=rank, world=2), 4)
        for rank in (0, 1)
    ]
    together = [ranks[0][0], ranks[0][1], ranks[1][0], ranks[1][1]]
    assert all(same(a, b) for a, b in zip(whole[:4], together, strict=True))
    other = plans(make_stream(images, seed=2), 1)[0]
    assert not same(other, plans(make_stream(images), 1)[0])


def test_cohorts_of_an_outer_step_take_as_many_inner_steps(images: ImageSet) -> None:
    steps = [steps_of(plan) for plan in plans(make_stream(images), 60)]
    assert steps[0::3] == steps[1::3] == steps[2::3]
    assert set(steps) == {2, 3, 4}


def test_rounds_of_an_outer_step_draw_their_inner_steps_anew(images: ImageSet) -> None:
    taken = plans(make_stream(images, rounds=Rounds(2, 2)), 60)
    assert [plan.cohort for plan in taken] == [0, 1, 2] * 20
    turns = [(plan.after.outer_step, plan.after.turn) for plan in taken if plan.after]
    assert turns[:7] == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 0), (1, 1)]
    steps = [steps_of(plan) for plan in taken]
    assert steps[0::3] == steps[1::3] == steps[2::3]
    assert steps[0::6] != steps[3::6]
    single = [steps_of(plan) for plan in plans(make_stream(images), 30)]
    assert steps[0::6] == single[0::3], "the first round is that of an outer step of one"


@pytest.mark.parametrize(("now", "further"), [(Rounds(), 1), (Rounds(3, 3), 4), (Rounds(4, 4), 7)])
def test_outer_step_resumed_with_other_rounds_ends_with_a_round(
    images: ImageSet, now: Rounds, further: int
) -> None:
    stream = make_stream(images, rounds=Rounds(3, 3))
    stream.used(plans(stream, 5)[-1])
    resumed = make_stream(images, rounds=now)
    resumed.load_state_dict(stream.state_dict())
    taken = plans(resumed, further + 1)
    assert [plan.cohort for plan in taken] == [(5 + n) % 3 for n in range(further + 1)]
    assert [plan.after.outer_step for plan in taken if plan.after] == [0] * (further - 1) + [1] * 2


@pytest.mark.parametrize("total", [1, 2, 3, 6, 12, 15])
def test_strata_cover_every_pair_of_choices_once(total: int) -> None:
    quantiles = (np.arange(60) + 0.5) / 60
    density = np.zeros((60, 60))
    for network, family in strata(total):
        chosen, kind = ((low <= quantiles) & (quantiles < high) for low, high in (network, family))
        density += np.outer(chosen / chosen.sum(), kind / kind.sum())
    np.testing.assert_allclose(density, total / 60**2)


def test_strata_give_every_rank_as_much() -> None:
    for ranks, cohorts in ((2, 8), (4, 4), (8, 8)):
        middle = np.array([[sum(part) / 2 for part in s] for s in strata(ranks * cohorts)])
        of_rank = middle.reshape(ranks, cohorts, 2).mean(axis=1)
        np.testing.assert_allclose(of_rank[:, 0], 0.5, atol=0.5 / cohorts)
        np.testing.assert_allclose(of_rank[:, 1], 0.5)


def test_networks_are_uniform_and_sorted_by_cost() -> None:
    networks = [MLPs((1, 3), (4, 9)).at((i + 0.5) / 36, 10, 5) for i in range(36)]
    assert Counter(network.sizes for network in networks) == {
        (10, *[units] * layers, 5): 2 for layers in (1, 2, 3) for units in range(4, 10)
    }
    costs = [network.cost for network in networks]
    assert costs == sorted(costs)
    assert MLP((10, 4, 5)).cost == pytest.approx(19 + 60 / 1000)


def test_families_have_their_shares(images: ImageSet) -> None:
    stream = make_stream(images, problem_length=ProblemLength(1, 1, 1, 0))
    counts = Counter(stream.families[plan.family] for plan in plans(stream, 900))
    assert set(counts) == {"grey-3", "grey-5", "colour-3"}
    shares = [counts[name] / 900 for name in ("grey-3", "grey-5", "colour-3")]
    np.testing.assert_allclose(shares, [0.4, 0.4, 0.2], atol=0.05)


def test_families_have_their_shares_of_the_outer_step(images: ImageSet) -> None:
    grey, colour = sources(images)
    fading = ClassTasks("grey", images, range(7), [3, 5], WeightSchedule(8.0, 0.0, 150), [])
    once = ProblemLength(1, 1, 1, 0)
    stream = make_stream(images, sources=[fading, colour], problem_length=once)
    names = [stream.families[plan.family] for plan in plans(stream, 900)]
    weights = 8 * (1 - np.arange(150) / 150)
    for first in (0, 75):
        found = Counter(names[3 * first :][:225])
        expected = (weights / (weights + 2))[first:][:75].mean()
        assert (found["grey-3"] + found["grey-5"]) / 225 == pytest.approx(expected, abs=0.05)
    assert set(names[450:]) == {"colour-3"}
    rolled_out = {stream.families[plan.family] for plan in stream.rollouts(0, 1, [0, 1, 2] * 5)}
    assert rolled_out == {"colour-3"}, "rollouts have the weights of the end"
    grey.families = [family._replace(weight=0.0) for family in grey.families]
    without = make_stream(images, sources=[grey, colour], problem_length=once)
    assert {without.families[plan.family] for plan in plans(without, 9)} == {"colour-3"}


def test_examples_belong_to_their_classes(images: ImageSet) -> None:
    start = images.class_start.numpy()

    def classes_of(rows: torch.Tensor) -> np.ndarray:
        return np.searchsorted(start, rows.numpy(), side="right") - 1

    for plan in plans(make_stream(images), 30):
        members, ways = plan.content["labelled_members"], plan.content["ways"]
        labelled, seen = classes_of(plan.content["labelled_rows"]), classes_of(plan.content["rows"])
        for task in range(SIZES.tasks):
            of_member = [set(labelled[:, task, members == c].flatten()) for c in range(ways)]
            assert all(len(found) == 1 for found in of_member)
            chosen = [found.pop() for found in of_member]
            assert len(set(chosen)) == ways
            own = plan.content["members"][:, task].numpy()
            assert (np.array(chosen)[own] == seen[:, task]).all()
        for rows in plan.content["labelled_rows"].flatten(0, 1).tolist():
            assert len(set(rows)) == len(rows), "support and query share no example"


def test_plans_become_batches_and_targets(images: ImageSet) -> None:
    source = ClassTasks("turned", images, range(8), [3], 1.0, [Placement(turned=0.5, shifted=0)])
    (family,) = source.families
    plan = source.plan(family, STEPS_AT_ONCE + 2, PROBLEM, Seeds([0, 1], [0, 2]))
    batches, labelled = source.realise(plan, torch.device("cpu"))
    xs = [batch.x for batch in batches]
    assert len(xs) == len(batches) == STEPS_AT_ONCE + 2
    assert all(torch.equal(x, batch.x) for x, batch in zip(xs, batches, strict=True))
    assert xs[0].shape == (SIZES.tasks, SIZES.batch_size, SIDE**2)
    assert labelled.support_y.shape == (2, 4, 9, 3 + 4)
    turned = labelled.is_target[:, 3]
    assert 0 < turned.sum() < 4
    assert torch.equal(labelled.is_target.sum(1), torch.where(turned, 7, 3))
    assert torch.equal(labelled.is_class.sum(1), torch.tensor([3] * 4))
    assert torch.equal(labelled.support_y[..., :3].argmax(-1), labelled.query_y[..., :3].argmax(-1))
    angles = labelled.support_y[:, turned][..., 3:5]
    torch.testing.assert_close(angles.square().sum(-1), torch.ones(angles.shape[:-1]))
    still = torch.stack(xs)[:, ~turned, :, 0] * 255
    torch.testing.assert_close(still, plan["rows"][:, ~turned].float())


def test_learners_see_the_batches_that_they_learn_from(images: ImageSet) -> None:
    one = SIZES.sample(np.random.default_rng(0))._replace(draws=1)
    source = ClassTasks("grey", images, range(8), [3], 1.0, [])
    plan = Plan(
        content=source.plan(source.families[0], 4, one, Seeds([0, 1], [0, 2])),
        source=source, cohort=0, fresh=True, age=0, network=MLP((SIDE**2, 5)), tasks=4, family=0,
        start_seed=0, noise_seed=0,
    )  # fmt: skip
    unlabelled, labelled, support = truncations = [
        realise(plan, Needs(CPU, torch.float64, what)) for what in get_args(LearnsFrom)
    ]
    members = plan.content["members"]
    assert [batch.y for batch in unlabelled.batches] == [None] * 4
    for batch, plain, classes in zip(labelled.batches, unlabelled.batches, members, strict=True):
        assert batch.y is not None and torch.equal(batch.x, plain.x)
        assert torch.equal(batch.y.argmax(-1), classes) and (batch.y.sum(-1) == 1).all()
    assert len(support.batches) == len(list(support.batches)) == 4
    for batch in support.batches:
        assert batch.y is not None and torch.equal(batch.x, support.labelled.support_x[0])
        assert torch.equal(batch.y, support.labelled.support_y[0])
    for truncation in truncations:
        floating = [
            (name, tensor.dtype)
            for name, tensor in tensors_of([list(truncation.batches), truncation.labelled])
            if tensor.is_floating_point()
        ]
        assert {dtype for _, dtype in floating} == {torch.float64}, floating


@pytest.mark.parametrize("queries", [None, 1, 5])
def test_support_and_query_have_their_examples_of_each_class(
    images: ImageSet, queries: int | None
) -> None:
    sizes = replace(SIZES, queries_per_class=queries).sample(np.random.default_rng(0))
    sources = [
        ClassTasks("grey", images, range(8), [3], 1.0, []),
        SyntheticTasks(inputs=[9], ways=(3, 3)).load("rows", None)[0],
    ]
    for source in sources:
        plan = source.plan(source.families[0], 1, sizes, Seeds([0, 1], [0, 2]))
        _, labelled = source.realise(plan, torch.device("cpu"))
        for x, y, expected in (
            (labelled.support_x, labelled.support_y, 3),
            (labelled.query_x, labelled.query_y, queries or 3),
        ):
            assert (y.sum(-2) == expected).all() and x.shape[:3] == y.shape[:3]
        every = torch.cat([labelled.support_x, labelled.query_x], -2)[0, 0]
        assert (torch.cdist(every, every) == 0).sum() == len(every), "none twice"


def test_problems_without_inner_steps_are_always_new(images: ImageSet) -> None:
    taken = plans(make_stream(images, unroll_length=UnrollLength((0, 0), (0, 0), 1)), 9)
    assert all(plan.fresh and steps_of(plan) == 0 for plan in taken)
    assert len({plan.start_seed for plan in taken}) == 9


def test_support_examples_of_several_draws_are_refused(images: ImageSet) -> None:
    (plan,) = plans(make_stream(images), 1)
    with pytest.raises(InvalidInput, match=r"data.sizes.draws 2: .* expects 1"):
        realise(plan, Needs(CPU, torch.float32, "support"))


def test_distinct_indices_are_uniform() -> None:
    rng = np.random.default_rng(0)
    counts = np.full((20_000,), 5)
    chosen = distinct(counts, 3, rng)
    assert (np.sort(chosen, axis=1)[:, 1:] > np.sort(chosen, axis=1)[:, :-1]).all()
    tally = Counter(map(tuple, chosen.tolist()))
    assert len(tally) == 60
    assert min(tally.values()) > 250
    assert max(tally.values()) < 420


def test_training_never_sees_held_out_characters() -> None:
    training, held_out = GlyphTasks(side=8).load("glyphs", None)
    assert held_out is not None
    assert len(held_out.pool) > 50
    assert not {*training.pool} & {*held_out.pool}
    letters, none = GlyphTasks(side=8, characters="letters", ways=[10]).load("letters", None)
    assert none is None
    assert {*letters.pool} <= {*training.pool}


def mixture(weight: Weight) -> None:
    """Load characters of this weight, and others without held-out classes, without weight."""
    others = GlyphTasks(side=8, characters="letters", weight=0)
    sources: dict[str, Source] = {"glyphs": GlyphTasks(side=8, weight=weight), "letters": others}
    TaskDataModule(sources=sources).prepare_data()


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (lambda images: plans(make_stream(images, sizes=Sizes(labels_per_class=5)), 1), "'a'"),
        (lambda _: MLPs(hidden_layers=(0, 2)), "hidden_layers"),
        (lambda _: GlyphTasks(weight=-1), "weight must be at least 0, got -1"),
        (lambda _: GlyphTasks(weight=WeightSchedule(1, -2, 3)), "weight.last must be at least 0"),
        (lambda _: mixture(WeightSchedule(0, 1, 3)), "a source with weight at outer step 0"),
        (lambda _: mixture(WeightSchedule(1, 0, 3)), "held-out classes, with weight at the end"),
        (lambda _: mixture(0), "a source with weight at outer step 0"),
        (lambda _: GlyphTasks(side=8, held_out=0.0).load("glyphs", None), "0 to draw"),
    ],
)
def test_bad_settings_are_named(make: Any, culprit: str, images: ImageSet) -> None:
    with pytest.raises(InvalidInput, match=culprit):
        make(images)
