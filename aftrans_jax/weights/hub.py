"""Weights of the Hugging Face Hub by name, through its own library and cache.

`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` have their usual meanings.
"""

import re
from pathlib import Path

import requests

from aftrans_jax.weights.download import why_failed
from aftrans_jax.weights.names import FOLDER_FILES, HUB
from aftrans_jax.weights.sidecar_files import is_timm, read_sidecar

_PATIENCE = 5  # seconds until a connection is there
_NONE = f"has none of {', '.join(FOLDER_FILES)}"
_OFFLINE = "HF_HUB_OFFLINE is set: unset it, or give the path of the model's folder"
_NAME = re.compile(r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?")


def hub_file(name: str) -> Path:
    """Returns the file of a model's weights, downloaded the first time with its configurations.

    Args:
      name: name such as "hf:timm/vit_base_patch16_224.augreg_in21k"; "@" and a revision may follow.

    Raises:
      ValueError: it is no such name, or the library is missing.
      FileNotFoundError: the hub has no such model, or it has neither of the known files.
      OSError: the hub cannot be reached.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"{name!r} is no name of a model: expected {HUB}OWNER/MODEL, perhaps @REVISION"
        )
    try:
        from huggingface_hub import constants, errors, hf_hub_download
    except ModuleNotFoundError as error:
        raise ValueError("huggingface_hub is absent: pip install huggingface_hub") from error
    repo = match["repo"]
    revision = match["revision"]
    # The library alone tries each file for half a minute.
    down = "" if constants.HF_HUB_OFFLINE else _why_down(constants.ENDPOINT)
    unreachable: dict[str, Exception] = {}  # files that are not in the cache

    def fetched(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(repo, file, revision=revision, local_files_only=bool(down)))
        except errors.LocalEntryNotFoundError as error:
            unreachable[file] = error
        except errors.EntryNotFoundError:
            pass
        return None

    try:
        weights = next((path for path in map(fetched, FOLDER_FILES) if path is not None), None)
        if weights is not None:
            unreachable.clear()
            config = fetched("config.json")
            # timm's config.json has the pixel values, and timm's cache has no other file.
            if config is None or not is_timm(read_sidecar(config)):
                fetched("preprocessor_config.json")
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"{name}: the hub has no such model or revision, or it asks for HF_TOKEN"
        ) from error
    except errors.HfHubHTTPError as error:
        raise _not_downloaded(f"{name} cannot be downloaded ({type(error).__name__})") from error
    if unreachable and not constants.HF_HUB_OFFLINE:
        file, error = next(iter(unreachable.items()))
        why = down or f"the hub's answer cannot be used ({error.__cause__ or error!s:.80})"
        raise _not_downloaded(f"{name}: {why}, and {file} is not in the cache") from error
    if weights is None:
        offline = f"is not in the cache {constants.HF_HUB_CACHE}, and {_OFFLINE}"
        raise FileNotFoundError(f"{name} {offline if unreachable else _NONE}")
    return weights


def _why_down(address: str) -> str:
    """Returns why a server cannot be reached, "" where it can.

    Slow answers and bad certificates do not count: the hub's library may judge them otherwise.
    """
    try:
        requests.head(address, timeout=_PATIENCE)
    except requests.exceptions.SSLError:
        pass
    except requests.ConnectionError as error:
        return why_failed(address, error)
    except requests.RequestException:
        pass
    return ""


def _not_downloaded(reason: str) -> OSError:
    return OSError(f"{reason}: download the model's folder elsewhere and give its path")


def hub_notes(name: str, path: Path) -> tuple[str, ...]:
    """Returns a note on a file of the hub whose configuration is not known.

    Args:
      name: value of `pretrained`; there is no note for a path.
      path: path of the file.
    """
    if not name.startswith(HUB) or path.with_name("config.json").is_file():
        return ()
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    why = "is not in the cache, and HF_HUB_OFFLINE is set" if offline else "is absent"
    return (f"config.json {why}: heads, GELU and pixel values are assumed",)
