# SPDX-License-Identifier: Apache-2.0
"""Image codecs behind one protocol (``codec``): ``vae`` named, ``conv`` trained here, ``patch``."""
