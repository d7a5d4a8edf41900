"""The report on the synthetic prior."""

from pathlib import Path

import pytest
from conftest import lit_lul, without_hub

from lit_lul.errors import InvalidInput


def test_worlds_and_datasets_have_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without_hub(monkeypatch)
    Path("suite.yaml").write_text(
        "shared: {draws: 2, labels_per_class: 3, tests_per_class: 5, probes: [ridge]}\n"
        "development:\n"
        "  moons: {dataset: moons}\n"
        "  moons_more: {dataset: moons}\n"
        "  prior: {dataset: [prior-0, prior-1]}\n"
        "  absent: {images: {dataset: nowhere/at-all}}\n"
    )
    lit_lul("report", "prior", "--worlds=1", "--config=suite.yaml", "--out=out/prior.md")
    page = Path("out/prior.md").read_text()
    assert "| median | " in page
    assert "| moons | 2 | 2 | " in page
    assert "datasets is left out: " in page
    assert "moons more" not in page, "the same labels as moons"
    for picture in ("worlds", "profiles"):
        assert Path(f"out/prior/{picture}.png").stat().st_size > 1000
    for options in (["--worlds=0"], ["--out=prior"]):
        with pytest.raises(InvalidInput, match=r"must be at least|expected"):
            lit_lul("report", "prior", *options)
