# SPDX-License-Identifier: Apache-2.0
"""The Hugging Face hub: what is named there and not here."""

from __future__ import annotations

import re
from pathlib import Path

from uwm_core.errors import CheckpointError, first_line

_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_id(name: str) -> bool:
    """Whether a name could be a repository's, ``owner/name``."""
    return _ID.fullmatch(name) is not None


def from_hub(name: str, file: str | None = None) -> Path:
    """A repository's folder, or one file of it, downloaded unless it is there already.

    Raises:
        CheckpointError: The hub has it not, or cannot be reached.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(name, file) if file else snapshot_download(name))
    except (HfHubHTTPError, OSError, ValueError) as error:
        what = "file" if file else "folder"
        raise CheckpointError(
            f"{name} is neither a {what} here nor to be had from the hub: {first_line(error)}"
        ) from error
