# SPDX-License-Identifier: Apache-2.0
"""Laws of reading a file that means harm: it is refused in one line, and nothing of it happens.

Every payload writes a file; that it would, is shown first with Python's own unpickler.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import struct
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uwm_core.cli.main import main
from uwm_core.errors import CheckpointError
from uwm_core.published_file import read_published

ACTION = (np.ones(2, np.float32), np.zeros(2, np.float32))


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def archive(path: Path, data: bytes) -> Path:
    """An archive as torch writes it, of a pickle alone."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("models/data.pkl", data)
        file.writestr("models/byteorder", b"little")
    return path


def touch(mark: Path) -> str:
    return f"open({str(mark)!r}, 'w').close()"


def short(text: str) -> bytes:
    """A string as protocol 4 has it."""
    return b"\x8c" + bytes([len(text)]) + text.encode()


def call(module: str, name: str, *args: str) -> bytes:
    """Opcodes of a call with strings, by STACK_GLOBAL."""
    return short(module) + short(name) + b"\x93(" + b"".join(map(short, args)) + b"tR"


def payloads(mark: Path) -> dict[str, bytes]:
    """Pickles that write ``mark`` when they are loaded."""
    code, system = touch(mark), f"touch {mark}"
    attribute = Calls(getattr, Calls(__import__, "os"), "system")
    nested = io.BytesIO()
    pickler = pickle.Pickler(nested, 2)
    pickler.dump({"model": {}, "optimizer": {"state": {0: [Calls(exec, code)]}}})
    # getattr(os, "system")(...): the result of one call called by the next one.
    chained = pickle.dumps(attribute, 2)[:-1] + b"(X" + struct.pack("<I", len(system))
    chained += system.encode() + b"tR."
    return {
        "os.system": pickle.dumps(Calls(os.system, system), 2),
        "builtins.eval": pickle.dumps(Calls(eval, code), 2),
        "builtins.exec, protocol 4": pickle.dumps(Calls(exec, code), 4),
        "inside the optimiser": nested.getvalue(),
        "through getattr": chained,
        "stack_global": b"\x80\x04" + call("posix", "system", system) + b".",
        "inst": b"(S'" + system.encode() + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + system.encode() + b"'\no.",
        "dotted name": b"\x80\x04"
        + call("collections", "OrderedDict.__init__.__class__.__call__", "x")[:-2]
        + b"00"
        + call("builtins", "exec", code)
        + b".",
    }


NAMES = sorted(payloads(Path("x")))


