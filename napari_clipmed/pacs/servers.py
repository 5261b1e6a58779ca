"""Servers as data: where they are and who we are to them, in the person's own folder; no passwords."""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from napari_clipmed.credentials import password_for
from napari_clipmed.pacs.words import PacsError
from napari_clipmed.whole_files import whole_file

FILE = "pacs-servers.json"
PASSWORD_VARIABLE = "CLIPMED_PACS_PASSWORD"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ROUTES = ("get", "move")
"""How a DIMSE server hands out images: over our own connection (C-GET), or over one it opens (C-MOVE)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_AE_TITLE = re.compile(r"(?=.*\S)[\x20-\x5B\x5D-\x7E]{1,16}")  # PS3.5, 6.2: value representation AE


@dataclass(frozen=True)
class Server:
    """One archive: over DICOMweb where it has a `url`, else over DIMSE.

    Parameters
    ----------
    name : str
        How the person calls it; letters, digits, ``-`` and ``_``.
    url : str
        Root of its DICOMweb services, as in ``https://pacs.example/dicom-web``.
    user : str
        For DICOMweb; the password comes from the environment or the system's keyring.
    unencrypted : bool
        The person allows that the password travels over plain http.
    host, port, called_ae, calling_ae : str, int, str, str
        For DIMSE: where it listens, its title, and ours.
    route : {"get", "move"}
        How it hands out images.
    listen_port : int
        Where we receive what a C-MOVE sends; the server must know our title, host and this port.
    tls : bool
        DIMSE over TLS.
    ca_file : str
        Certificates (PEM) that vouch for the server; empty for those of the system.

    Raises
    ------
    PacsError
        When a part is missing or cannot be.
    """

    name: str
    url: str = ""
    user: str = ""
    unencrypted: bool = False
    host: str = ""
    port: int = 104
    called_ae: str = ""
    calling_ae: str = "CLIPMED"
    route: str = "get"
    listen_port: int = 11112
    tls: bool = False
    ca_file: str = ""

    def __post_init__(self) -> None:
        kinds = {"str": str, "int": int, "bool": bool}
        for item in fields(self):
            if type(getattr(self, item.name)) is not kinds[str(item.type)]:
                raise PacsError(f"The {item.name} of a PACS server is not of the right kind.")
        if not _NAME.fullmatch(self.name):
            raise PacsError(
                f"{self.name!r} cannot be the name of a server.",
                "Use up to 32 letters, digits, - and _, beginning with a letter or digit.",
            )
        if bool(self.url) == bool(self.host):
            raise PacsError(
                f"The server {self.name} needs either a DICOMweb address or a host.",
                "Give --url for DICOMweb, or --host, --port and --called for DIMSE.",
            )
        self._check_web() if self.url else self._check_dimse()

    def _check_web(self) -> None:
        try:
            parts = urlsplit(self.url)
            secret, plain = parts.password, parts.scheme == "http"
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable, secret, plain = False, None, False
        if secret is not None or (usable and "@" in parts.netloc):
            raise PacsError(
                "The address contains a user or a password; it would be stored for all to read.",
                "Leave it out, give --user, and store the password with `napari-clipmed pacs password`.",
            )
        if not usable or parts.query or parts.fragment:
            raise PacsError(
                f"The address of the server {self.name} is not one of DICOMweb.",
                "Write it as https://host/dicom-web.",
            )
        if self.user and plain and parts.hostname not in LOOPBACK and not self.unencrypted:
            raise PacsError(
                f"The password for {self.name} would travel unencrypted over http.",
                "Use the https address; where the server has none, --unencrypted allows it.",
            )

    def _check_dimse(self) -> None:
        for what, title in (("called", self.called_ae), ("calling", self.calling_ae)):
            if not _AE_TITLE.fullmatch(title):
                raise PacsError(
                    f"The {what} AE title of the server {self.name} is missing or not one.",
                    "An AE title has 1 to 16 letters, digits and signs; ask whoever looks after the server.",
                )
        if not all(0 < port < 65536 for port in (self.port, self.listen_port)):
            raise PacsError(f"A port of the server {self.name} is not between 1 and 65535.")
        if self.route not in ROUTES:
            raise PacsError(f"The server {self.name} can hand out images by get or move only.")
        if self.user:
            raise PacsError(
                "DIMSE knows no users: a server recognises us by our AE title.", "Leave --user out."
            )

    @property
    def place(self) -> str:
        """Where it is, for the screen and for the keyring: scheme, host and port."""
        if self.url:
            parts = urlsplit(self.url)
            return f"{parts.scheme}://{parts.netloc}"
        return f"{'dicom-tls' if self.tls else 'dicom'}://{self.host}:{self.port}"

    @property
    def keyring_service(self) -> str:
        """Name under which the keyring keeps the password: a server that moves does not get the old one."""
        return f"napari-clipmed {self.place}"

    def trusted(self) -> ssl.SSLContext:
        """Whom to trust: the certificates of `ca_file`, or of the system; never everybody.

        Raises
        ------
        PacsError
            When the file is not there or holds no certificates.
        """
        try:
            return ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:  # an SSLError is one
            raise PacsError(
                f"The certificate file {self.ca_file} of {self.name} is not there, or holds no certificates.",
                "Name the PEM file that whoever looks after the server gave you (--ca).",
            ) from error

    def password(self) -> str | None:
        """The password of `user` from ``CLIPMED_PACS_PASSWORD_<NAME>``, its general form, or the keyring."""
        own = f"{PASSWORD_VARIABLE}_{self.name.upper().replace('-', '_')}"
        return password_for(self.keyring_service, self.user, (own, PASSWORD_VARIABLE))


def read_servers(home: Path) -> list[Server]:
    """The person's servers, in the order in which they were added.

    Parameters
    ----------
    home : Path
        The person's own data folder.

    Raises
    ------
    PacsError
        When the list is damaged.
    """
    path = home / FILE
    if not path.exists():
        return []
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
        return [Server(**item) for item in items]
    except PacsError as error:
        raise PacsError(f"{path}: {error.message}", error.hint) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise PacsError(
            f"The list of servers {path} cannot be read.", "Remove it, and add the servers anew."
        ) from error


def find_server(home: Path, name: str) -> Server:
    """The server of a name; the only one where the name is empty.

    Raises
    ------
    PacsError
        When there is none.
    """
    servers = read_servers(home)
    if not name and len(servers) == 1:
        return servers[0]
    for server in servers:
        if server.name == name:
            return server
    known = ", ".join(server.name for server in servers)
    raise PacsError(
        f"There is no server {name!r}." if name else "No server was named.",
        f"Choose one of: {known}." if known else "Add one with `napari-clipmed pacs add`.",
    )


def add_server(home: Path, server: Server, *, replace: bool = False) -> None:
    """Put a server on the list.

    Raises
    ------
    PacsError
        When one of that name is there already and may not be replaced.
    """
    server.trusted()
    servers = read_servers(home)
    others = [other for other in servers if other.name != server.name]
    if len(others) < len(servers) and not replace:
        raise PacsError(f"There is a server {server.name} already.", "Choose another name, or use --force.")
    _write(home, [*others, server])


def remove_server(home: Path, name: str) -> None:
    """Take a server off the list; its password, if any, stays in the keyring.

    Raises
    ------
    PacsError
        When there is none of that name.
    """
    find_server(home, name)
    _write(home, [server for server in read_servers(home) if server.name != name])


def told(server: Server) -> dict[str, Any]:
    """What there is to say about a server, without what it does not use."""
    unused = ("host", "port", "called_ae", "calling_ae", "route", "listen_port", "tls") if server.url else ()
    return {
        key: value for key, value in asdict(server).items() if key not in unused and value not in ("", False)
    }


def _write(home: Path, servers: list[Server]) -> None:
    content = json.dumps([asdict(server) for server in servers], indent=2) + "\n"
    with whole_file(home / FILE, replace=True) as path:
        path.write_text(content, encoding="utf-8")
