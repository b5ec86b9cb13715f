# SPDX-License-Identifier: Apache-2.0
"""The command ``uwm``: one module per verb; each parses, calls and prints, nothing else."""
