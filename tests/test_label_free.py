"""Tasks whose classes are clusters, single images or random labels."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import lit_lul, log_folder
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from lit_lul.apply.rule import apply_rule
from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.files.theta import load_rule
from lit_lul.objectives.objective import Labelled
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.clusters import ITERATIONS, SCALES, Clusters
from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.label_free import ClassesFrom, ClusterTasks
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.tasks.source import Seeds
from lit_lul.tasks.transforms import Distortion, Inversion, Permutation, Placement, Transform

SIDE, IMAGES, CLASSES = 4, 60, 6
SIZES = ProblemSizes(
    tasks=3, batch_size=8, labels_per_class=2, draws=2, classes=1.5, queries_per_class=5
)
WITHOUT_LABELS: tuple[ClassesFrom, ...] = ("clusters", "instances", "random")


def image_set(order: int, classes: int = CLASSES) -> ImageSet:
    """The same images with other labels for every `order`."""
    images = torch.randint(256, (IMAGES, 1, SIDE, SIDE), generator=seeded(0), dtype=torch.uint8)
    shuffled = images[torch.randperm(IMAGES, generator=seeded(order))]
    start = torch.arange(classes + 1) * (IMAGES // classes)
    return ImageSet(shuffled, start, tuple(map(str, range(classes))))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tasks(
    classes: ClassesFrom, images: ImageSet, *transforms: Transform, ways: int = 3, **clusters: Any
) -> ClassTasks:
    """Training tasks of three classes."""
    settings = Clusters(**({"number": 4, "partitions": 2, "components": 3} | clusters))
    pool = np.arange(images.n_classes)
    source = GlyphTasks(clusters=settings, transforms=list(transforms))
    return source.tasks("x", images, pool, [ways], classes)


def made(
    source: ClassTasks, sizes: ProblemSizes = SIZES, seed: int = 0
) -> tuple[torch.Tensor, Labelled]:
    """Unlabelled examples (U, T, B, N_0) and labelled ones."""
    plan = source.plan(source.families[0], 5, sizes, Seeds([seed, 1], [seed, 2]))
    batches, labelled = source.realise(plan, torch.device("cpu"))
    return batches.make(slice(0, 5)), labelled


def numbers(x: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Which image every example (..., N_0) is."""
    flat = images.flatten(1).float() / 255
    same = torch.isclose(x.unsqueeze(-2), flat).all(-1)
    assert (same.sum(-1) == 1).all(), "an image as it is"
    return same.long().argmax(-1)


@pytest.mark.parametrize("classes", WITHOUT_LABELS)
def test_tasks_do_not_depend_on_labels(classes: ClassesFrom) -> None:
    every = [tasks(classes, image_set(order), Distortion(0.2), Permutation()) for order in (1, 2)]
    coarse = tasks(classes, image_set(3, classes=2), Distortion(0.2), Permutation())
    (x, labelled), *others = (made(source) for source in (*every, coarse))
    for other_x, other in others:
        assert torch.equal(x, other_x)
        for tensor, same in zip(labelled[:6], other[:6], strict=True):
            assert torch.equal(tensor, same)
    by_label = [made(tasks("labels", image_set(order))) for order in (1, 2)]
    assert not torch.equal(by_label[0][0], by_label[1][0]), "labels would be seen"


def test_clusters_are_those_of_scikit_learn() -> None:
    source = tasks("clusters", image_set(1))
    assert isinstance(source, ClusterTasks)
    shown: dict[bytes, dict[int, int]] = {}
    for partition, clusters in enumerate(source.partitions):
        for cluster in clusters:
            first, end = source.images.class_start[cluster : cluster + 2].tolist()
            for image in source.images.images[first:end]:
                shown.setdefault(image.numpy().tobytes(), {})[partition] = int(cluster)
    assert len(shown) == IMAGES
    images = np.stack([np.frombuffer(image, np.uint8) for image in sorted(shown)])
    features = PCA(3, random_state=0).fit_transform(images.astype(np.float32) / 255)
    scales: list[Any] = [1.0, np.random.default_rng(1).uniform(*SCALES, 3)]
    for partition, scale in enumerate(scales):
        kmeans = KMeans(4, n_init=1, max_iter=ITERATIONS, random_state=partition)
        expected = kmeans.fit_predict((features * scale).astype(np.float32))
        found = [shown[image][partition] - 4 * partition for image in sorted(shown)]
        assert found == expected.tolist()


def test_a_task_has_clusters_of_one_partition() -> None:
    source = tasks("clusters", image_set(1))
    assert isinstance(source, ClusterTasks)
    drawn = source.draw_classes(np.random.default_rng(0), 3, SIZES._replace(tasks=50))
    partition = drawn // 4
    assert (partition == partition[:, :1]).all()
    assert set(partition.flatten()) == {0, 1}
    assert all(len({*task}) == len(task) for task in drawn.tolist())


