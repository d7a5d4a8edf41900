"""The tensor cache, its lock, and the atomic replacement of files."""

import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from conftest import refused
from platformdirs import user_cache_path
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


def cached_file(cache: Path) -> Path:
    (file,) = cache.glob("*.safetensors")
    return file


def test_second_call_reads_the_file(cache: Path) -> None:
    assert_built(cached_tensors("name", KEY, build))
    assert_built(cached_tensors("name", dict(reversed(KEY.items())), fail))
    assert cached_file(cache).match("name-" + "[0-9a-f]" * 16 + ".safetensors")


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
    (other,) = file.parent.glob("other-*.safetensors")
    shutil.move(other, file)


@pytest.mark.parametrize(
    "damage", [truncate, empty, pickle_it, drop_metadata, flip_a_bit, give_another_key]
)
def test_damaged_file_is_rebuilt(
    cache: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    cached_tensors("name", KEY, build)
    file = cached_file(cache)
    damage(file)
    assert not caplog.records
    assert_built(cached_tensors("name", KEY, build))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert file.name in record.getMessage()
    assert_built(cached_tensors("name", KEY, fail))


def build_with_signals(started: Event, finish: Event) -> None:
    """Build in a child process that says when it starts and waits until it may finish."""

    def build_slowly() -> dict[str, Tensor]:
        started.set()
        assert finish.wait(60)
        return build()

    assert_built(cached_tensors("name", KEY, build_slowly))


@pytest.fixture
def other(cache: Path) -> Iterator[tuple[SpawnProcess, Event]]:
    """Another process in the middle of a build, and the event that lets it finish."""
    spawn = multiprocessing.get_context("spawn")
    started, finish = spawn.Event(), spawn.Event()
    process = spawn.Process(target=build_with_signals, args=(started, finish))
    process.start()
    assert started.wait(60)
    yield process, finish
    process.kill()
    process.join()


@contextmanager
def on_waiting(react: Callable[[], None]) -> Iterator[None]:
    """Call `react` at the log line that says that this process waits for another."""

    def pass_on(record: logging.LogRecord) -> bool:
        if "waiting for another process" in record.getMessage():
            react()
        return True

    log = logging.getLogger("lit_lul.data.cache")
    log.addFilter(pass_on)
    try:
        yield
    finally:
        log.removeFilter(pass_on)


def test_second_process_waits_and_reads(
    cache: Path, other: tuple[SpawnProcess, Event], caplog: pytest.LogCaptureFixture
) -> None:
    process, finish = other
    with on_waiting(finish.set):
        assert_built(cached_tensors("name", KEY, fail))
    process.join()
    assert process.exitcode == 0
    (record,) = caplog.records
    assert str(cached_file(cache)) in record.getMessage()


def test_second_process_builds_when_the_first_is_killed(
    other: tuple[SpawnProcess, Event],
) -> None:
    with on_waiting(other[0].kill):
        assert_built(cached_tensors("name", KEY, build))
    assert_built(cached_tensors("name", KEY, fail))


def test_other_files_can_be_built_meanwhile(
    other: tuple[SpawnProcess, Event], caplog: pytest.LogCaptureFixture
) -> None:
    assert_built(cached_tensors("name", {**KEY, "a": "y"}, build))
    assert not caplog.records


def test_failed_build_leaves_no_file_and_no_lock(cache: Path) -> None:
    with pytest.raises(AssertionError, match="built again"):
        cached_tensors("name", KEY, fail)
    assert not list(cache.glob("*.safetensors"))
    assert_built(cached_tensors("name", KEY, build))


def block_the_lock(cache: Path) -> None:
    """Put a folder where the lock file is."""
    (lock,) = cache.glob(".*.lock")
    lock.unlink()
    lock.mkdir()


def test_reading_needs_no_lock(cache: Path) -> None:
    cached_tensors("name", KEY, build)
    block_the_lock(cache)
    assert_built(cached_tensors("name", KEY, fail))


def no_folder(cache: Path) -> None:
    cache.write_text("a file")


def no_lock(cache: Path) -> None:
    cached_tensors("name", KEY, build)
    cached_file(cache).unlink()
    block_the_lock(cache)


@pytest.mark.parametrize("spoil", [no_folder, no_lock])
def test_cache_that_cannot_be_written_is_refused_before_the_build(
    cache: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(cache)
    with refused(r"cache/name-.*safetensors: cannot be written"):
        cached_tensors("name", KEY, fail)


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == cache
    monkeypatch.delenv("LIT_LUL_CACHE")
    assert cache_dir() == tmp_path / "xdg" / "lit_lul"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == user_cache_path("lit_lul", appauthor=False)


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
