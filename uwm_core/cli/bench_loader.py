# SPDX-License-Identifier: Apache-2.0
"""``uwm bench loader``: windows per second and size of our stores beside the published buffer.

The published window (2 + 16 + 2, of 19 steps), three views of 180x320, batches of 36; the same
pictures in every store, the same number of workers, rounds taken in turn, the median counts. What
the lossy stores lose is measured against the pictures as they were. Without workers the processor
time per window is measured too: it hardly minds what else the machine does. The stores lie in a
temporary folder and are thrown away.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from uwm_core.cli.camera_pictures import VIEWS, pictures
from uwm_core.cli.published_buffer import (
    CHUNK,
    HISTORY,
    BareDataset,
    PublishedDataset,
    batches,
    write_buffer,
)
from uwm_core.data.dataset import Loader, WindowReader
from uwm_core.data.normalize import Normalizer
from uwm_core.data.plan import BatchPlan, Sampling
from uwm_core.data.store import ImageCoding, Store, StoreWriter
from uwm_core.data.store_format import EpisodeRecord
from uwm_core.data.windows import Rows, Steps, cut_windows
from uwm_core.embodiment import Embodiment
from uwm_core.figures import Figure
from uwm_core.records import Step

SIZE = (180, 320)
EPISODE_STEPS = 100

Batches = Callable[[int], Iterator[object]]
"""Endless batches of one competitor, given the number of workers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the benchmark's arguments."""
    parser.add_argument("--steps", type=int, default=600, help="steps of the content (default 600)")
    parser.add_argument("--batch", type=int, default=36, help="windows per batch (default 36)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per competitor (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round, at least")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="default 0 2")
    parser.add_argument(
        "--images",
        nargs="+",
        default=["lossless", "jpeg", "jpegxl"],
        help="codings to measure, like jpeg or jpeg:90",
    )
    parser.add_argument("--patterns", action="store_true", help="no simulator: drifting colours")
    parser.add_argument("--cold", action="store_true", help="drop the page cache before each round")
    parser.add_argument("--folder", help="where the stores are made; default a temporary folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object per figure")


def run(args: argparse.Namespace) -> int:
    """Make the stores, measure, print."""
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for figure in _measure(args, Path(folder)):
            print(figure.to_json() if args.json else figure.to_text(), flush=True)
    return 0


@dataclasses.dataclass(frozen=True, eq=False)
class _Content:
    """What every store holds."""

    views: dict[str, npt.NDArray[np.uint8]]
    state: npt.NDArray[np.float32]
    action: npt.NDArray[np.float32]
    ends: Rows
    embodiment: Embodiment

    @classmethod
    def make(cls, count: int, *, simulate: bool) -> _Content:
        robot = Embodiment.load("fr3_sim")
        camera = dataclasses.replace(robot.cameras["front"], size=SIZE)
        robot = dataclasses.replace(robot, cameras=dict.fromkeys(VIEWS, camera))
        seen = list(tqdm(pictures(count, SIZE, simulate=simulate), "pictures", count, disable=None))
        rng = np.random.default_rng(0)
        return cls(
            views={view: np.stack([step[view] for step in seen]) for view in VIEWS},
            state=rng.normal(size=(count, robot.state_size)).astype(np.float32),
            action=rng.normal(size=(count, robot.action_size)).astype(np.float32),
            ends=np.unique([*range(EPISODE_STEPS, count, EPISODE_STEPS), count]),
            embodiment=robot,
        )

    def write(self, path: Path, coding: ImageCoding) -> None:
        robot = self.embodiment
        with StoreWriter(path, robot, images=coding) as writer:
            for row in tqdm(range(len(self.action)), str(coding), disable=None):
                writer.add(
                    Step(
                        stamp_ns=row * robot.period_ns,
                        images={view: images[row] for view, images in self.views.items()},
                        state=_parts(robot.state, self.state[row]),
                        action=_parts(robot.action, self.action[row]),
                    )
                )
                if row + 1 in self.ends:
                    writer.end_episode(EpisodeRecord())
            writer.commit()


def _parts(
    vectors: dict[str, Any], values: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[np.float32]]:
    """One row of columns as the vectors that they are made of."""
    stops = np.cumsum([vector.size for vector in vectors.values()])
    return dict(zip(vectors, np.split(values, stops[:-1]), strict=True))


