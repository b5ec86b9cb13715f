# SPDX-License-Identifier: Apache-2.0
"""Data sets of others, in and out.

``source`` says what any of them looks like to us, ``derive`` makes an embodiment of one that has
none, ``importing`` writes a store from it, ``exporting`` reads one for it. Each format is a module
or two of its own: ``robomimic`` (and LIBERO), ``buffer`` (Zarr v2), ``lerobot_*``, ``videos``.
"""
