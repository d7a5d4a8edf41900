"""The tensor cache and the atomic replacement of files."""

import json
import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lit_lul.data.cache import cache_dir, cached_tensors
from lit_lul.files.atomic import replace_file

KEY = {"b": [1, 2], "a": "x"}
TENSORS = {
    "bytes": torch.arange(200, dtype=torch.uint8).view(10, 20),
    "transposed": torch.arange(6.0).view(2, 3).t(),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 4, dtype=torch.bfloat16),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_LUL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build() -> dict[str, Tensor]:
    return dict(TENSORS)


def fail() -> dict[str, Tensor]:
    raise AssertionError("built again")


def assert_built(tensors: dict[str, Tensor]) -> None:
    assert tensors.keys() == TENSORS.keys()
    for label, expected in TENSORS.items():
        assert tensors[label].dtype == expected.dtype
        assert torch.equal(tensors[label], expected)


def test_second_call_reads_the_file(cache: Path) -> None:
    assert_built(cached_tensors("name", KEY, build))
    assert_built(cached_tensors("name", dict(reversed(KEY.items())), fail))
    (file,) = cache.iterdir()
    assert file.match("name-" + "[0-9a-f]" * 16 + ".safetensors")


def test_another_name_or_key_is_another_file() -> None:
    cached_tensors("name", KEY, build)
    with pytest.raises(AssertionError, match="built again"):
        cached_tensors("other", KEY, fail)
    with pytest.raises(AssertionError, match="built again"):
        cached_tensors("name", {**KEY, "a": "y"}, fail)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def pickle_it(file: Path) -> None:
    torch.save(TENSORS, file)


def drop_metadata(file: Path) -> None:
    save_file({"bytes": TENSORS["bytes"]}, file)


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def give_another_key(file: Path) -> None:
    cached_tensors("other", {"c": 1}, lambda: {"bytes": torch.zeros(1)})
    (other,) = file.parent.glob("other-*")
    shutil.move(other, file)


@pytest.mark.parametrize(
    "damage", [truncate, empty, pickle_it, drop_metadata, flip_a_bit, give_another_key]
)
def test_damaged_file_is_rebuilt(
    cache: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    cached_tensors("name", KEY, build)
    (file,) = cache.iterdir()
    damage(file)
    assert not caplog.records
    assert_built(cached_tensors("name", KEY, build))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert file.name in record.getMessage()
    assert_built(cached_tensors("name", KEY, fail))


def test_simultaneous_builders_both_succeed(cache: Path) -> None:
    barrier = Barrier(2, timeout=10)

    def build_together() -> dict[str, Tensor]:
        barrier.wait()
        return build()

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(cached_tensors, "name", KEY, build_together) for _ in range(2)]
        for run in runs:
            assert_built(run.result())
    assert len(list(cache.iterdir())) == 1
    assert_built(cached_tensors("name", KEY, fail))


def test_failed_build_leaves_nothing(cache: Path) -> None:
    with pytest.raises(AssertionError, match="built again"):
        cached_tensors("name", KEY, fail)
    assert not cache.exists()


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == cache
    monkeypatch.delenv("LIT_LUL_CACHE")
    assert cache_dir() == Path("/xdg/lit_lul")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache/lit_lul"


def test_replace_file_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    for content in ({"a": 1}, {"a": 2}):
        with replace_file(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == path.suffix
            temporary.write_text(json.dumps(content))
        assert json.loads(path.read_text()) == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_replace_file_keeps_the_old_file_on_an_exception(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def stop_half_way() -> None:
        with replace_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        stop_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