def _measure(args: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    content = _Content.make(args.steps, simulate=not args.patterns)
    published = folder / "published.zarr"
    write_buffer(published, content.views, content.action, content.ends)
    stores: dict[str, Path] = {}
    for word in args.images:
        stores[word] = folder / f"{word.replace(':', '_')}.zarr"
        content.write(stores[word], ImageCoding.parse(word))
    for word, path in stores.items():
        yield _figure(f"size_{word}", _size_mb(path), "MB", _size_mb(published))
        if word != "lossless":
            yield _figure(f"psnr_{word}", _psnr_db(Store.open(path), content), "dB")
    ours = {word: _our_batches(path, args.batch) for word, path in stores.items()}
    theirs: dict[str, Batches] = {
        "published": lambda n: batches(PublishedDataset(published), args.batch, n, 0),
        "published_bare": lambda n: batches(BareDataset(published), args.batch, n, 0),
    }
    del content
    for workers in args.workers:
        speeds = _speeds({**theirs, **ours}, workers, args, [published, *stores.values()])
        for word, peer in itertools.product(ours, theirs):
            mine, other = speeds[word], speeds[peer]
            metric = f"{word}_workers{workers}"
            yield _figure(f"windows_{metric}", mine.windows_s, "1/s", other.windows_s, peer)
            if not workers:
                yield _figure(f"cpu_{metric}", mine.cpu_ms, "ms/window", other.cpu_ms, peer)


def _figure(
    metric: str, value: float, unit: str, peer_value: float | None = None, peer: str = "published"
) -> Figure:
    return Figure(
        bench="loader",
        metric=metric,
        value=value,
        unit=unit,
        peer=None if peer_value is None else peer,
        peer_value=peer_value,
    )


def _our_batches(path: Path, batch: int) -> Batches:
    def endless(workers: int) -> Iterator[object]:
        # As `uwm train` does: without workers the reading process has the cores to itself.
        store = Store.open(path, threads=1 if workers else len(os.sched_getaffinity(0)))
        steps = Steps.of_store(store, memory_bytes=0)
        windows = cut_windows(
            steps.episodes, history=HISTORY, chunk=CHUNK, hold=False, valid=steps.valid
        )
        robot = store.embodiment
        normalizer = Normalizer.fit(
            steps,
            range(len(steps.episodes)),
            action_names=robot.action_names,
            state_names=robot.state_names,
        )
        reader = WindowReader(steps, windows, normalizer)
        plan = BatchPlan(windows, Sampling(batch=batch))
        with Loader(reader, plan, workers=workers) as loader:
            for number in itertools.count():
                yield loader.batch(number)

    return endless


class _Speed(NamedTuple):
    """How fast windows came, and what each took of the asking process."""

    windows_s: float
    cpu_ms: float


def _speeds(
    competitors: dict[str, Batches], workers: int, args: argparse.Namespace, paths: list[Path]
) -> dict[str, _Speed]:
    """Speed of each, the median of rounds taken in turn."""
    found: dict[str, list[_Speed]] = {name: [] for name in competitors}
    for _ in tqdm(range(args.rounds), f"rounds, {workers} workers", disable=None):
        for name, endless in competitors.items():
            if args.cold:
                _drop_cached(paths)
            found[name].append(_speed(endless(workers), args.batch, workers, args.seconds))
    return {
        name: _Speed(*(statistics.median(values) for values in zip(*speeds, strict=True)))
        for name, speeds in found.items()
    }


def _speed(coming: Iterator[object], batch: int, workers: int, seconds: float) -> _Speed:
    """Speed once the workers are at work, over ``seconds`` and three batches at least."""
    for _ in range(2 * workers + 1):
        next(coming)
    begin_s, cpu_s, count = time.perf_counter(), time.process_time(), 0
    while count < 3 or time.perf_counter() - begin_s < seconds:
        next(coming)
        count += 1
    took_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - cpu_s
    del coming  # ends its workers before the next one's begin
    return _Speed(count * batch / took_s, cpu_s * 1e3 / (count * batch))


def _drop_cached(paths: list[Path]) -> None:
    for path in paths:
        for file in path.rglob("*"):
            if file.is_file():
                descriptor = os.open(file, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)


def _size_mb(path: Path) -> float:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


def _psnr_db(store: Store, content: _Content) -> float:
    """What a store loses, over all pixels of all views."""
    total, count = 0.0, 0
    for view, images in content.views.items():
        array = store.array(f"obs.{view}")
        for start in range(0, len(images), 50):
            rows = slice(start, start + 50)
            error = array[rows].astype(np.int32) - images[rows]
            total, count = total + float(np.square(error).sum()), count + error.size
    return float(10 * np.log10(255**2 * count / total))
