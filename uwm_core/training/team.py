# SPDX-License-Identifier: Apache-2.0
"""The processes that share a run: how they find each other, agree, and end together.

`team` joins the processes that torchrun started (``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``, ...);
without torchrun a process is a team of its own. A `Team` is all that the rest of the training
knows of it. What is learned does not depend on how many they are: that is `training.engine`'s part.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from uwm_core.errors import UwmError, first_line

Device = Literal["auto", "cpu", "cuda"]

# The first collective after a long stretch of one's own (reading a store) must not time out.
_TIMEOUT = timedelta(hours=2)
_FAILED = "uwm/failed"


class Together(UwmError):
    """An error that every rank raises at the same place; said once, by rank 0."""


@dataclass(frozen=True)
class Team:
    """One process's place among those that share a run.

    Attributes:
        rank: Number of this process, from 0; rank 0 alone writes files and bars.
        size: Number of processes.
        device: Where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes what the run leaves behind."""
        return self.rank == 0

    def gather(self, values: Sequence[float]) -> npt.NDArray[np.float64]:
        """Every rank's numbers, the same on every rank: (K,) -> (size, K)."""
        mine = torch.tensor(values, dtype=torch.float64)
        if self.size == 1:
            return mine[None].numpy()
        every = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(every, mine)
        return torch.stack(every).numpy()

    def add(self, values: Tensor) -> Tensor:
        """The sum over ranks of a tensor on the CPU, in its place: (...) -> (...)."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def take_from_first(self, values: Mapping[str, Tensor]) -> None:
        """Overwrite tensors with those of rank 0."""
        if self.size > 1:
            for value in values.values():
                dist.broadcast(value.detach(), src=0)

    def wait(self) -> None:
        """Go on when every rank has come here."""
        self.gather([0.0])


ALONE = Team()
"""A process without others, on the CPU."""


def is_piece(value: Tensor) -> bool:
    """Whether a tensor is a rank's piece of one that is divided among the ranks (a DTensor)."""
    # By its method: the class lives elsewhere in every other version of torch.
    return hasattr(value, "full_tensor")


def whole(value: Tensor) -> Tensor:
    """The tensor, put together where the ranks hold pieces of it: then all must call this."""
    found: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return found


def launched() -> bool:
    """Whether torchrun, or whoever sets the same variables, started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))


def local_size() -> int:
    """Processes of the run on this machine, which divide its memory and cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() else 1


@contextmanager
def team(device: Device = "auto") -> Iterator[Team]:
    """Join the run's processes; they part at the end.

    What one of them raises, it notes for the others, whose next exchange then fails: they raise
    its message instead of a broken connection.

    Args:
        device: "auto" takes a GPU where there is one. A process takes the GPU of its local rank.

    Raises:
        UwmError: There is no such device, or another process failed.
    """
    where = _device(device)
    if not launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield Team(device=where)
        return
    store, rank, size = next(rendezvous("env://", timeout=_TIMEOUT))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun keeps its store when it starts failed processes again, and the addresses in it.
        # On several machines the agents count restarts differently, so there it is left as it is.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = PrefixStore(f"attempt_{attempt}", store)
    # Small exchanges and sharded states are CPU tensors in any case.
    backend = "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT)
    try:
        yield Team(rank=rank, size=size, device=where)
    except Together:
        raise
    except Exception as error:
        found = _first_failure(store, rank, error)
        if found is error:
            raise
        raise found from error
    # Not after a failure: a process group whose other end is gone may never part.
    dist.destroy_process_group()


def _first_failure(store: Store, rank: int, error: Exception) -> Exception:
    """Note what went wrong for the others, or learn that it began with one of them."""
    cut_off = isinstance(error, dist.DistError) or "gloo" in str(error).lower()
    try:
        if not cut_off and not store.check([_FAILED]):
            store.set(_FAILED, f"{rank} {type(error).__name__}: {error}")
        known = store.check([_FAILED])
        number, _, text = store.get(_FAILED).decode().partition(" ") if known else ("", "", "")
    except (RuntimeError, dist.DistError):
        known = False  # whoever kept the store has ended
    if not cut_off:
        return UwmError(f"rank {rank}: {error}") if isinstance(error, UwmError) else error
    if known:
        return UwmError(f"rank {number} failed and ended the run: {text}")
    return UwmError(
        "another process of the run has ended without a word, perhaps for want of memory; "
        f"--resume goes on from the last state ({first_line(error)})"
    )


def _device(asked: Device) -> torch.device:
    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise UwmError("device is cuda, but torch finds no GPU; cpu or auto would have worked")
    if asked == "cpu" or not found:
        return torch.device("cpu")
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= torch.cuda.device_count():
        raise UwmError(
            f"{number + 1} processes on this machine want a GPU each, it has "
            f"{torch.cuda.device_count()}; torchrun --nproc-per-node {torch.cuda.device_count()}"
        )
    where = torch.device("cuda", number)
    torch.cuda.set_device(where)
    return where
