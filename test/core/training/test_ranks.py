# SPDX-License-Identifier: Apache-2.0
"""Laws of a run that processes share: it is the run of one process, and they end together.

torchrun starts two processes on this machine; what they do is in `ranks.py`. The oracle is the run
of the one process that runs the tests.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from uwm_core.checkpoint import load_checkpoint
from uwm_core.data.mixture import Source, mix
from uwm_core.data.store import Store
from uwm_core.errors import SpecError
from uwm_core.spec import dump_spec, read_spec
from uwm_core.training.config import Compute, TrainConfig
from uwm_core.training.journal import read_journal
from uwm_core.training.loop import Data, train
from uwm_core.training.shards import newest
from uwm_core.training.state import Place
from uwm_core.training.team import Team
from uwm_core.world_model import WorldModel

PROGRAM = Path(__file__).with_name("ranks.py")
# From the start, from a state in one file, from one in shards.
WHOLE_RUNS = ["ddp", "fsdp", "fsdp_ported", "fsdp_resharded", "ddp_resharded"]
CLOSE = 1e-4  # relative


def torchrun(*words: str, ranks: int = 2) -> subprocess.Popen[str]:
    """Start processes on this machine that find each other at a free port."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*command, f"--nproc-per-node={ranks}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and everything that was said."""
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


@pytest.fixture(scope="module")
def folder(
    tiny_store: Path, tiny_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store and a config."""
    place = tmp_path_factory.mktemp("ranks")
    (place / "store").symlink_to(tiny_store)
    config = dataclasses.replace(
        tiny_config,
        # Crops and shifts belong to what must not depend on the ranks; 3 held-out batches, of
        # which the last is not for every piece of a rank.
        shift_px=2,
        validation_windows=17,
        model=dataclasses.replace(tiny_config.model, batch=8, draws=2, iterations=6),
    )
    (place / "config.yaml").write_text(dump_spec(config))
    return place


def alone(folder: Path, out: Path, *, resume: bool = False) -> Path:
    config = read_spec(folder / "config.yaml", TrainConfig)
    data = Data.of_mixture(mix([Source.of_store(Store.open(folder / "store"))]), config)
    train(config, data, out, resume=resume, quiet=True)
    return out


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The run of one process."""
    return alone(folder, folder / "whole")


@pytest.fixture(scope="module")
def shared(folder: Path) -> Path:
    """The runs of two processes."""
    names = ["ddp_stopped", "fsdp_stopped", *WHOLE_RUNS, "ddp_poisoned"]
    status, said = ended(torchrun(str(PROGRAM), str(folder), *names))
    assert status == 0, said
    return folder


def assert_same_run(one: Path, other: Path) -> None:
    """Loss curves, held-out losses and weights agree."""
    first, second = (read_journal(out, timing=False) for out in (one, other))
    assert [(e["phase"], e["step"]) for e in first] == [(e["phase"], e["step"]) for e in second]
    for a, b in zip(first, second, strict=True):
        assert (b.pop("phase"), b) == (a.pop("phase"), pytest.approx(a, rel=CLOSE))
    config = read_spec(one / "config.yaml", TrainConfig)
    checkpoints = [load_checkpoint(out / "checkpoint") for out in (one, other)]
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        start = flat(WorldModel(checkpoints[0].config).state_dict())
    ours, theirs = (flat(checkpoint.weights) for checkpoint in checkpoints)
    # Relative to the way that was learned, not to where it began.
    way = torch.linalg.vector_norm(ours - start)
    assert torch.linalg.vector_norm(theirs - ours) <= CLOSE * way


def flat(weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """All numbers that are learned in the model's phase."""
    learned = [value for name, value in weights.items() if not name.startswith("codec.")]
    return torch.cat([value.double().flatten() for value in learned])


@pytest.mark.parametrize("scenario", WHOLE_RUNS)
def test_two_ranks_learn_what_one_learns_from_the_start_or_any_state(
    shared: Path, whole: Path, scenario: str
) -> None:
    assert_same_run(whole, shared / scenario)


