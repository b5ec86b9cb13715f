# SPDX-License-Identifier: Apache-2.0
"""Data sets with damage at random: cut off, bits turned, pages zeroed, files gone.

Whatever is met, an import gives an error of one line or a store that opens; it never ends in a
library's own error.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from uwm_core.cli.main import main
from uwm_core.data.interop.buffer import BufferSource
from uwm_core.data.interop.importing import ImportConfig, import_source
from uwm_core.data.interop.lerobot import LerobotSource
from uwm_core.data.interop.robomimic import RobomimicSource
from uwm_core.data.interop.videos import VideoFolder, VideosOptions
from uwm_core.data.store import Store
from uwm_core.errors import UwmError

for library in ("h5py", "pyarrow", "av"):
    pytest.importorskip(library)

TRIES = 12
EXPORTS = {
    "robomimic": ["robomimic"],
    "buffer": ["buffer"],
    "lerobot": ["lerobot"],
    "lerobot_image": ["lerobot", "--images", "image"],
}


@pytest.fixture
def whole(make_store, numbered, tmp_path):
    """A whole data set of each format."""
    store = make_store(tmp_path / "s.zarr", pictures=numbered[0])
    for name, (fmt, *options) in EXPORTS.items():
        command = ["export", fmt, str(store.path), "-o", str(tmp_path / name), "-q", *options]
        assert main(command) == 0
    (tmp_path / "videos").mkdir()
    video = next((tmp_path / "lerobot").rglob("*.mp4"))
    shutil.copy(video, tmp_path / "videos/a.mp4")
    return tmp_path


def open_source(name, path, robot):
    if name == "videos":
        return VideoFolder([path], robot, VideosOptions(camera="front"))
    if name == "robomimic":
        return RobomimicSource([path])
    return BufferSource(path) if name == "buffer" else LerobotSource(path)


def damage(path: Path, rng: random.Random) -> str:
    """Harm one file of a data set."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    file = rng.choice(files)
    data = bytearray(file.read_bytes())
    kind = rng.choice(["cut", "bits", "zeros", "gone"])
    if kind == "cut":
        del data[rng.randrange(len(data) + 1) :]
    elif kind == "bits":
        for _ in range(rng.choice([1, 5, 50])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        start = rng.randrange(len(data))
        data[start : start + 64] = bytes(len(data[start : start + 64]))
    file.write_bytes(data)
    if kind == "gone":
        file.unlink()
    return f"{kind} {file.name}"


@pytest.mark.parametrize("name", [*EXPORTS, "videos"])
def test_damage_is_an_error_of_ours_or_a_store_that_opens(whole, robot, name):
    rng = random.Random(name)
    for number in range(TRIES):
        broken, out = whole / f"try_{number}", whole / f"try_{number}.zarr"
        (shutil.copytree if (whole / name).is_dir() else shutil.copy)(whole / name, broken)
        what = damage(broken, rng)
        try:
            config = ImportConfig(skip_bad=bool(number % 2))
            import_source(open_source(name, broken, robot), out, config)
        except UwmError as error:
            assert "\n" not in str(error), what
        if out.exists():
            store = Store.open(out)
            for index in range(len(store)):
                store.episode(index)
