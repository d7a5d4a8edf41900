"""Cohorts, families and augmentation."""

from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch

from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.tasks.augmentation import Augmentation, coefficients, make_inputs, place
from lit_lul.tasks.balance import inner_step_cost, strata
from lit_lul.tasks.batch import UnrollBatch, make_batch
from lit_lul.tasks.cohorts import CohortSampler, SamplerState, distinct
from lit_lul.tasks.draw import TruncationDraw
from lit_lul.tasks.families import Family, TaskSource
from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.settings import Architectures, CohortSettings
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.schedules import ProblemLength, UnrollLength

SIDE = 6
PLAIN = Augmentation(permutation=0, task_mask=0, example_mask=0, image_shift=0)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Eight classes of unlike sizes; every image shows its own row number."""
    sizes = torch.tensor([8, 9, 10, 11, 12, 13, 14, 15])
    start = torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])
    rows = torch.arange(int(start[-1]), dtype=torch.uint8)
    return ImageSet(rows.view(-1, 1, 1, 1).repeat(1, 1, SIDE, SIDE), start, tuple("abcdefgh"))


def make_sampler(images: ImageSet, **changes: Any) -> CohortSampler:
    """A sampler of three kinds of task of grey images, and one of colour."""
    families = [
        Family("plain", (0, 1, 2, 3, 4, 5), 3, False, 3.0),
        Family("turned", (2, 3, 4, 5, 6, 7), 3, True, 1.0),
        Family("wide", (0, 1, 2, 3, 4, 5, 6), 5, False, 4.0),
    ]
    colour = ImageSet(
        images.images[:, :, :4, :4].repeat(1, 3, 1, 1), images.class_start, images.class_names
    )
    sources = [
        TaskSource(images, families),
        TaskSource(colour, [Family("colour", (0, 1, 2, 3), 3, False, 2.0)]),
    ]
    arguments: dict[str, Any] = {
        "settings": CohortSettings(cohorts=3, tasks=4, batch_size=7, labels_per_class=3, draws=2),
        "architectures": Architectures((1, 3), (4, 9)),
        "augmentation": Augmentation(max_shift=2.0),
        "unroll_length": UnrollLength((2, 4), (2, 4), 1),
        "problem_length": ProblemLength(9, 9, 1, 0.3),
        "embedding_units": 5,
        "seed": 1,
        "total": 3,
        "first_cohort": 0,
    }
    return CohortSampler(sources, **(arguments | changes))


def draws(sampler: CohortSampler, n: int) -> list[TruncationDraw]:
    """The first n truncations."""
    return [draw for draw, _ in islice(sampler.iterate(SamplerState()), n)]


def same(a: TruncationDraw, b: TruncationDraw) -> bool:
    """Whether two draws are equal in all but the cohort's number."""
    return (
        torch.equal(a.unlabelled_rows, b.unlabelled_rows)
        and torch.equal(a.labelled_rows, b.labelled_rows)
        and all(torch.equal(x, y) for x, y in zip(a.inputs, b.inputs, strict=True))
        and (a.base_model, a.phi_seed, a.age) == (b.base_model, b.phi_seed, b.age)
    )


def test_cohorts_take_turns_and_age(images: ImageSet) -> None:
    taken = draws(make_sampler(images), 60)
    assert [d.cohort for d in taken] == [0, 1, 2] * 20
    for cohort in range(3):
        own = taken[cohort::3]
        assert own[0].fresh
        assert any(d.fresh for d in own[1:])
        for before, after in pairwise(own):
            if after.fresh:
                assert after.age == 0
            else:
                assert after.age == before.age + len(before.unlabelled_rows)
                assert after.base_model == before.base_model
                assert torch.equal(after.inputs.permutation, before.inputs.permutation)
                assert torch.equal(after.family, before.family)
                assert not same(before, after)


def test_sampler_goes_on_from_its_state(images: ImageSet) -> None:
    sampler = make_sampler(images)
    whole = list(islice(sampler.iterate(SamplerState()), 20))
    state = SamplerState.from_dict(whole[10][1].to_dict())
    rest = list(islice(make_sampler(images).iterate(state), 9))
    assert all(same(a[0], b[0]) for a, b in zip(whole[11:], rest, strict=True))


def test_seed_and_rank_determine_the_data(images: ImageSet) -> None:
    whole = draws(make_sampler(images, settings=CohortSettings(4, 4, 7, 3, 2), total=4), 8)
    ranks = [
        draws(
            make_sampler(
                images, settings=CohortSettings(2, 4, 7, 3, 2), total=4, first_cohort=first
            ),
            4,
        )
        for first in (0, 2)
    ]
    together = [ranks[0][0], ranks[0][1], ranks[1][0], ranks[1][1]]
    assert all(same(a, b) for a, b in zip(whole[:4], together, strict=True))
    other = draws(make_sampler(images, seed=2), 1)[0]
    assert not same(other, draws(make_sampler(images), 1)[0])


def test_cohorts_of_an_outer_step_take_as_many_inner_steps(images: ImageSet) -> None:
    steps = [len(d.unlabelled_rows) for d in draws(make_sampler(images), 60)]
    assert steps[0::3] == steps[1::3] == steps[2::3]
    assert set(steps) == {2, 3, 4}


