"""The scikit-learn transformer: scikit-learn's checks, scales, networks, files, what is refused."""

import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_tables
import torch
from conftest import refused
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lit_lul
from lit_lul import (
    RuleTransformer,
    UnsupervisedUpdate,
    UpdateSettings,
    apply_rule,
    load_rule,
    load_transformer,
    save_learner,
    save_transformer,
)
from lit_lul.apply.rule import train_networks
from lit_lul.errors import InvalidInput
from lit_lul.learners import LocalRule, LocalSettings, PrototypeRule, PrototypeSettings

ROWS = np.random.default_rng(0).random((13, 7))


PAGES = [Path(__file__).parents[1] / name for name in ("docs/transformer.md", "README.md")]


@pytest.fixture(autouse=True, scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Rules that seem to ship under the names "tiny", "competitive" and "layered"."""
    folder = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(5)
    settings = UpdateSettings(
        hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6, inner_rate=0.03
    )
    save_learner(UnsupervisedUpdate(settings), folder / "tiny.safetensors")
    save_learner(PrototypeRule(PrototypeSettings(6)), folder / "competitive.safetensors")
    layered = LocalRule(LocalSettings(6, gains=[1.7, 1.1, 0.85, 0.3]))
    save_learner(layered, folder / "layered.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lit_lul.files.theta.PRETRAINED", folder)
        yield


def tiny(**changes: Any) -> RuleTransformer:
    arguments: dict[str, Any] = {
        "rule": "tiny",
        "hidden_units": (5,),
        "inner_steps": 3,
        "batch_size": 4,
        "random_state": 0,
        "device": "cpu",
    }
    return RuleTransformer(**(arguments | changes))


def features(rows: NDArray[Any] = ROWS, **changes: Any) -> NDArray[np.float32]:
    u: NDArray[np.float32] = tiny(**changes).fit_transform(rows)
    return u


def same(one: NDArray[Any], other: NDArray[Any], tolerance: float = 1e-5) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=tolerance, atol=tolerance)


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        tiny(),
        tiny(inner_steps=1, n_networks=2, layers="all", scale="global"),
        tiny(rule="competitive"),
    ]
)
def test_scikit_learn_checks(estimator: RuleTransformer, check: Any) -> None:
    check(estimator)


def test_the_first_network_is_that_of_apply_rule() -> None:
    x = torch.from_numpy(ROWS).float()
    applied = apply_rule(load_rule("tiny"), x, [5], inner_steps=3, batch_size=4, seed=9)
    assert same(features(scale=None, random_state=9), applied.embeddings.numpy())
    assert not same(features(scale=None, random_state=9, inner_steps=4), applied.embeddings.numpy())


def test_networks_are_joined_and_each_is_the_same_whatever_others_there_are() -> None:
    one, two, three = (features(n_networks=n) for n in (1, 2, 3))
    assert three.shape == (13, 18)
    assert same(three[:, :6], one)
    assert same(three[:, :12], two)
    blocks = np.split(three, 3, axis=1)
    assert not any(same(blocks[i], blocks[i - 1]) for i in range(3))


def test_all_layers_are_the_hidden_ones_before_the_embedding() -> None:
    transformer = tiny(n_networks=2, hidden_units=(5, 4)).fit(ROWS)
    embeddings = np.split(transformer.transform(ROWS), 2, axis=1)
    transformer.set_params(n_networks=3)  # not fitted yet
    every = transformer.set_params(layers="all").transform(ROWS)
    assert every.shape == (13, 2 * (5 + 4 + 6)) == (13, len(transformer.get_feature_names_out()))
    for of_network, embedding in zip(np.split(every, 2, axis=1), embeddings, strict=True):
        assert np.array_equal(of_network[:, 9:], embedding)


def test_a_row_has_the_same_features_alone() -> None:
    transformer = tiny(hidden_units=(64, 64), n_networks=2, layers="all").fit(ROWS)
    one_by_one = np.concatenate([transformer.transform(row[None]) for row in ROWS])
    np.testing.assert_allclose(one_by_one, transformer.transform(ROWS), rtol=1e-6, atol=1e-6)


def test_many_rows_are_taken_in_chunks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_once = features(hidden_units=(5, 4))
    monkeypatch.setattr("lit_lul.apply.rule.CHUNK", 5)
    assert capsys.readouterr().err == ""
    assert same(features(hidden_units=(5, 4), verbose=True), at_once)
    assert "Embedding" in capsys.readouterr().err


def test_fewer_rows_than_a_minibatch_are_one_minibatch() -> None:
    assert same(features(ROWS[:3], batch_size=128), features(ROWS[:3], batch_size=3))
    assert np.isfinite(features(ROWS[:2], batch_size=128)).all()


def test_constant_columns_are_inputs_of_zero() -> None:
    constant = np.full((13, 1), 1e9)
    zero = np.zeros((13, 1))
    assert same(features(np.hstack([ROWS, constant])), features(np.hstack([ROWS, zero])))
    assert np.isfinite(features(np.hstack([constant, constant]))).all()


def test_minmax_scales_every_column() -> None:
    factors, shifts = np.array([1e-3, 1, 2, 3, 4, 1e6, 7]), np.array([0, -1, 5, 1e3, 0, 0, 1])
    assert same(features(ROWS * factors + shifts), features(ROWS), 1e-4)
    transformer = tiny().fit(ROWS)
    assert np.array_equal(transformer.minimum_, ROWS.min(0))
    assert np.array_equal(transformer.range_, np.ptp(ROWS, axis=0))


def test_global_scales_all_columns_by_one_range() -> None:
    of_pixels = features(ROWS * 255, scale="global")
    assert same(of_pixels, features(ROWS, scale="global"), 1e-4)
    in_range = (ROWS - ROWS.min()) / np.ptp(ROWS)
    assert same(of_pixels, features(in_range, scale=None), 1e-4)
    assert not same(of_pixels, features(ROWS * 255))


def test_without_a_scale_values_must_be_in_range() -> None:
    transformer = tiny(scale=None).fit(ROWS)
    for use in (transformer.fit, transformer.transform):
        with pytest.raises(
            InvalidInput, match=r"values from 0\.\d+ to 1\.\d+: expected .*\[0, 1\]"
        ):
            use(ROWS + 0.5)


def test_the_random_state_decides() -> None:
    assert np.array_equal(features(n_networks=2), features(n_networks=2))
    assert not same(features(), features(random_state=1))
    assert not same(features(random_state=None), features(random_state=None))
    one, other = (features(random_state=np.random.RandomState(3)) for _ in range(2))
    assert np.array_equal(one, other)


def test_tables_go_in_and_come_out() -> None:
    table = pd.DataFrame(ROWS, columns=list("abcdefg"), index=range(100, 113))
    transformer = tiny().set_output(transform="pandas")
    out = transformer.fit_transform(table)
    assert out.index.equals(table.index)
    assert list(out.columns) == [f"ruletransformer{i}" for i in range(6)]
    assert list(transformer.feature_names_in_) == list("abcdefg")
    assert np.array_equal(out.to_numpy(), features())
    with pytest.raises(ValueError, match="feature names should match"):
        transformer.transform(table[list("bacdefg")])


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"layers": "hidden"}, "layers must be one of embedding, all, got 'hidden'"),
        ({"scale": "standard"}, "scale must be one of minmax, global or null, got 'standard'"),
        ({"batch_size": 1}, "batch_size 1: expected 2"),
        ({"inner_steps": -1}, "inner_steps -1"),
        ({"hidden_units": (0,)}, "sizes"),
        ({"device": "gpu"}, "device 'gpu'"),
        (
            {"rule": "none_such"},
            "none_such: .* of the rules that ship: competitive, layered, tiny",
        ),
    ],
)
def test_bad_parameters_are_named(changes: dict[str, Any], culprit: str) -> None:
    with refused(culprit):
        tiny(**changes).fit(ROWS)


def test_a_learner_is_taken_and_left_as_it_is() -> None:
    rule = load_rule("tiny").double()
    transformer = clone(tiny(rule=rule)).fit(ROWS)
    assert same(transformer.transform(ROWS), features())
    assert np.array_equal(tiny(rule=rule).fit_transform(ROWS), transformer.transform(ROWS))
    assert next(rule.parameters()).dtype == torch.float64


def test_files_give_the_same_features(tmp_path: Path) -> None:
    table = pd.DataFrame(ROWS, columns=list("abcdefg"))
    for rows in (table, ROWS):
        transformer = tiny(rule=Path("tiny"), n_networks=2, inner_steps=np.int64(2)).fit(rows)
        save_transformer(transformer, tmp_path / "new" / "fitted.safetensors")
        loaded = load_transformer(tmp_path / "new" / "fitted.safetensors")
        for again in (loaded, pickle.loads(pickle.dumps(transformer))):
            assert np.array_equal(again.transform(rows), transformer.transform(rows))
            assert again.n_features_in_ == 7
            assert hasattr(again, "feature_names_in_") == (rows is table)
        assert loaded.get_params() == transformer.get_params() | {"rule": "tiny"}


@pytest.mark.parametrize(("rule", "width"), [("competitive", 6 + 2 * 2), ("layered", 7 + 5 + 6)])
def test_features_of_several_layers_have_one_norm_and_come_back(
    rule: str, width: int, tmp_path: Path
) -> None:
    transformer = tiny(rule=rule, n_networks=2).fit(ROWS)
    u = transformer.transform(ROWS)
    assert u.shape == (13, 2 * width) == (13, len(transformer.get_feature_names_out()))
    for own in np.split(u, 2, axis=1):  # suits scikit-learn's default penalties
        assert np.square(own - own.mean(0)).sum(1).mean() ** 0.5 == pytest.approx(4.0, rel=1e-4)
    x = torch.from_numpy(MinMaxScaler().fit_transform(ROWS)).float()
    applied = apply_rule(load_rule(rule), x, [5], inner_steps=3, batch_size=4).embeddings.numpy()
    factor = np.linalg.norm(u[:, :width]) / np.linalg.norm(applied)
    np.testing.assert_allclose(u[:, :width], factor * applied, atol=1e-4)
    save_transformer(transformer, tmp_path / "t.safetensors")
    loaded = load_transformer(tmp_path / "t.safetensors")
    assert np.array_equal(loaded.transform(ROWS), u)
    loaded.layers = transformer.layers = "all"
    assert np.array_equal(loaded.transform(ROWS), transformer.transform(ROWS))


def test_what_no_file_can_hold_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fitted.safetensors"
    with pytest.raises(InvalidInput, match="rule of type UnsupervisedUpdate"):
        save_transformer(tiny(rule=load_rule("tiny")).fit(ROWS), path)
    assert not path.exists()
    save_learner(load_rule("tiny"), path)
    with pytest.raises(InvalidInput, match=r"fitted\.safetensors: .* 'lit_lul transformer 1'"):
        load_transformer(path)


@pytest.fixture
def one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """One inner step in place of any other number."""

    def train_one_step(rule: Any, network: Any, x: Any, inner_steps: int, *others: Any) -> Any:
        return train_networks(rule, network, x, 1, *others)

    for module in ("apply.rule", "apply.transformer"):
        monkeypatch.setattr(f"lit_lul.{module}.train_networks", train_one_step)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("one_step")
def test_the_code_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its numbers are not those of the page, which are of the shipped rule and more steps."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    code: dict[str, Any] = {}
    for block in blocks:
        exec(block, code)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) >= sum(block.count("print(") for block in blocks) > 0


@pytest.mark.usefixtures("one_step")
def test_the_example_prints_a_row_for_every_kind_of_features(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(small_tables, "LABEL_DRAWS", 1)
    monkeypatch.setattr(sys, "argv", ["small_tables.py", "--datasets", "wine"])
    small_tables.main()
    title, *rows = capsys.readouterr().out.splitlines()
    assert title == "wine: 178 rows of 13 columns"
    assert len(rows) == len({row.split("|")[1] for row in rows}) == 16


def test_the_package_is_imported_without_what_takes_long() -> None:
    slow = ["lightning", "matplotlib", "pandas", "sklearn", "tensorboard", "torchmetrics", "wandb"]
    code = f"import lit_lul, sys; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert all(hasattr(lit_lul, name) for name in lit_lul.__all__)
    with pytest.raises(AttributeError, match="no attribute 'none_such'"):
        lit_lul.none_such  # type: ignore[attr-defined]  # noqa: B018
