# SPDX-License-Identifier: Apache-2.0
"""Laws of `uwm train` and `uwm evaluate`: a store goes in, a checkpoint and figures come out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from uwm_core.cli.main import main
from uwm_core.data.windows import Steps
from uwm_core.embodiment import Embodiment
from uwm_core.policy import Policy
from uwm_core.spec import dump_spec
from uwm_core.training.config import TrainConfig


@pytest.fixture(scope="module")
def run(
    tiny_store: Path, tiny_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("run")
    (out / "tiny.yaml").write_text(dump_spec(tiny_config))
    words = ["train", str(out / "tiny.yaml"), "--store", str(tiny_store), "-o", str(out), "-q"]
    assert main(words) == 0
    return out


def test_train_makes_a_checkpoint_that_drives(run: Path, tiny_embodiment: Embodiment) -> None:
    policy = Policy.load(run / "checkpoint")
    policy.check_embodiment(tiny_embodiment)
    policy.warm_up()
    assert policy.checkpoint.training["data"]["store"] == "tiny.zarr"


def test_steps_of_a_store_are_what_was_written(tiny_store: Path, tiny_steps: Steps) -> None:
    from uwm_core.data.store import Store

    for memory_bytes in (1 << 30, 0):
        read = Steps.of_store(Store.open(tiny_store), memory_bytes=memory_bytes)
        np.testing.assert_array_equal(read.action, tiny_steps.action)
        np.testing.assert_array_equal(read.state, tiny_steps.state)
        assert read.episodes == tiny_steps.episodes
        rows = np.array([7, 3, 3, 50])
        for name in tiny_steps.images:
            np.testing.assert_array_equal(read.images[name][rows], tiny_steps.images[name][rows])


def test_evaluate_prints_one_object_per_figure_and_draws(
    run: Path, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    words = ["evaluate", str(run / "checkpoint"), "--store", str(tiny_store), "--windows", "3"]
    assert main([*words, "--sample-steps", "1", "--sheet", str(sheet), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["bench"] for line in lines} == {"evaluate_expert", "evaluate_play"}
    assert sheet.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "RUN/checkpoint"], "nothing to measure"),
        (["evaluate", "nowhere", "--sim", "1"], "unknown checkpoint 'nowhere'"),
        (["train", "RUN/tiny.yaml", "--store", "nowhere", "-o", "RUN"], "no such store"),
        (["train", "RUN/tiny.yaml", "--store", "STORE", "-o", "RUN"], "already holds a run"),
        (["train", "RUN/no.yaml", "--store", "STORE", "-o", "RUN"], "cannot be read"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    run: Path,
    tiny_store: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.replace("RUN", str(run)).replace("STORE", str(tiny_store)) for word in words]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