@pytest.mark.parametrize("total", [1, 2, 3, 6, 12, 15])
def test_strata_cover_every_pair_of_choices_once(total: int) -> None:
    quantiles = (np.arange(60) + 0.5) / 60
    density = np.zeros((60, 60))
    for architecture, family in strata(total):
        chosen, kind = (
            (low <= quantiles) & (quantiles < high) for low, high in (architecture, family)
        )
        density += np.outer(chosen / chosen.sum(), kind / kind.sum())
    np.testing.assert_allclose(density, total / 60**2)


def test_strata_give_every_rank_as_much() -> None:
    for ranks, cohorts in ((2, 8), (4, 4), (8, 8)):
        middle = np.array([[sum(part) / 2 for part in s] for s in strata(ranks * cohorts)])
        of_rank = middle.reshape(ranks, cohorts, 2).mean(axis=1)
        np.testing.assert_allclose(of_rank[:, 0], 0.5, atol=0.5 / cohorts)
        np.testing.assert_allclose(of_rank[:, 1], 0.5)


def test_architectures_are_uniform_and_sorted_by_cost() -> None:
    architectures = Architectures((1, 3), (4, 9))
    found = [architectures.at((i + 0.5) / 36, 10, 5).sizes for i in range(36)]
    assert Counter(found) == {
        (10, *[units] * layers, 5): 2 for layers in (1, 2, 3) for units in range(4, 10)
    }
    costs = [inner_step_cost(sizes) for sizes in found]
    assert costs == sorted(costs)
    assert inner_step_cost((10, 4, 5)) == pytest.approx(19 + 60 / 1000)


def test_families_have_their_shares(images: ImageSet) -> None:
    sampler = make_sampler(images, problem_length=ProblemLength(1, 1, 1, 0))
    counts = Counter(f for d in draws(sampler, 600) for f in d.family.tolist())
    shares = np.array([counts[i] for i in range(4)]) / sum(counts.values())
    np.testing.assert_allclose(shares, [0.3, 0.1, 0.4, 0.2], atol=0.05)


def test_cohorts_keep_to_one_source(images: ImageSet) -> None:
    seen = set()
    for draw in draws(make_sampler(images), 200):
        seen.add(draw.source)
        assert all((f == 3) == (draw.source == 1) for f in draw.family.tolist())
        assert draw.base_model.sizes[0] == [SIDE**2, 3 * 4**2][draw.source]
    assert seen == {0, 1}


def test_examples_belong_to_their_classes(images: ImageSet) -> None:
    sampler = make_sampler(images)
    start = images.class_start.numpy()
    for draw in draws(sampler, 30):
        of_class = np.searchsorted(start, draw.labelled_rows.numpy(), side="right") - 1
        ways = int(draw.classes.max()) + 1
        for task, family in enumerate(draw.family.tolist()):
            expected = {c: set(of_class[:, task, draw.classes == c].flatten()) for c in range(ways)}
            assert all(len(found) == 1 for found in expected.values())
            chosen = set.union(*expected.values())
            assert len(chosen) == ways
            assert chosen <= set(sampler.families[family].pool)
            unlabelled = (
                np.searchsorted(start, draw.unlabelled_rows[:, task].numpy(), side="right") - 1
            )
            assert set(unlabelled.flatten()) <= chosen
        for rows in draw.labelled_rows.flatten(0, 1).tolist():
            assert len(set(rows)) == len(rows)


def test_batch_has_targets_of_each_task(images: ImageSet) -> None:
    sampler = make_sampler(images, augmentation=PLAIN)
    mixed = next(d for d in draws(sampler, 200) if set(d.family.tolist()) == {0, 1})
    batch: UnrollBatch = make_batch(mixed, images.images, 5.0)
    turned = mixed.family == 1
    labelled = batch.labelled
    assert labelled.support_y.shape == (2, 4, 9, 3 + 4)
    assert torch.equal(labelled.is_target.sum(1), torch.where(turned, 7, 3))
    assert torch.equal(labelled.support_y[..., :3].argmax(-1), labelled.query_y[..., :3].argmax(-1))
    angles = labelled.support_y[:, turned][..., 3:5]
    torch.testing.assert_close(angles.square().sum(-1), torch.ones(angles.shape[:-1]))
    assert batch.unlabelled.shape[1:] == (4, 7, SIDE**2)
    rows = batch.unlabelled[:, ~turned, :, 0] * 255
    torch.testing.assert_close(rows, mixed.unlabelled_rows[:, ~turned].float())


