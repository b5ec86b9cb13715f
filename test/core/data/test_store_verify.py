# SPDX-License-Identifier: Apache-2.0
"""Laws of verifying a store: a flipped bit anywhere is found, and the right episodes named."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from uwm_core.data.store import ImageCoding, Store
from uwm_core.data.store_verify import Fault, verify
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError

LENGTHS = (30, 2, 55)


@pytest.fixture(params=[ImageCoding(), ImageCoding(kind="jpeg")], ids=str)
def store(
    request: pytest.FixtureRequest, stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path
) -> Store:
    written: Store = stores.write(tmp_path / "s.zarr", embodiment, LENGTHS, images=request.param)
    return written


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 1 << position % 8
    file.write_bytes(data)


def test_a_whole_store_has_no_fault_and_every_file_is_read(store: Store) -> None:
    read: list[int] = []
    assert verify(store, decode=True, seen=read.append) == []
    data = {name: size for name, size in store.files.sizes().items() if "/c/" in name}
    assert sum(read) == sum(data.values())


def test_a_flipped_bit_in_any_file_is_found(store: Store) -> None:
    rng = np.random.default_rng(0)
    for name, size in store.files.sizes().items():
        file = store.path / name
        whole = file.read_bytes()
        for position in {0, size - 1, int(rng.integers(size))}:
            flip(file, position)
            try:
                faults = verify(Store.open(store.path))
            except StoreError as error:
                assert name == "zarr.json", (name, position, error)
            else:
                assert faults, (name, position)
            file.write_bytes(whole)


def test_a_flipped_bit_in_an_image_names_its_row_and_episode(store: Store) -> None:
    sizes = [len(image) + 4 for image in store.encoded("wrist", slice(32, 48))]
    flip(store.path / "data/obs.wrist/c/2/0/0/0", sum(sizes[:3]) + 5)
    (fault,) = verify(store)
    assert (fault.where, fault.episodes) == ("data/obs.wrist row 35", (2,))
    assert "wrong checksum" in fault.reason
    with pytest.raises(StoreError, match=r"s\.zarr: data/obs\.wrist, rows 30 to 40: has a wrong"):
        Store.open(store.path).array("obs.wrist")[30:41]
    Store.open(store.path).array("obs.wrist")[36:]


def test_a_missing_file_names_the_episodes_in_it(store: Store) -> None:
    (store.path / "data/obs.front/c/1/0/0/0").unlink()
    assert verify(store) == [Fault("data/obs.front/c/1/0/0/0", (0, 1), "is missing")]
    assert "episodes 0 to 1" in str(verify(store)[0])


def test_an_intact_file_of_another_store_is_found(
    store: Store, stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path
) -> None:
    with stores.writer_at(tmp_path / "o.zarr", embodiment, images=store.coding) as writer:
        for index in range(87):
            writer.add(stores.step(index + 1))
            if index in (29, 31, 86):
                writer.end_episode(store.episodes[0])
    name = "data/obs.front/c/0/0/0/0"
    shutil.copy(tmp_path / "o.zarr" / name, store.path / name)
    assert [fault.episodes for fault in verify(store)] == [(0,)]
    assert "not those that its record speaks of" in verify(store)[0].reason


def test_rows_that_were_never_committed_are_no_fault(
    store: Store, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        stores.writer_at(store.path, embodiment, mode="append") as writer,
    ):
        for index in range(60):
            writer.add(stores.step(index))
        raise KeyboardInterrupt
    assert len(store.files.sizes()) > 0 and verify(Store.open(store.path)) == []
