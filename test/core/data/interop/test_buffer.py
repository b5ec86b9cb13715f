# SPDX-License-Identifier: Apache-2.0
"""UWM's and diffusion_policy's Zarr v2 buffers, built here with zarr and numcodecs alone."""

from __future__ import annotations

import json

import numcodecs
import numpy as np
import pytest
import zarr
from numcodecs import Blosc

from uwm_core.cli.main import main
from uwm_core.data.interop.buffer import BufferSource, export_buffer
from uwm_core.data.interop.exporting import Selection
from uwm_core.data.interop.importing import import_source
from uwm_core.data.store import Store
from uwm_core.errors import DataError

ENDS = [4, 9]
SPARE = 3  # rows that a writer reserved and did not use


def published_buffer(path, prefix="obs.", store=None, pictures=None, compressors=None):
    """As UWM's writer leaves it: one lz4 chunk per picture, room for more rows than there are."""
    rng = np.random.default_rng(1)
    rows = ENDS[-1] + SPARE
    if pictures is None:
        pictures = rng.integers(0, 256, (rows, 6, 8, 3), dtype=np.uint8)
    arrays = {
        f"{prefix}exterior": pictures,
        f"{prefix}cartesian_position": rng.normal(size=(rows, 6)).astype(np.float32),
        f"{prefix}gripper": rng.normal(size=rows),
        "action": rng.normal(size=(rows, 10)).astype(np.float32),
        "keypoint": rng.normal(size=(rows, 9, 2)),
    }
    root = zarr.create_group(store or str(path), zarr_format=2)
    for name, array in arrays.items():
        image = array.ndim == 4
        root.create_array(
            f"data/{name}",
            data=array,
            chunks=(1, *array.shape[1:]) if image else array.shape,
            compressors=(image and compressors) or Blosc(cname="lz4", clevel=5, shuffle=0),
        )
    root.create_array("meta/episode_ends", data=np.array(ENDS), compressors=None)
    return arrays


@pytest.mark.parametrize("prefix", ["obs.", ""])
def test_every_number_up_to_the_last_end_is_in_the_store(tmp_path, prefix):
    truth = published_buffer(tmp_path / "buffer.zarr", prefix)
    report = import_source(BufferSource(tmp_path / "buffer.zarr", 15), tmp_path / "x.zarr")
    store = Store.open(report.store)
    assert store.episode_ends.tolist() == ENDS
    assert store.embodiment.rate_hz == 15
    for key in ("exterior", "cartesian_position"):
        assert np.array_equal(store.array(f"obs.{key}")[:], truth[prefix + key][: ENDS[-1]])
    gripper = truth[f"{prefix}gripper"][: ENDS[-1], None].astype(np.float32)
    assert np.array_equal(store.array("obs.gripper")[:], gripper)
    assert np.array_equal(store.array("action")[:], truth["action"][: ENDS[-1]])
    assert report.notes == ("keypoint is left out: it is float64 (12, 9, 2)",)


def test_pictures_kept_as_floats_are_the_pixels_they_say(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (12, 6, 8, 3), dtype=np.uint8)
    published_buffer(tmp_path / "b.zarr", pictures=pixels.astype(np.float32))
    store = Store.open(import_source(BufferSource(tmp_path / "b.zarr", 10), tmp_path / "x").store)
    assert np.array_equal(store.array("obs.exterior")[:], pixels[: ENDS[-1]])
    published_buffer(tmp_path / "c.zarr", pictures=(pixels / 255).astype(np.float32))
    with pytest.raises(DataError, match=r"c.zarr/0: exterior must be pixels from 0 to 255"):
        import_source(BufferSource(tmp_path / "c.zarr", 10), tmp_path / "y")


@pytest.mark.parametrize("codec", ["Jpeg2k", "Jpegxl"])
def test_an_archive_with_picture_codecs_is_read(tmp_path, codec):
    codecs = pytest.importorskip("imagecodecs.numcodecs")
    codecs.register_codecs(verbose=False)
    lossless = {"Jpeg2k": {"reversible": True, "level": 0}, "Jpegxl": {"lossless": True}}
    with zarr.storage.ZipStore(tmp_path / "umi.zarr.zip", mode="w") as archive:
        packed = getattr(codecs, codec)(**lossless[codec])
        truth = published_buffer(None, store=archive, compressors=packed)
    source = BufferSource(tmp_path / "umi.zarr.zip", 10)
    store = Store.open(import_source(source, tmp_path / "x.zarr").store)
    assert np.array_equal(store.array("obs.exterior")[:], truth["obs.exterior"][: ENDS[-1]])


def test_a_buffer_without_actions_needs_a_robot(tmp_path, capsys):
    published_buffer(tmp_path / "b.zarr")
    (tmp_path / "b.zarr/data/action").rename(tmp_path / "gone")
    command = ["import", "buffer", str(tmp_path / "b.zarr"), "-o", str(tmp_path / "x.zarr")]
    assert main(command) == 2
    assert "say it (--rate 10)" in capsys.readouterr().err
    assert main([*command, "--rate", "10"]) == 2
    assert "has no actions" in capsys.readouterr().err


def test_a_damaged_buffer_is_named(tmp_path):
    published_buffer(tmp_path / "b.zarr")
    (tmp_path / "b.zarr/data/obs.exterior/5.0.0.0").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"b.zarr/1: exterior: cannot be read"):
        import_source(BufferSource(tmp_path / "b.zarr", 10), tmp_path / "x.zarr")
    with pytest.raises(DataError, match="there is no such buffer"):
        BufferSource(tmp_path / "none.zarr", 10)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: cannot be read: No group"):
        BufferSource(tmp_path / "empty", 10)


def test_a_store_goes_out_and_comes_back_the_same(store, tmp_path, assert_same):
    export_buffer(Selection.of(store), tmp_path / "b.zarr")
    back = import_source(BufferSource(tmp_path / "b.zarr"), tmp_path / "back.zarr")
    assert_same(store, Store.open(back.store))
    assert back.notes == ()


def test_what_is_written_is_what_uwm_reads(store, tmp_path):
    """UWM opens ``data/<key>`` by name, demands one length, and reads one lz4 chunk per picture."""
    export_buffer(Selection.of(store), tmp_path / "b.zarr")
    folder = tmp_path / "b.zarr"
    assert json.loads((folder / ".zgroup").read_text()) == {"zarr_format": 2}
    meta = {p.parent.name: json.loads(p.read_text()) for p in folder.glob("data/*/.zarray")}
    assert {m["shape"][0] for m in meta.values()} == {store.steps}
    assert meta["obs.front"]["chunks"] == [1, 24, 32, 3]
    assert meta["obs.front"]["compressor"]["cname"] == "lz4"
    codec = numcodecs.get_codec(meta["obs.front"]["compressor"])
    picture = np.frombuffer(codec.decode((folder / "data/obs.front/5.0.0.0").read_bytes()), "u1")
    assert picture.tobytes() == store.array("obs.front")[5].tobytes()
    ends = json.loads((folder / "meta/episode_ends/.zarray").read_text())
    assert (ends["dtype"], ends["shape"], ends["compressor"]) == ("<i8", [3], None)


def test_an_export_is_whole_or_absent(store, tmp_path, capsys):
    out = tmp_path / "b.zarr"
    (out / "data").mkdir(parents=True)
    assert main(["export", "buffer", str(store.path), "-o", str(out), "-q"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["export", "buffer", str(store.path), "-o", str(out), "-q", "--overwrite"]) == 0
    assert not out.with_name("b.zarr.part").exists()
    assert len(BufferSource(out).layout.state) == 2