def test_masks_and_permutation_are_per_task() -> None:
    rng = np.random.default_rng(0)
    family = Family("plain", (0,), 1, False, 1.0)
    inputs = Augmentation(task_mask=1, example_mask=1).sample_inputs([family] * 3, SIDE**2, rng)
    images = torch.full((4, 1, SIDE, SIDE), 255, dtype=torch.uint8)
    rows = torch.zeros(2, 3, 5, dtype=torch.long)
    x = make_inputs(images, rows, None, inputs, torch.Generator().manual_seed(0))
    kept = inputs.keep.gather(1, inputs.permutation).bool()
    for task in range(3):
        assert not x[:, task, :, ~kept[task]].any()
        varied = x[:, task][..., kept[task]].flatten(0, 1)
        assert len(torch.unique(varied, dim=0)) > 1
    assert sorted(inputs.permutation[0].tolist()) == list(range(SIDE**2))
    assert not torch.equal(inputs.permutation[0], inputs.permutation[1])


def test_place_turns_and_shifts() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 1, 2] = 1.0
    quarter, right, down = (
        place(image, torch.tensor([[*moves, 0.0, 0, 0, 0]]))
        for moves in ([np.pi / 2, 0.0, 0.0], [0.0, 1, 0], [0.0, 0, 2])
    )
    assert quarter[0, 0].argmax().item() == 2 * 5 + 3
    assert right[0, 0].argmax().item() == 1 * 5 + 3
    assert down[0, 0].argmax().item() == 3 * 5 + 2
    torch.testing.assert_close(place(image, torch.zeros(1, 7)), image)


def test_place_distorts_about_the_centre() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 2:7] = 1.0
    narrow = place(image, torch.tensor([[0.0, 0, 0, 0.4, 0, 0, 0]]))
    torch.testing.assert_close(narrow, narrow.flip(-1))
    assert narrow.sum() < 0.8 * image.sum()
    sheared = place(image, torch.tensor([[0.0, 0, 0, 0, 0, 0.4, 0]]))[0, 0]
    torch.testing.assert_close(sheared, sheared.flip(0, 1))
    assert sheared[:4].sum() > 0.3 and sheared[4, 4] == 1


@pytest.mark.parametrize("image_shift", [0, 1])
def test_distortion_changes_the_images_of_its_families(
    images: ImageSet, image_shift: float
) -> None:
    settings = replace(PLAIN, image_shift=image_shift)
    plain, distorted = (make_sampler(images, augmentation=settings) for _ in range(2))
    distorted.families = [
        replace(f, distortion=0.3) if f.name == "plain" else f for f in distorted.families
    ]
    seen = set()
    for before, after in zip(draws(plain, 24), draws(distorted, 24), strict=True):
        chosen = torch.tensor([distorted.families[i].distortion > 0 for i in after.family])
        assert torch.equal(before.labelled_rows, after.labelled_rows)
        if after.unlabelled_placement is None:
            assert not chosen.any()
            continue
        moves, matrix = after.unlabelled_placement.split([3, 4], dim=-1)
        if before.unlabelled_placement is not None:
            assert torch.equal(before.unlabelled_placement[..., :3], moves)
        assert 0.2 < matrix[:, chosen].abs().max() <= 0.3 if chosen.any() else True
        assert not matrix[:, ~chosen].any()
        seen |= set(chosen.tolist())
    assert seen == {True, False}


def test_coefficients_of_a_full_turn_agree_with_none() -> None:
    turns = torch.tensor([[0.0, 2, -4, 0, 0, 0, 0], [2 * np.pi, 2, -4, 0, 0, 0, 0]])
    none, full = coefficients(turns, max_shift=4.0)
    torch.testing.assert_close(none, full, atol=1e-6, rtol=0)
    torch.testing.assert_close(none, torch.tensor([0.0, 1.0, 0.5, -1.0]))


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
    training, held_out = GlyphTasks(side=8, weight=18.0).load()
    seen = {c for family in training.families for c in family.pool}
    kept = {c for family in held_out.families for c in family.pool}
    assert len(kept) > 50
    assert not seen & kept
    shares = Counter[int]()
    for family in training.families:
        shares[family.ways] += round(family.weight)
    assert shares == {10: 2 + 6, 13: 2, 14: 2, 17: 2, 20: 2, 30: 2}


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (lambda images: make_sampler(images, settings=CohortSettings(labels_per_class=5)), "'a'"),
        (lambda _: CohortSettings(tasks=0), "tasks 0"),
        (lambda _: Architectures(hidden_layers=(0, 2)), "hidden_layers"),
        (lambda _: Architectures(activation="gelu"), "gelu"),
        (lambda _: Augmentation(task_mask=1.5), "task_mask"),
        (lambda _: GlyphTasks(distortion=0.5), "distortion"),
        (lambda _: GlyphTasks(tilt=(0.5, -0.5)), "tilt"),
        (lambda _: GlyphTasks(inverted=2), "inverted"),
        (lambda _: GlyphTasks(elastic=0.2), "elastic"),
        (lambda _: GlyphTasks(printed=0.6, filled=0.5), "printed 0.6 and filled 0.5"),
        (lambda _: GlyphTasks(ways=[1]), "ways"),
        (lambda _: GlyphTasks(side=8, held_out=0.0).load(), "0 to draw"),
        (lambda _: TaskDataModule(validation_steps=0), "validation_steps"),
    ],
)
def test_bad_settings_are_named(make: Any, culprit: str, images: ImageSet) -> None:
    with pytest.raises(InvalidInput, match=culprit):
        make(images)
