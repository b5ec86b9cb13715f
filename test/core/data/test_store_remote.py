# SPDX-License-Identifier: Apache-2.0
"""Laws of stores behind URLs: the same files as on a local disk, in memory and in an S3 server."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest

from uwm_core.data.store import EpisodeRecord, Store
from uwm_core.data.store_edit import Selection, drop, merge, relabel
from uwm_core.data.store_verify import verify
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """An S3 server of our own on the loopback."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def base_url(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    """Where stores may be put."""
    if request.param == "memory":
        return f"memory://{tmp_path.name}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_server"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    fsspec.filesystem("s3").makedirs("lab", exist_ok=True)
    return f"s3://lab/{tmp_path.name}"


def test_a_store_has_the_same_files_behind_a_url(
    stores: SimpleNamespace, embodiment: Embodiment, base_url: str, tmp_path: Path
) -> None:
    local = stores.write(tmp_path / "s.zarr", embodiment)
    remote = stores.write(f"{base_url}/s.zarr", embodiment)
    sizes = remote.files.sizes()
    assert sizes == local.files.sizes()
    for name in sizes:
        assert remote.files.read(name) == local.files.read(name), name
    assert remote.name == "s.zarr" and remote.size_bytes == local.size_bytes
    assert verify(remote) == []
    rows = np.array([[86, 3], [3, 40]])
    for key in local.keys:
        np.testing.assert_array_equal(remote.array(key)[rows], local.array(key)[rows], key)


def test_a_url_is_appended_to_and_not_created_twice(
    stores: SimpleNamespace, embodiment: Embodiment, base_url: str, tmp_path: Path
) -> None:
    stores.write(tmp_path / "s.zarr", embodiment, (20, 7))
    stores.write(tmp_path / "s.zarr", embodiment, (9,), mode="append")
    stores.write(f"{base_url}/s.zarr", embodiment, (20, 7))
    with pytest.raises(StoreError, match="exists already; choose another name"):
        stores.write(f"{base_url}/s.zarr", embodiment, (1,))
    with pytest.raises(StoreError, match="object storage cannot replace it"):
        stores.write(f"{base_url}/s.zarr", embodiment, (1,), mode="overwrite")
    remote = stores.write(f"{base_url}/s.zarr", embodiment, (9,), mode="append")
    local = Store.open(tmp_path / "s.zarr")
    assert remote.episodes == local.episodes
    for name in local.files.sizes():
        assert remote.files.read(name) == local.files.read(name), name


def test_an_aborted_writer_leaves_what_it_committed_behind_the_url(
    stores: SimpleNamespace, embodiment: Embodiment, base_url: str
) -> None:
    for committed in (0, 1):
        writer = stores.writer_at(f"{base_url}/s.zarr", embodiment)
        for index in range(40):
            writer.add(stores.step(index))
            if index == 20 and committed:
                writer.end_episode(EpisodeRecord())
                writer.commit()
        writer.abort()
        if not committed:
            with pytest.raises(StoreError, match="there is no such store"):
                Store.open(f"{base_url}/s.zarr")
    assert Store.open(f"{base_url}/s.zarr").steps == 21


def test_stores_are_edited_behind_a_url(
    stores: SimpleNamespace, embodiment: Embodiment, base_url: str, tmp_path: Path
) -> None:
    local = stores.write(tmp_path / "s.zarr", embodiment)
    merge([local], f"{base_url}/m.zarr")
    remote = Store.open(f"{base_url}/m.zarr")
    relabel(remote, Selection(episodes=(1,)), outcome="failure")
    remote = Store.open(f"{base_url}/m.zarr")
    with pytest.raises(StoreError, match="object storage cannot replace a store in one step"):
        drop(remote, Selection(outcome="success"))
    drop(remote, Selection(outcome="success"), f"{base_url}/f.zarr")
    (failure,) = Store.open(f"{base_url}/f.zarr").episodes
    assert (failure.content, failure.outcome) == (local.episodes[1].content, "failure")
    assert verify(remote) == []


def test_a_store_travels_to_another_process(
    stores: SimpleNamespace, embodiment: Embodiment, base_url: str, tmp_path: Path
) -> None:
    for path in (f"{base_url}/s.zarr", tmp_path / "s.zarr"):
        store = stores.write(path, embodiment, (5,))
        before = store.array("obs.front")[:]
        np.testing.assert_array_equal(
            pickle.loads(pickle.dumps(store)).array("obs.front")[:], before
        )


def test_a_url_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(StoreError, match=r"carrier-pigeon://x/s\.zarr: cannot be reached"):
        Store.open("carrier-pigeon://x/s.zarr")
    with pytest.raises(StoreError, match=r"memory://x/s\.zarr: there is no such store"):
        Store.open("memory://x/s.zarr")
