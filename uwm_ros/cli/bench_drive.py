# SPDX-License-Identifier: Apache-2.0
"""``uwm bench drive``: success, latency and holds of a checkpoint on the simulated arm.

The demo's attempts without the film, 50 of them by default, through the ROS graph in real time.
"""

from __future__ import annotations

import argparse

from uwm_ros.cli import demo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo's arguments."""
    demo.add_arguments(parser, attempts=50)


def run(args: argparse.Namespace) -> int:
    """Play the attempts and print the figures."""
    return demo.run(args)
