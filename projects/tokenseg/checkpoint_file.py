"""Reads files that torch has written: verifies their checksums, and runs no code in them unless that is allowed."""

import os
import pickle
import zipfile
from collections.abc import Mapping

import safetensors.torch
import torch

# A file of torch's is a zip archive. This record of it contains everything except the tensors' values.
_PLAIN = "data.pkl"
_ZIP_MAGIC = b"PK\x03\x04"


class DamagedFile(ValueError):
    """The file is not what was written: it is empty, truncated, or has changed."""


def read_checkpoint(
    path: str, *, allow_pickle: bool = False, permission: str = "train.allow_pickle=true", mmap: bool = False
) -> Mapping:
    """Read the dict in a file that torch has written, in a .safetensors file, or in a pickle of arrays (.pkl).

    Args:
        path: The path of the file.
        allow_pickle: Whether files that can run code may be read.
        permission: The setting or flag with which the user allows this, for the error message.
        mmap: Whether the tensors stay in the file until they are used, for callers that need only the plain values
            beside them. Then only the plain values are verified.

    Returns:
        The dict, with its tensors on the CPU.

    Raises:
        DamagedFile: The file is empty or truncated, or one of its checksums does not match.
        ValueError: The file does not exist, cannot be read, would have to run code, or does not contain a dict.
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
        raise DamagedFile(f"weights '{path}' cannot be read: the file is truncated") from error
    except Exception as error:  # a pickle may need classes that are absent, and other files fail anywhere in the reader
        raise ValueError(f"weights '{path}' cannot be read: {_one_line(error)}") from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"weights '{path}' contain a {type(loaded).__name__}; wanted a dict of tensors by name")
    return loaded


def weights_to_use(checkpoint: Mapping) -> Mapping:
    """Return the weights with which a checkpoint is used: the averaged ones (`train.ema`) if it contains any.

    Args:
        checkpoint: The dict that `read_checkpoint` returned: a run's checkpoint, or only weights.
    """
    averaged = checkpoint.get("ema")
    if isinstance(averaged, Mapping) and "model" in averaged:
        return averaged["model"]
    return checkpoint.get("model", checkpoint)


def _unpickled(path: str) -> object:
    with open(path, "rb") as stream:
        return pickle.load(stream, encoding="latin1")  # some of Detectron2's files were written by Python 2


def check_exists(path: str) -> None:
    """Raise a ValueError if a path is not that of a file."""
    if os.path.isdir(path):
        raise ValueError(f"weights '{path}' are a folder; wanted a file in it")
    if not os.path.isfile(path):
        raise ValueError(f"weights '{path}' do not exist (looked in {os.getcwd()})")


def needs_pickle(path: str, permission: str) -> str:
    """Return the error message for a file that can run code, which the user has not allowed."""
    return (
        f"'{path}' is not a weights file, or contains pickled objects, which can run any code when they are read; if "
        f"you trust its source, allow this with {permission}"
    )


def check_sums(path: str, *, plain_alone: bool = False) -> None:
    """Verify the CRC checksums of the records of a file that torch has written.

    Files in torch's format before version 1.6, and other formats, have no checksums and are not verified.

    Args:
        path: The path of a file that exists.
        plain_alone: Whether only the plain values are verified, without those of the tensors, which saves time.

    Raises:
        DamagedFile: The file is empty or truncated, or a record, which is named, does not match its checksum.
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
                # A checksum of 0 means that none was written: torch.serialization.set_crc32_options(False).
                if info.CRC and (not plain_alone or info.filename.endswith(_PLAIN)):
                    _read_through(archive, info)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        what = f"{record} is damaged ({error})" if zipfile.is_zipfile(path) else "the file is truncated"
        raise DamagedFile(f"weights '{path}' cannot be read: {what}; wanted the file as it was written") from error


def _read_through(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Read a record to its end, where zipfile verifies its checksum."""
    with archive.open(info) as record:
        while record.read(1 << 20):
            pass


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
