"""Why a download failed, in a few words."""

import urllib.parse

import requests

_BROKEN_OFF = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


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
    if isinstance(error, _BROKEN_OFF):
        return f"the connection to {host} broke off ({_first_cause(error)})"
    return f"the answer of {host} cannot be used ({_first_cause(error)})"


def _first_cause(error: BaseException) -> str:
    """Returns the text of the system's error below those of libraries, else the error's type."""
    text, below = type(error).__name__, error.__cause__ or error.__context__
    while below is not None:
        if isinstance(below, OSError) and not isinstance(below, requests.RequestException):
            text = below.strerror or str(below) or text
        below = below.__cause__ or below.__context__
    return text
