"""Finds weights from a server in the cache of huggingface-hub, or downloads them once, and verifies their checksums.

A source is a path, `hf://OWNER/REPOSITORY/FILE` or `hf://OWNER/REPOSITORY@REVISION/FILE`, or an https:// address. An
address may end in `#sha256=DIGEST`, the checksum that the file must have.
"""

import hashlib
import logging
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import torch
from filelock import FileLock
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.utils import get_session

logger = logging.getLogger(__name__)

_SCHEMES = ("hf", "http", "https")
_DIGEST = re.compile(r"sha256=([0-9a-f]{64})")
_CHUNK = 1 << 20

# The number of seconds to wait for the hub's first answer; without this limit the hub's client tries for 46 seconds.
PATIENCE = 8.0


def is_remote(source: str) -> bool:
    """Return whether a source of weights is an address from which `local_file` downloads."""
    return source.partition("://")[0] in _SCHEMES and "://" in source


def local_file(source: str) -> str:
    """Return the local path of weights, which are downloaded if they are on a server and not in the cache.

    Args:
        source: A path, which is returned unchanged, or an address; see the top of this file.

    Raises:
        ValueError: The address is malformed or unprotected, the file cannot be downloaded, or its checksum is not the
            one in the address.
    """
    if not is_remote(source):
        return source
    address, _, fragment = source.partition("#")
    digest = _DIGEST.fullmatch(fragment)
    if fragment and not digest:
        raise ValueError(f"'{source}' ends in '#{fragment}'; wanted #sha256= and 64 hexadecimal digits, or nothing")
    try:
        if address.startswith("hf://"):
            path = _from_hub(address)
        else:
            path = _from_web(address, digest[1] if digest else "")
    except ValueError:
        raise
    except Exception as error:  # the errors of the clients and of their transports have no common base class
        raise ValueError(f"'{address}' cannot be downloaded: {' '.join(str(error).split())}") from error
    if digest and (found := _sha256(path)) != digest[1]:
        raise ValueError(f"'{address}', stored at {path}, has the SHA-256 checksum {found}; wanted {digest[1]}")
    return path


def _from_hub(address: str) -> str:
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+?))?/([^@]+)", address)
    if not found:
        raise ValueError(f"'{address}' is not the address of a file on the hub; wanted hf://OWNER/REPOSITORY/FILE")
    repository, revision, name = found.groups()
    return hub_file(repository, [name], revision=revision)


def hub_file(repository: str, names: Sequence[str], *, revision: str | None = None) -> str:
    """Return the local path of a file in a repository on the hub, which is downloaded if it is not in the cache.

    Args:
        repository: The repository, `OWNER/NAME`.
        names: The possible names of the file, of which the first that exists is used.
        revision: The branch, tag or commit; None for the main branch.

    Raises:
        ValueError: The file is not in the cache, and cannot be downloaded.
    """
    for name in names:
        path = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(path, str):
            return path
    obstacle = _obstacle_to_hub()
    for name in [] if obstacle else names:
        try:
            return hf_hub_download(repository, name, revision=revision)
        except EntryNotFoundError as error:
            obstacle = f"{repository} at {constants.ENDPOINT} has no such file"
            if isinstance(error, LocalEntryNotFoundError):  # the hub's client could not reach the hub
                obstacle = f"the download failed: {error}"
                break
        except Exception as error:  # the errors of the hub's client and of its transport have no common base class
            obstacle = f"the download failed: {error}"
            break
    raise ValueError(f"{names[0]} is not in the local cache of the hub ({constants.HF_HUB_CACHE}), and {obstacle}")


def _obstacle_to_hub() -> str:
    """Return the reason why the hub cannot be used, or "" if it answers.

    The request runs in a thread, since looking up the name of a host has no time limit of its own.
    """
    outcome = []

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=PATIENCE)
            outcome.append("")
        except Exception as error:
            outcome.append(f"{constants.ENDPOINT} cannot be reached: {error}")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return outcome[0] if outcome else f"{constants.ENDPOINT} did not answer within {PATIENCE:g} s"


def _from_web(address: str, digest: str) -> str:
    """Return the local path of a file on a web server, which is downloaded if it is not in the cache.

    If several processes request the file at the same time, only one of them downloads it.
    """
    parts = urlsplit(address)
    name = os.path.basename(parts.path)
    if not parts.netloc or not name:
        raise ValueError(f"'{address}' names no file; wanted https://HOST/.../FILE")
    if parts.scheme == "http" and not digest:
        raise ValueError(f"'{address}' is not protected against changes; wanted https://, or #sha256=DIGEST at its end")
    folder = Path(constants.HF_HOME, "tokenseg", hashlib.sha256(address.encode()).hexdigest()[:16])
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            logger.info("Downloading %s to %s", address, path)
            # This writes a temporary file, and moves it to the path once it is complete and its checksum is right.
            torch.hub.download_url_to_file(address, str(path), hash_prefix=digest or None, progress=False)
    return str(path)


def _sha256(path: str) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()
