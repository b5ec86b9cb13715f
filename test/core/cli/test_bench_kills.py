# SPDX-License-Identifier: Apache-2.0
"""Law of every writer: what it said to be kept is there after SIGKILL at any moment."""

import json

import pytest

from uwm_core.cli.bench_kills import SCENARIOS
from uwm_core.cli.main import main


@pytest.mark.parametrize("what", sorted(SCENARIOS))
def test_a_kill_at_any_moment_loses_nothing(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "kills", "--what", what, "--kills", "5", "--seed", "7", "--json"]) == 0
    figures = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    values = {figure["metric"]: figure["value"] for figure in figures}
    assert (values["kills"], values["losses"]) == (5, 0)
