# SPDX-License-Identifier: Apache-2.0
"""What `uwm bench policy` and `uwm bench train` say; how long things take is not asked here."""

import json

import pytest

from uwm_core.cli.main import main

KEYS = {"bench", "metric", "value", "unit", "peer", "peer_value", "ratio", "machine"}


def figures(capsys, *words):
    assert main(["bench", *words, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(set(line) == KEYS for line in lines)
    return {line["metric"]: line for line in lines}


def find(found, start):
    return next(line for metric, line in found.items() if metric.startswith(start))


@pytest.mark.parametrize(("fast", "least", "most"), [("exact", 0, 1e-4), ("bf16", 1e-6, 5e-2)])
def test_both_formulations_answer_the_same(capsys, fast, least, most):
    words = ("policy", "--against", "published", "--fast", fast, "--runs", "1")
    found = figures(capsys, *words)
    difference = find(found, "chunk_relative_difference")["value"]
    assert least <= difference <= most
    assert find(found, "chunk_p50")["peer"] == "published formulation"
    assert find(found, "network_calls")["value"] == 8


def test_fewer_steps_are_counted(capsys):
    words = ("policy", "--against", "published", "--fast", "fewer-steps", "--runs", "1")
    assert find(figures(capsys, *words), "network_calls")["value"] < 8


def test_a_checkpoint_alone(capsys):
    assert set(figures(capsys, "policy", "--runs", "1")) == {
        "act_p50",
        "act_p95",
        "imagine_p50",
        "imagine_p95",
    }


def test_a_training_step(capsys):
    words = ("train", "--preset", "sim_small", "--batch", "2", "--runs", "1")
    found = figures(capsys, *words)
    assert find(found, "step_p50_sim_small")["ratio"] > 0
    assert find(found, "step_p50_cached")["peer"] == "published with cached latents"
