"""What servers and lines do, as sentences that say what to do about it."""

from __future__ import annotations

import requests

from napari_clipmed.pacs.servers import Server
from napari_clipmed.pacs.words import PacsError


def http_refusal(server: Server, answer: requests.Response) -> str:
    """A sentence about an answer that is none."""
    reasons = {404: "does not know what was asked for", 500: "met an error of its own", 503: "is too busy"}
    said = reasons.get(answer.status_code, "refused")
    if 300 <= answer.status_code < 400:
        said = "points to another address"
    return f"{server.name} {said} (HTTP {answer.status_code})."


def not_let_in(server: Server, status: int) -> PacsError:
    """The error for a user or password that is missing, wrong or not enough."""
    if status == 403:
        return PacsError(
            f"{server.name} does not allow this (HTTP 403).",
            "Ask whoever looks after it for the right to do so.",
        )
    if not server.user:
        return PacsError(f"{server.name} asks for a user and a password.", "Name the user with --user.")
    return PacsError(
        f"{server.name} refused the password of {server.user} (HTTP 401).",
        f"Store the right one with `napari-clipmed pacs password {server.name}`, "
        "or set CLIPMED_PACS_PASSWORD.",
    )


def untrusted(server: Server) -> PacsError:
    """The error for a certificate that nobody known vouches for."""
    return PacsError(
        f"The certificate of {server.name} is not trusted, so nothing was asked and no password was sent.",
        "Ask whoever looks after the server for its CA certificate (a PEM file), compare fingerprints, "
        "and name it: --ca FILE. Certificates are always verified.",
    )


def broken_line(server: Server, error: requests.RequestException) -> PacsError:
    """A sentence about a line that failed; none of the libraries' own words, which hold the query."""
    if isinstance(error, requests.exceptions.SSLError):
        return untrusted(server)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return unreachable(server, "does not answer")
    if isinstance(error, requests.exceptions.Timeout) or "Read timed out" in str(error):
        return PacsError(f"{server.name} fell silent.", "Try again; what came so far is kept.")
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return PacsError(f"{server.name} went away amid an answer.", "Try again; what came so far is kept.")
    return unreachable(server, "cannot be reached")


def unreachable(server: Server, how: str) -> PacsError:
    """The error for a server that is not there."""
    return PacsError(
        f"{server.name} ({server.place}) {how}.",
        "Check the network and the address; hospitals often let only known computers through.",
    )
