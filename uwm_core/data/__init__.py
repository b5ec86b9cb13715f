# SPDX-License-Identifier: Apache-2.0
"""From messages to training samples: one road for the robot, for conversion and for training.

``messages`` decodes, ``resample`` puts streams on the grid, ``bag`` reads and writes recordings,
``store`` keeps episodes, ``convert`` joins these; ``windows``, ``split``, ``normalize`` and
``dataset`` cut a store into samples.
"""
