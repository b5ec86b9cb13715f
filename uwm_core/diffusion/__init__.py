# SPDX-License-Identifier: Apache-2.0
"""What a mode asks (``modes``), how noise comes and goes (``schedule``), the loop (``sampler``).

Nothing here knows a network, an image or a robot.
"""