def test_the_command_line_says_one_line_for_all_ranks(folder: Path, whole: Path) -> None:
    out = folder / "line"
    words = ["train", str(folder / "config.yaml"), "--store", str(folder / "store")]
    status, said = ended(torchrun("-m", "uwm_core.cli.main", *words, "-o", str(out), "-q"))
    assert status == 0, said
    assert said.count("held-out loss") == 1
    assert "waiting for data" in said
    assert_same_run(whole, out)


@pytest.mark.parametrize("scenario", ["ddp_stopped", "fsdp_stopped"])
def test_sigterm_on_one_rank_stops_all_and_one_rank_alone_can_go_on(
    shared: Path, whole: Path, scenario: str
) -> None:
    said = {(shared / f"{scenario}.{rank}.txt").read_text() for rank in (0, 1)}
    assert len(said) == 1
    assert said.pop().startswith("Interrupted: stopped after step")
    steps = [
        entry["step"] for entry in read_journal(shared / scenario) if entry["phase"] == "model"
    ]
    assert 0 < len(steps) < 6
    alone(shared, shared / scenario, resume=True)
    assert_same_run(whole, shared / scenario)
    # One kind of state at a time: what goes on next must not take an old one.
    assert [p.name for p in (shared / scenario).glob("state_model*")] == ["state_model.safetensors"]


def test_what_is_not_a_number_on_one_rank_is_an_error_on_all(shared: Path) -> None:
    said = {(shared / f"ddp_poisoned.{rank}.txt").read_text() for rank in (0, 1)}
    assert len(said) == 1
    assert said.pop().startswith("Diverged: model diverged at step")
    assert not list((shared / "ddp_poisoned").glob("state_model*"))


def test_a_rank_that_fails_ends_all_with_its_error_named_and_they_can_be_started_again(
    folder: Path, whole: Path
) -> None:
    status, said = ended(torchrun("--max-restarts=1", str(PROGRAM), str(folder), "ddp_failed"))
    assert status == 0, said
    assert "OSError: the disk of rank 1 is gone" in said
    assert_same_run(whole, folder / "ddp_failed")


def test_shards_that_were_being_written_are_no_state(tmp_path: Path) -> None:
    place = Place(tmp_path, "model", "stamp")
    assert newest(place) == (0, None)
    for step, files in ((8, ["run.json", ".metadata"]), (90, ["run.json", "__0_0.distcp"])):
        folder = place.shards / f"step_{step:08d}"
        folder.mkdir(parents=True)
        for name in files:
            (folder / name).touch()
    assert newest(place) == (8, place.shards / "step_00000008")


def test_a_batch_that_cannot_be_divided_is_refused_with_what_could(
    tiny_config: TrainConfig, tiny_data: Data, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny_config, compute=Compute(accumulate=2))
    with pytest.raises(SpecError, match=r"batch 4 .* 3 processes x accumulate 2; a multiple of 6"):
        train(config, tiny_data, tmp_path / "out", quiet=True, team=Team(size=3))
    assert not (tmp_path / "out").exists()


def test_ctrl_c_of_torchrun_saves_the_run(folder: Path) -> None:
    out = folder / "cut"
    long = read_spec(folder / "config.yaml", TrainConfig)
    long = dataclasses.replace(
        long, save_every=100_000, model=dataclasses.replace(long.model, iterations=100_000)
    )
    (folder / "long.yaml").write_text(dump_spec(long))
    words = ["train", str(folder / "long.yaml"), "--store", str(folder / "store"), "-o", str(out)]
    process = torchrun("-m", "uwm_core.cli.main", *words, "-q")
    deadline = time.monotonic() + 120
    while not any(entry["phase"] == "model" for entry in read_journal(out)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = ended(process)
    assert "saved in" in said
    assert (out / "state_model.safetensors").exists()