def test_an_instance_is_one_image_and_its_copies() -> None:
    source = tasks("instances", image_set(1))
    x, labelled = made(source)
    images = source.images.images
    support, query = (numbers(x, images) for x in (labelled.support_x, labelled.query_x))
    assert (support.shape, query.shape) == ((2, 3, 3 * 2), (2, 3, 3 * 5))
    for side, of_class, y in ((support, 2, labelled.support_y), (query, 5, labelled.query_y)):
        each = side.unflatten(-1, (3, of_class))
        assert (each == each[..., :1]).all()
        assert torch.equal(each[0], each[1]), "the same classes in every draw"
        assert torch.equal(y.argmax(-1)[0, 0], torch.arange(3).repeat_interleave(of_class))
    assert torch.equal(support[..., ::2], query[..., ::5])
    seen = numbers(x, images)
    for task in range(3):
        labels = set(support[0, task].tolist())
        assert len(labels) == 3
        assert labels <= set(seen[:, task].flatten().tolist())
        assert len(set(seen[:, task].flatten().tolist())) <= 5, "with other classes"


def test_random_labels_are_of_unrelated_images() -> None:
    source = tasks("random", image_set(1))
    x, labelled = made(source)
    images = source.images.images
    support, query = (numbers(x, images) for x in (labelled.support_x, labelled.query_x))
    for task in range(3):
        assert len(set(support[0, task].tolist())) == 6, "every image once"
    own, copies = support.unflatten(-1, (3, 2)), query.unflatten(-1, (3, 5))
    assert torch.equal(copies, own[..., [0, 1, 0, 1, 0]])
    seen = numbers(x, images)
    assert len(set(seen[:, 0].flatten().tolist())) > 5, "several images of a class"


@pytest.mark.parametrize("classes", ["instances", "random"])
def test_support_is_not_augmented_and_queries_are(classes: ClassesFrom) -> None:
    plain, augmented = (
        tasks(classes, image_set(1), *transforms, Inversion(0.5), Permutation())
        for transforms in ((), (Placement(turned=1.0, max_shift=0.5), Distortion(0.3)))
    )
    (_, as_it_is), (_, other) = made(plain), made(augmented)
    assert torch.equal(as_it_is.support_x, other.support_x), "changed as the whole task"
    copies = other.query_x.unflatten(2, (3, 5))
    assert not torch.isclose(copies[..., :1, :], copies[..., 1:, :]).all(-1).any()
    assert other.support_y.shape[-1] == other.query_y.shape[-1] == 3, "no angles as targets"
    assert not torch.equal(other.query_x[0], other.query_x[1]), "other copies in every draw"


def test_too_few_images_are_an_error_of_one_line() -> None:
    images = image_set(1)
    many = SIZES._replace(labels_per_class=30)
    for source, sizes, message in (
        (tasks("random", images), many, "x: 3 classes of 30 images asked for, 60 images"),
        (tasks("clusters", images), many, "x: 0 of 4 clusters have the 35 images that 30 labels"),
    ):
        with pytest.raises(InvalidInput) as raised:
            made(source, sizes)
        assert str(raised.value).startswith(message)
        assert "\n" not in str(raised.value)
    for wrong in ({"number": 100}, {"number": 0}, {"partitions": 0}, {"embedding": "nowhere"}):
        with pytest.raises(InvalidInput):
            tasks("clusters", images, **wrong)


def test_clusters_of_a_rules_embedding() -> None:
    images = torch.randint(256, (150, 1, SIDE, SIDE), generator=seeded(0), dtype=torch.uint8)
    clusters = Clusters("broad", number=4)
    embedding = apply_rule(load_rule("broad"), images.flatten(1) / 255).embeddings
    expected = KMeans(4, n_init=1, max_iter=ITERATIONS, random_state=0).fit_predict(
        embedding.numpy()
    )
    assert clusters.partition(images)[0].tolist() == expected.tolist()


def test_validation_has_true_labels() -> None:
    plain, _ = GlyphTasks(side=8, ways=[3]).load("g", None)
    for classes in get_args(ClassesFrom):
        settings = Clusters(number=20)
        training, validation = GlyphTasks(
            side=8, ways=[3], classes=classes, clusters=settings
        ).load("g", None)
        assert validation is not None and type(validation) is ClassTasks
        assert validation.images.n_classes == plain.images.n_classes
        held_out = set(range(plain.images.n_classes)) - set(plain.pool.tolist())
        assert set(validation.pool.tolist()) == held_out
        if classes != "labels":
            assert len(training.images.images) == 48 * len(plain.pool), "no held-out image"


def test_the_rule_trains_without_labels_and_a_resume_keeps_the_classes(run_folder: Path) -> None:
    options = ["--config", "tiny.yaml", "--held_out={}", "--data.sizes.queries_per_class=3"]
    lit_lul("fit", *options, "--data.sources.glyphs.classes=instances")
    last = str(log_folder(run_folder) / "checkpoints" / "last.ckpt")
    with pytest.raises(InvalidInput, match=r"data.sources.glyphs.classes instances"):
        lit_lul("fit", *options, "--ckpt_path", last)
