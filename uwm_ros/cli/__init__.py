# SPDX-License-Identifier: Apache-2.0
"""Verbs of ``uwm`` that need the ROS graph; the others live in ``uwm_core.cli``."""
