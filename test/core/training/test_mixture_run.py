# SPDX-License-Identifier: Apache-2.0
"""Laws of a run over several stores: what it held out, and that workers change nothing."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uwm_core.checkpoint import load_checkpoint
from uwm_core.cli.main import main
from uwm_core.data.mixture import Source, mix
from uwm_core.data.store import StoreWriter
from uwm_core.data.store_format import EncodedStep, EpisodeRecord, ImageCoding
from uwm_core.data.store_images import encode_image
from uwm_core.data.windows import EpisodeSpan, Steps, Valid
from uwm_core.embodiment import Embodiment
from uwm_core.spec import dump_spec
from uwm_core.training.config import TrainConfig
from uwm_core.training.evaluate import held_out
from uwm_core.training.journal import read_journal
from uwm_core.training.loop import Data, train
from uwm_core.training.optimise import Interrupted


def curves(out: Path) -> list[dict[str, Any]]:
    """A run's diary without how long its steps took."""
    return read_journal(out, timing=False)


def film_of(steps: Steps) -> Steps:
    """The same pictures as two films without actions."""
    rows = len(steps.action)
    nothing = np.zeros(rows, bool)
    return Steps(
        images=steps.images,
        state=steps.state,
        action=np.full_like(steps.action, np.nan),
        episodes=(
            EpisodeSpan(start=0, stop=40, role="video"),
            EpisodeSpan(start=40, stop=rows, role="video"),
        ),
        valid=Valid(images=~nothing, state=~nothing, action=nothing),
    )


@pytest.fixture(scope="module")
def mixed(tiny_steps: Steps, tiny_embodiment: Embodiment, tiny_config: TrainConfig) -> Data:
    sources = [
        Source(name="robot", steps=tiny_steps, embodiment=tiny_embodiment),
        Source(name="film", steps=film_of(tiny_steps), embodiment=tiny_embodiment, share=0.5),
    ]
    return Data.of_mixture(mix(sources), tiny_config)


def test_statistics_and_split_of_the_robot_are_as_without_the_film(
    mixed: Data, tiny_data: Data
) -> None:
    assert mixed.normalizer.dumps() == tiny_data.normalizer.dumps()
    robots = len(tiny_data.steps.episodes)
    of_robot = tuple(number for number in mixed.split.validation if number < robots)
    assert of_robot == tiny_data.split.validation


def test_a_mixed_run_is_the_same_with_workers_and_knows_what_it_held_out(
    mixed: Data, tiny_steps: Steps, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    train(tiny_config, mixed, tmp_path / "plain", quiet=True)
    train(dataclasses.replace(tiny_config, workers=2), mixed, tmp_path / "ahead", quiet=True)
    assert curves(tmp_path / "plain") == curves(tmp_path / "ahead")
    checkpoint = load_checkpoint(tmp_path / "plain" / "checkpoint")
    robots = len(tiny_steps.episodes)
    kept = tuple(number for number in mixed.split.validation if number < robots)
    assert held_out(checkpoint, tiny_steps) == kept
    films = tuple(n - robots for n in mixed.split.validation if n >= robots)
    assert held_out(checkpoint, film_of(tiny_steps)) == films
    assert held_out(checkpoint, mixed.steps) == mixed.split.validation


def test_a_run_goes_on_with_workers_as_it_would_have_without(
    mixed: Data, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    train(tiny_config, mixed, tmp_path / "whole", quiet=True)

    class Interrupting:
        """Images that press Ctrl-C when they are read for the 13th time: in the model's phase."""

        def __init__(self, images: Any) -> None:
            self._images, self._left = images, 13
            self.shape = images.shape

        def __len__(self) -> int:
            return len(self._images)

        def __getitem__(self, rows: np.ndarray) -> np.ndarray:
            self._left -= 1
            if self._left == 0:
                signal.raise_signal(signal.SIGINT)
            return np.asarray(self._images[rows])

    images = {**mixed.steps.images, "front": Interrupting(mixed.steps.images["front"])}
    stopped = dataclasses.replace(mixed, steps=dataclasses.replace(mixed.steps, images=images))
    with pytest.raises(Interrupted, match="of model"):
        train(tiny_config, stopped, tmp_path / "parts", quiet=True)
    assert len(read_journal(tmp_path / "parts")) < len(read_journal(tmp_path / "whole"))
    again = dataclasses.replace(tiny_config, workers=2)
    train(again, mixed, tmp_path / "parts", resume=True, quiet=True)
    assert curves(tmp_path / "parts") == curves(tmp_path / "whole")


@pytest.fixture
def stores(tiny_steps: Steps, tiny_embodiment: Embodiment, tmp_path: Path) -> Path:
    """A folder with a robot's store and that of a film, which one camera took."""
    for name, acting in (("robot", True), ("film", False)):
        with StoreWriter(tmp_path / name, tiny_embodiment) as writer:
            for row in range(45):
                state, action = tiny_steps.state[row], tiny_steps.action[row]
                taken = {"joint_target": action[:7], "gripper_width": action[7:]}
                shown = ("front", "wrist") if acting else ("front",)
                writer.add_encoded(
                    EncodedStep(
                        stamp_ns=row * tiny_embodiment.period_ns,
                        images={
                            view: encode_image(ImageCoding(), tiny_steps.images[view][row])
                            for view in shown
                        },
                        state={"joint_pos": state[:7], "gripper_width": state[7:]}
                        if acting
                        else {},
                        action=taken if acting else {},
                    )
                )
                if row in (22, 44):
                    writer.end_episode(EpisodeRecord(has_action=acting))
            writer.commit()
    return tmp_path


def test_train_takes_several_stores_their_shares_and_the_views_that_they_have(
    stores: Path, tiny_config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    short = dataclasses.replace(tiny_config.model, iterations=1)
    for name, views in (("all", ()), ("front", ("front",))):
        config = dataclasses.replace(tiny_config, model=short, views=views)
        (stores / f"{name}.yaml").write_text(dump_spec(config))
    robot, film, out = (str(stores / name) for name in ("robot", "film", "out"))
    rest = ["--store", robot, "-o", out, "-q", "--store"]
    assert main(["train", str(stores / "all.yaml"), *rest, film]) == 2
    assert "film has no image of camera wrist" in capsys.readouterr().err
    assert main(["train", str(stores / "front.yaml"), *rest, f"{film}:25"]) == 2
    assert "must be between 0 and 1" in capsys.readouterr().err
    assert main(["train", str(stores / "front.yaml"), *rest, f"{film}:0.25"]) == 0
    checkpoint = load_checkpoint(stores / "out" / "checkpoint")
    data = checkpoint.training["data"]
    assert data["store"] == "robot, film"
    assert [entry["share"] for entry in data["stores"]] == [None, 0.25]
    assert checkpoint.config.views == ("front",)
    for store in (robot, film):
        words = ["evaluate", f"{out}/checkpoint", "--store", store, "--windows", "2"]
        assert main([*words, "--sample-steps", "1"]) == 0
