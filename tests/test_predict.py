"""The command `predict`: files and images in, embeddings and φ out, on a device of choice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lit_lul
from PIL import Image

from lit_lul import Applied, apply_rule
from lit_lul.apply.predict import find_device, predict
from lit_lul.apply.rule import write_applied
from lit_lul.errors import InvalidInput
from lit_lul.files.phi import load_phi
from lit_lul.files.theta import save_learner
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLP

ROWS = np.random.default_rng(0).random((13, 7), dtype=np.float32)


def tiny_rule() -> UnsupervisedUpdate:
    torch.manual_seed(5)
    return UnsupervisedUpdate(
        UpdateSettings(
            hidden_channels=4,
            error_channels=3,
            top_channels=4,
            embedding_units=6,
            inner_rate=0.03,
        )
    )


def apply_to_rows(inner_steps: int = 3, **changes: Any) -> Applied:
    arguments: dict[str, Any] = {
        "rule": tiny_rule(),
        "x": torch.from_numpy(ROWS),
        "hidden_units": [5],
        "inner_steps": inner_steps,
        "batch_size": 4,
    }
    return apply_rule(**(arguments | changes))


def test_phi_read_back_gives_the_same_embeddings(tmp_path: Path) -> None:
    applied = apply_to_rows(hidden_units=[5, 4], activation="tanh")
    embeddings, path = write_applied(applied, tmp_path / "new" / "folder")
    assert {file.name for file in embeddings.parent.iterdir()} == {embeddings.name, path.name}
    written = np.load(embeddings, allow_pickle=False)
    assert written.dtype == np.float32
    network, params, statistics = load_phi(path)
    assert network == MLP((7, 5, 4, 6), "tanh")
    read_back = network.embed(params, torch.from_numpy(ROWS)[None], statistics)[0]
    assert np.array_equal(read_back.numpy(), written)


def test_predict_writes_embeddings_and_phi(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, data, folder = tmp_path / "theta.safetensors", tmp_path / "rows.npy", tmp_path / "out"
    save_learner(tiny_rule(), rule)
    np.save(data, ROWS)
    predict(rule, folder, data, hidden_units=[5], inner_steps=3, batch_size=4)
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in out] == [
        str(folder / "embeddings.npy"),
        str(folder / "phi.safetensors"),
    ]
    assert np.array_equal(np.load(folder / "embeddings.npy"), apply_to_rows().embeddings.numpy())
    with pytest.raises(InvalidInput, match=r"rows\.npy: expected a folder"):
        predict(rule, data, data, hidden_units=[5], inner_steps=3, batch_size=4)
    with pytest.raises(InvalidInput, match=r"rows\.npy: .*safetensors"):
        predict(data, folder, data)


def test_predict_takes_the_name_of_a_rule_that_ships(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_lul.files.theta.PRETRAINED", run_folder / "pretrained")
    save_learner(tiny_rule(), run_folder / "pretrained" / "tiny.safetensors")
    np.save("rows.npy", ROWS)
    options = ["--data_path=rows.npy", "--hidden_units=[5]", "--batch_size=4", "--inner_steps=3"]
    lit_lul("predict", "tiny", "out", *options)
    assert np.array_equal(np.load("out/embeddings.npy"), apply_to_rows().embeddings.numpy())


def test_images_of_a_folder_through_the_command_line(run_folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (run_folder / "pets" / "train" / name).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(256, size=(9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(run_folder / "pets" / "train" / name / f"{i}.png")
    settings = UpdateSettings(
        hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6
    )
    save_learner(UnsupervisedUpdate(settings), run_folder / "rule.safetensors")
    options = ["--images.dataset=pets", "--images.side=5", "--batch_size=4", "--inner_steps=2"]
    lit_lul("predict", "rule.safetensors", "out", "--hidden_units=[7]", *options)
    assert np.load(run_folder / "out" / "embeddings.npy").shape == (8, 6)
    network, *_ = load_phi(run_folder / "out" / "phi.safetensors")
    assert network.sizes == (75, 7, 6)
    for wrong in ([], ["--data_path=rows.csv", "--images.dataset=pets"], ["--data_path=rows.csv"]):
        with pytest.raises(InvalidInput):
            lit_lul("predict", "rule.safetensors", "out", *wrong)


@pytest.mark.parametrize(("gpus", "expected"), [(0, "cpu"), (2, "cuda")])
def test_auto_is_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, gpus: int, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert find_device("auto") == torch.device(expected)
    assert find_device("cpu") == torch.device("cpu")
    if gpus:
        assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InvalidInput, match="device 'cuda:2': expected auto or one of cpu"):
        find_device("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "mps"])
def test_an_unusable_device_is_one_line(tmp_path: Path, device: str) -> None:
    rule, data = tmp_path / "theta.safetensors", tmp_path / "rows.npy"
    save_learner(tiny_rule(), rule)
    np.save(data, ROWS)
    with pytest.raises(InvalidInput, match=f"device '{device}': expected auto") as raised:
        predict(rule, tmp_path / "out", data, batch_size=4, device=device)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