@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_that_executes_is_refused_and_does_not(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    data = payloads(mark)[name]
    # What it leaves behind may be no value; what it did counts.
    with contextlib.suppress(TypeError, AttributeError, pickle.UnpicklingError):
        pickle.loads(data)
    assert mark.exists(), "the payload is none"
    mark.unlink()
    with pytest.raises(CheckpointError, match=r"refused, nothing was executed|is broken"):
        read_published(archive(tmp_path / "models.pt", data))
    assert not mark.exists()


def test_a_whole_file_with_one_hostile_object_is_refused_by_its_name(
    write_published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "executed"
    model = {"weight": torch.ones(2)}
    for part in ("optimizer", "scheduler", "scaler", "step"):
        path = write_published(model, ACTION, **{part: {"x": Calls(os.system, f"touch {mark}")}})
        assert main(["import-published", str(path), "-o", str(tmp_path / "ckpt")]) == 2
        assert "system, which is no part of a checkpoint; refused" in capsys.readouterr().err
        assert not mark.exists() and not (tmp_path / "ckpt").exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "the payload is none"


def test_the_two_normalisers_are_names_and_no_classes(
    write_published, normalizers: types.ModuleType, tmp_path: Path
) -> None:
    """Classes of that path on this machine are not used, whatever they would do."""
    path = write_published({}, ACTION)
    mark = tmp_path / "executed"

    class Armed:
        def __setstate__(self, state: Any) -> None:
            mark.touch()

    normalizers.LinearNormalizer = Armed
    assert read_published(path).action.scale.tolist() == [1.0, 1.0]
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "the class is not the file's"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"\x80\x02Pstorage\n.", "opcode PERSID"),
        (b"\x80\x02}Q.", "refers to something that is no storage"),
        (b"\x80\x02cos\nsystem\n.", r"names os\.system"),
        (b"\x80\x02ccollections\nOrderedDict\n}b.", "changes what it has not made"),
        (b"\x80\x02}}b.", "changes what it has not made"),
        (b"\x80\x02})R.", "calls what is no name"),
        (b"\x80\x02]q\x00h\x00a.", "holds no dict"),  # a list inside itself
        (b"\x80\x02h\x07.", "is broken"),
        (b"\x80\x02}", "is broken"),
        (b"\x80\x02\x85.", "is broken"),
        (b"\x80\x02.", "is broken"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", "is broken"),
        (b"\x80\x04\x8b\xff\xff\xff\x7f.", "is broken"),
        (b"\x80\x02}N}s.", "is broken"),
        (b"", "is broken"),
    ],
)
def test_opcodes_that_no_checkpoint_needs_are_refused(
    data: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_published(archive(tmp_path / "models.pt", data))


def test_numbers_that_are_not_there_are_not_made_up(write_published) -> None:
    def with_shape(shape: tuple[int, ...], stride: tuple[int, ...], count: int = 4) -> Path:
        class Said:
            """Pickles as a tensor of any claim."""

            def __reduce__(self) -> Any:
                storage = torch.ones(4)._typed_storage()
                return torch._utils._rebuild_tensor_v2, (storage, 0, shape, stride, False, {})

        return write_published({"weight": Said()}, ACTION)

    assert read_published(with_shape((2, 2), (2, 1))).tensors["weight"].read().sum() == 4
    for shape, stride, message in (
        ((5,), (1,), "reaches number 4 of a storage of 4"),
        ((2, 2), (3, 1), "reaches number 4 of a storage of 4"),
        ((2,), (-1,), "impossible shape"),
        ((0,), (1,), "impossible shape"),
        ((2,), (1, 1), "impossible shape"),
        ((1,) * 9, (1,) * 9, "impossible shape"),
        ((2**70,), (0,), "impossible shape"),
        ((10**6, 10**6), (0, 0), r"claims 1e\+12 numbers"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_published(with_shape(shape, stride))


def doubling(levels: int = 60) -> bytes:
    """Opcodes of a value that holds itself twice over and over: short here, endless written out."""
    pairs = b"".join(b"h\x00h\x00\x86q\x00" for _ in range(levels))
    return b"X\x01\x00\x00\x00aq\x00" + pairs


def test_a_value_that_is_endless_when_written_out_is_not_written_out(tmp_path: Path) -> None:
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    tensor += b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00h\x00h\x00\x89}tR"
    for data in (
        b"\x80\x04" + doubling() + short("name") + b"\x93.",
        b"\x80\x04" + short("name") + doubling() + b"\x93.",
        b"\x80\x02" + doubling() + b"}(X\x05\x00\x00\x00model}X\x01\x00\x00\x00w"
        + tensor + b"sX\x11\x00\x00\x00action_normalizerh\x00u.",
    ):  # fmt: skip
        with pytest.raises(
            CheckpointError, match=r"impossible shape|is broken: .*no text"
        ) as error:
            read_published(archive(tmp_path / "models.pt", data))
        assert len(str(error.value)) < 400


def test_a_storage_smaller_than_it_says_is_refused(write_published, tmp_path: Path) -> None:
    path = write_published({"weight": torch.full((300,), 3.5)}, ACTION)
    short_one = tmp_path / "short.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(short_one, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info.filename, data[:64] if len(data) == 1200 else data)
    with pytest.raises(CheckpointError, match="has 64 bytes, 1200 were promised"):
        read_published(short_one).tensors["weight"].read()


def test_a_compressed_archive_is_not_blown_up(write_published, tmp_path: Path) -> None:
    path = write_published({"weight": torch.zeros(300)}, ACTION)
    packed = tmp_path / "packed.pt"
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(CheckpointError, match="compressed, which torch never does"):
        read_published(packed)


def test_sizes_that_an_archive_only_claims_are_not_believed(write_published) -> None:
    path = write_published({"weight": torch.zeros(300)}, ACTION)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")  # the first entry of the table of contents: the pickle
    struct.pack_into("<II", data, at + 20, 2**31, 2**31)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"at most|damaged"):
        read_published(path)


def test_a_file_cut_anywhere_is_refused(write_published, tmp_path: Path) -> None:
    whole = write_published({"weight": torch.arange(50.0)}, ACTION).read_bytes()
    cut = tmp_path / "cut.pt"
    for share in np.linspace(0, 0.999, 40):
        cut.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointError, match=r"no file of torch\.save"):
            read_published(cut)


def test_whatever_is_changed_in_a_pickle_ends_in_one_line_or_in_numbers(
    write_published, tmp_path: Path
) -> None:
    state = {"pose": (np.ones(3), np.zeros(3))}
    path = write_published({"weight": torch.arange(6.0).reshape(2, 3)}, ACTION, state)
    with zipfile.ZipFile(path) as old:
        data = old.read("models/data.pkl")
    rng, refused = random.Random(0), 0
    for _ in range(1500):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            file = read_published(archive(tmp_path / "changed.pt", bytes(changed)))
            for tensor in file.tensors.values():
                tensor.read()
        except CheckpointError as error:
            assert str(tmp_path) in str(error)
            refused += 1
    assert refused > 300
