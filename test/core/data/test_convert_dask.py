# SPDX-License-Identifier: Apache-2.0
"""Law of the cluster: workers of another process make, together, what one process makes alone."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from uwm_core.data.convert import BagResult, ConvertConfig, convert
from uwm_core.data.convert_dask import convert_on_dask
from uwm_core.data.store import Store
from uwm_core.errors import DataError, UwmError

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a cluster of two processes."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def folder(bags: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four bags of different lengths."""
    folder = tmp_path_factory.mktemp("cluster") / "bags"
    for number in range(4):
        bags.write_bag(folder / f"ep_{number}", bags.streams(1.6 - 0.3 * number))
    return folder


def content(path: Path) -> list[tuple[Any, ...]]:
    store = Store.open(path)
    return [(r.source, r.source_hash, r.steps, r.content, r.counts) for r in store.episodes]


def test_a_cluster_makes_what_one_process_makes(
    scheduler: str, folder: Path, tmp_path: Path
) -> None:
    convert([folder], tmp_path / "alone.zarr")
    results: list[BagResult] = []
    path = tmp_path / "together.zarr"
    report = convert_on_dask([folder], path, ConvertConfig(), scheduler, results.append)
    assert [result.state for result in results] == ["converted"] * 4
    assert content(path) == content(tmp_path / "alone.zarr")
    assert report.steps == Store.open(path).steps
    again = convert_on_dask([folder], path, ConvertConfig(), scheduler)
    assert again.unchanged == 4 and len(Store.open(path)) == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alone.zarr", "together.zarr"]


def test_a_bad_bag_on_a_cluster_is_one_line_or_skipped(
    scheduler: str, folder: Path, bags: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [row for row in bags.streams(0.5) if "front" not in row.topic]
    bad = bags.write_bag(tmp_path / "bad", rows)
    path = tmp_path / "s.zarr"
    with pytest.raises(DataError, match=r"bad: no topic /front/color/image_raw"):
        convert_on_dask([folder / "ep_3", bad], path, ConvertConfig(), scheduler)
    assert len(Store.open(path)) == 1
    config = ConvertConfig(skip_bad=True)
    report = convert_on_dask([bad, folder], path, config, scheduler)
    states = ["bad", "converted", "converted", "converted", "unchanged"]
    assert [result.state for result in report.results] == states


def test_a_scheduler_that_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UwmError, match=r"no dask scheduler answers at nowhere"):
        convert_on_dask([folder], tmp_path / "s.zarr", ConvertConfig(), "nowhere")
