"""Official weights by name: downloaded once, resumed after a broken connection, verified, kept."""

import base64
import os
import re
import urllib.parse
from pathlib import Path
from typing import IO, Any, cast

import pooch
import requests
from tqdm import tqdm

from aftrans_jax.cache import cache_folder
from aftrans_jax.locks import open_locked
from aftrans_jax.weights.names import listed_beside

ADDRESS = "https://storage.googleapis.com/vit_models"  # Google Research's files

_CHUNK = 1 << 16  # bytes; at most this much is lost when a connection breaks
_PATIENCE = 30  # seconds without a byte
_TRIES = 5
_RETRIED = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_INCOMPLETE = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


def official_file(name: str, *, address: str = ADDRESS) -> Path:
    """Returns the file of official weights, downloaded the first time.

    An interrupted download resumes where it stopped, also in another process. A file is kept only
    if its size and MD5 are those that the server states.

    Args:
      name: a name such as "imagenet21k/ViT-B_16" or "augreg/Ti_16-i21k-...".
      address: address of the server's folder.

    Raises:
      FileNotFoundError: the server has no such file.
      ValueError: the download differs from what the server states.
      OSError: the server cannot be reached, or there is no cache that can be written.
    """
    cache = cache_folder()
    name = name.removesuffix(".npz")
    if cache is None:
        raise OSError(f"{name} needs a folder to be kept in: set AFTRANS_CACHE to one")
    target = cache / "weights" / f"{name}.npz"
    part = target.with_name(f"{target.name}.part")
    if not target.exists():
        with _kept(part) as held:  # another process may have just downloaded it
            try:
                if not target.exists():
                    _download(address, name, target, part)
            finally:
                if not os.fstat(held.fileno()).st_size:
                    part.unlink(missing_ok=True)
    return target


def _kept(part: Path) -> IO[bytes]:
    """Returns the file that takes a download, once no other process writes it."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        return open_locked(part, wait=True)
    except OSError as error:
        raise type(error)(
            f"{part.parent} cannot be written ({error.strerror}), where downloads are kept: set "
            "AFTRANS_CACHE to a folder that can be"
        ) from error


def _download(address: str, name: str, target: Path, part: Path) -> None:
    url = f"{address}/{urllib.parse.quote(name)}.npz"
    elsewhere = f"elsewhere and put it to {target}, or give the path of a file"
    try:
        answer = requests.head(url, timeout=_PATIENCE, allow_redirects=True)
        if answer.status_code == requests.codes.not_found:
            raise FileNotFoundError(
                f"{url} does not exist: expected the name of an official file, such as "
                f"imagenet21k/ViT-B_16, or the path of one{listed_beside(name)}"
            )
        answer.raise_for_status()
        size = int(answer.headers["Content-Length"])
        pooch.get_logger().setLevel("WARNING")
        pooch.retrieve(
            url,
            known_hash=_digest(answer.headers.get("x-goog-hash", "")),
            fname=target.name,
            path=target.parent,
            # Pooch's own type for downloaders has other arguments.
            downloader=cast(Any, lambda url, file, _: _resume(url, part, size).replace(file)),
        )
    except requests.RequestException as error:
        raise OSError(
            f"{why_failed(url, error)}: download {url} {elsewhere}{listed_beside(name)}"
        ) from error
    except KeyError as error:
        raise OSError(
            f"{url}: the server does not tell the size: download it {elsewhere}"
        ) from error
    except ValueError as error:  # from pooch's check
        raise ValueError(
            f"{url} came damaged ({error}): try again, or download it {elsewhere}"
        ) from error


def _digest(header: str) -> str | None:
    """Returns the MD5 in a header such as "crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ=="."""
    match = re.search(r"md5=([A-Za-z0-9+/=]+)", header)
    return f"md5:{base64.b64decode(match[1]).hex()}" if match else None


def _resume(url: str, part: Path, size: int) -> Path:
    """Downloads the missing rest of a file; returns the file once it has its size.

    Raises:
      requests.RequestException: the connection broke too many times.
    """
    for attempt in range(1, _TRIES + 1):
        have = part.stat().st_size
        if have == size:
            break
        wanted = {"Accept-Encoding": "identity"}
        if have < size:
            wanted["Range"] = f"bytes={have}-"
        try:
            with requests.get(url, headers=wanted, stream=True, timeout=_PATIENCE) as answer:
                answer.raise_for_status()
                have = have if answer.status_code == requests.codes.partial_content else 0
                bar = tqdm(
                    desc=part.stem,
                    total=size,
                    initial=have,
                    unit="B",
                    unit_scale=True,
                    disable=None,  # shown on a terminal
                )
                with part.open("r+b") as file, bar:
                    file.truncate(have)
                    file.seek(have)
                    for block in answer.iter_content(_CHUNK):
                        bar.update(file.write(block))
        except _RETRIED:
            if attempt == _TRIES:
                raise
    if (have := part.stat().st_size) != size:
        part.unlink()
        raise ValueError(f"{have:,} bytes, expected {size:,}")
    return part


def why_failed(url: str, error: requests.RequestException) -> str:
    """Returns whether a server refused, was out of reach, broke off or answered unusably, and why.

    Args:
      url: address that was asked for.
      error: error of `requests`.
    """
    host = urllib.parse.urlsplit(url).hostname
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{host} answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return f"{host} cannot be reached ({_first_cause(error)})"
    if isinstance(error, _INCOMPLETE):
        return f"the connection to {host} broke off ({_first_cause(error)})"
    return f"the answer of {host} cannot be used ({_first_cause(error)})"


def _first_cause(error: BaseException) -> str:
    """Returns the text of the system's error below those of libraries, else the error's type."""
    text = type(error).__name__
    below = error.__cause__ or error.__context__
    while below is not None:
        if isinstance(below, OSError) and not isinstance(below, requests.RequestException):
            text = below.strerror or str(below) or text
        below = below.__cause__ or below.__context__
    return text
