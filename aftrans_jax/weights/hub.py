"""Weights of the Hugging Face Hub by name, through its own library, which keeps them in its cache.

`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` have their usual meanings.
"""

import re
from pathlib import Path

from aftrans_jax.weights.names import FOLDER_FILES, HUB

_NAME = re.compile(r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?")
_BESIDE = ("config.json", "preprocessor_config.json")


def hub_file(name: str) -> Path:
    """Returns the file of a model's weights, downloaded the first time with what lies beside it.

    Args:
      name: such as "hf:timm/vit_base_patch16_224.augreg_in21k"; "@" and a revision may follow.

    Raises:
      ValueError: it is no such name, or the library is absent.
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
        raise ValueError(
            "huggingface_hub, which downloads it, is absent: pip install huggingface_hub"
        ) from error
    repo, revision = match["repo"], match["revision"]

    def fetched(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(repo, file, revision=revision))
        except errors.LocalEntryNotFoundError:  # it was not downloaded, and cannot be
            if constants.HF_HUB_OFFLINE:
                return None
            raise
        except errors.EntryNotFoundError:
            return None

    try:
        found = next((path for path in map(fetched, FOLDER_FILES) if path is not None), None)
        for file in _BESIDE if found else ():
            fetched(file)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"{name}: the hub has no such model or revision, or it asks for HF_TOKEN"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError) as error:
        raise OSError(
            f"{name} cannot be downloaded ({type(error).__name__}): download the model's folder "
            "elsewhere and give its path"
        ) from error
    if found is None:
        raise FileNotFoundError(f"{name} has none of {', '.join(FOLDER_FILES)}")
    return found
