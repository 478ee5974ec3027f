"""Upload of results to the hub. What cannot be uploaded stays where it is, and one line says so."""

import os
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from persam_dreambooth.errors import UserError, one_line

MESSAGE = "End of training"

# What a failed upload raises: no token, a name that is no repository's, no network, a refusal by the hub. The
# library below huggingface_hub changes from version to version; its errors have the hub's own first base.
_NOT_UPLOADED = (OSError, ValueError, HfHubHTTPError, HfHubHTTPError.__mro__[1])


def check_hub(token: str | None) -> None:
    """Raise UserError where an upload is bound to fail, before the hours of training.

    Args:
        token: what --hub_token says.
    """
    if constants.HF_HUB_OFFLINE:
        raise UserError(
            "--push_to_hub: HF_HUB_OFFLINE is set; the hub must be reachable. Unset it, or drop the flag."
        )
    if not (token or get_token()):
        raise UserError(
            "--push_to_hub: no access token on this machine; one that may write is needed. "
            "Run `hf auth login`, or set HF_TOKEN."
        )


def make_repository(name: str, folder: Path, token: str | None = None) -> str:
    """Return the full name of a repository on the hub, made if it is missing.

    Args:
        name: with or without the owner, who is the token's by default.
        folder: where the results are, for the error.
        token: to the hub; None is the one of the login.

    Raises:
        UserError: it cannot be had.
    """
    try:
        return HfApi(token=token).create_repo(name, exist_ok=True).repo_id
    except _NOT_UPLOADED as error:
        raise _not_uploaded(name, folder, error) from error


def upload(repo_id: str, files: Mapping[str, Path | bytes], folder: Path, token: str | None = None) -> str:
    """Write files into a repository, all of them or none; return its address.

    Args:
        repo_id: full name.
        files: on this machine (or their bytes), by their paths in the repository.
        folder: where the results are, for the error.
        token: to the hub; None is the one of the login.

    Raises:
        UserError: they could not be uploaded.
    """
    operations = [
        CommitOperationAdd(path, content if isinstance(content, bytes) else os.fspath(content))
        for path, content in sorted(files.items())
    ]
    try:
        HfApi(token=token).create_commit(repo_id, operations, commit_message=MESSAGE)
    except _NOT_UPLOADED as error:
        raise _not_uploaded(repo_id, folder, error) from error
    return f"{constants.ENDPOINT}/{repo_id}"


def _not_uploaded(name: str, folder: Path, error: Exception) -> UserError:
    """Return what to say of a failed upload."""
    return UserError(
        f"--push_to_hub: not uploaded to {name} ({one_line(error)[:200]}); the training is done and "
        f"everything is in {folder}. Run the same command again: it only uploads."
    )
