"""Reading the files that torch writes: whole, undamaged, and without running code unless that is allowed."""

import os
import pickle
import zipfile
from collections.abc import Mapping

import safetensors.torch
import torch

# The record of a file of torch's that holds everything but the numbers.
_PLAIN = "data.pkl"
_ZIP_MAGIC = b"PK\x03\x04"


class DamagedFile(ValueError):
    """The file is not what was written: it is empty, cut off, or has changed."""


def read_checkpoint(
    path: str, *, allow_pickle: bool = False, permission: str = "train.allow_pickle=true", mmap: bool = False
) -> Mapping:
    """Read the dict in a file that torch wrote, on the CPU, or the one in a .safetensors or a pickle of arrays (.pkl).

    Args:
        path: The path of the file.
        allow_pickle: Whether a file may be read that can run code.
        permission: What the user says to allow that, for the message.
        mmap: Whether tensors stay in the file until they are used, for who wants the plain values beside them; those
            alone are verified then.

    Raises:
        DamagedFile: The file is empty, cut off, or one of its sums does not match.
        ValueError: The file does not exist, cannot be read, would have to run code, or holds no dict.
    """
    check_exists(path)
    if path.endswith(".pkl") and not allow_pickle:
        raise ValueError(needs_pickle(path, permission))
    check_sums(path, plain_alone=mmap)
    try:
        if path.endswith(".safetensors"):
            return safetensors.torch.load_file(path)
        if path.endswith(".pkl"):
            loaded = _unpickled(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=not allow_pickle, mmap=mmap)
    except pickle.UnpicklingError as error:
        if allow_pickle:
            raise ValueError(f"weights '{path}' cannot be read: {_one_line(error)}") from error
        raise ValueError(needs_pickle(path, permission)) from error
    except EOFError as error:
        raise DamagedFile(f"weights '{path}' cannot be read: the file is cut off") from error
    except Exception as error:  # a pickle's classes may be absent, and a file that is none may stop its reader anywhere
        raise ValueError(f"weights '{path}' cannot be read: {_one_line(error)}") from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"weights '{path}' hold a {type(loaded).__name__}; wanted a dict of tensors by their names")
    return loaded


def weights_to_use(checkpoint: Mapping) -> Mapping:
    """Return what a checkpoint is used with: its averaged weights if it has any (`train.ema`), or else its own.

    Args:
        checkpoint: What `read_checkpoint` gave: the dict that a run saved, or weights alone.
    """
    averaged = checkpoint.get("ema")
    if isinstance(averaged, Mapping) and "model" in averaged:
        return averaged["model"]
    return checkpoint.get("model", checkpoint)


def _unpickled(path: str) -> object:
    with open(path, "rb") as stream:
        return pickle.load(stream, encoding="latin1")  # Python 2 wrote some of Detectron2's


def check_exists(path: str) -> None:
    """Refuse a path that is no file."""
    if os.path.isdir(path):
        raise ValueError(f"weights '{path}' are a folder; wanted a file in it")
    if not os.path.isfile(path):
        raise ValueError(f"weights '{path}' do not exist (looked in {os.getcwd()})")


def needs_pickle(path: str, permission: str) -> str:
    """The message for a file that may not be read, for want of the user's permission."""
    return (
        f"weights '{path}' are no weights, or hold more than tensors and plain values: a pickle, which can run any "
        f"code when it is read; if you trust where it comes from, say {permission}"
    )


def check_sums(path: str, *, plain_alone: bool = False) -> None:
    """Compare the records of a file of torch's with the CRC sums that stand beside them.

    Files in torch's format before version 1.6, and other formats, have no sums and are not looked at.

    Args:
        path: The path of a file that exists.
        plain_alone: Whether the tensors' numbers are left out.

    Raises:
        DamagedFile: The file is empty or cut off, or a record does not match its sum; names the record.
    """
    with open(path, "rb") as file:
        magic = file.read(len(_ZIP_MAGIC))
    if not magic:
        raise DamagedFile(f"weights '{path}' cannot be read: the file is empty")
    if magic != _ZIP_MAGIC:
        return
    record = "the table of contents"
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                record = f"the record {info.filename}"
                # a sum of 0 is none: torch.serialization.set_crc32_options(False)
                if info.CRC and (not plain_alone or info.filename.endswith(_PLAIN)):
                    _read_through(archive, info)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        what = f"{record} is damaged ({error})" if zipfile.is_zipfile(path) else "the file is cut off"
        raise DamagedFile(f"weights '{path}' cannot be read: {what}; wanted the file as it was written") from error


def _read_through(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Read a record to its end, where zipfile compares the sums."""
    with archive.open(info) as record:
        while record.read(1 << 20):
            pass


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
