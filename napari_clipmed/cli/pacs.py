"""``napari-clipmed pacs``: servers, what they have, studies from them and results to them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from napari_clipmed.cli._app import EXIT_CANCELLED, EXIT_FAILED, app, console, errors, print_json
from napari_clipmed.cli._common import AsJson, Force, progress_line
from napari_clipmed.errors import Cancelled

if TYPE_CHECKING:
    from napari_clipmed.pacs.servers import Server
    from napari_clipmed.pacs.words import Found

Name = Annotated[str, typer.Argument(help="The server; may be left out where there is only one.")]

pacs = typer.Typer(help="Studies from the hospital's archive, and results back to it.", no_args_is_help=True)
app.add_typer(pacs, name="pacs")


@pacs.command("add")
def add_command(
    name: Annotated[str, typer.Argument(help="A name of your own for the server.")],
    url: Annotated[str, typer.Option("--url", help="DICOMweb: https://host/dicom-web.")] = "",
    user: Annotated[str, typer.Option("--user", help="DICOMweb: your user; never a password.")] = "",
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="DICOMweb: let the password travel over plain http.")
    ] = False,
    host: Annotated[str, typer.Option("--host", help="DIMSE: its name or number.")] = "",
    port: Annotated[int, typer.Option("--port", help="DIMSE: its port.")] = 104,
    called: Annotated[str, typer.Option("--called", help="DIMSE: its AE title.")] = "",
    calling: Annotated[str, typer.Option("--calling", help="DIMSE: our AE title.")] = "CLIPMED",
    route: Annotated[
        str, typer.Option("--route", help="DIMSE: images by get (C-GET) or move (C-MOVE).")
    ] = "get",
    listen: Annotated[int, typer.Option("--listen", help="DIMSE, move: our port for the images.")] = 11112,
    tls: Annotated[bool, typer.Option("--tls", help="DIMSE over TLS.")] = False,
    ca: Annotated[Path | None, typer.Option("--ca", help="Certificates (PEM) that vouch for it.")] = None,
    force: Force = False,
) -> None:
    """Put a server on the list; its password is stored by `pacs password`, not here."""
    from napari_clipmed.pacs.servers import Server, add_server

    server = Server(
        name,
        url=url,
        user=user,
        unencrypted=unencrypted,
        host=host,
        port=port,
        called_ae=called,
        calling_ae=calling,
        route=route,
        listen_port=listen,
        tls=tls,
        ca_file=str(ca.expanduser().absolute()) if ca else "",
    )
    add_server(_home(), server, replace=force)
    console.print(
        f"Added {name} ({server.place}); ask it with: napari-clipmed pacs echo {name}", highlight=False
    )


@pacs.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the servers; there are no passwords in the list."""
    from napari_clipmed.pacs.servers import read_servers, told

    servers = read_servers(_home())
    if as_json:
        print_json([told(server) for server in servers])
        return
    if not servers:
        console.print("No server yet: napari-clipmed pacs add NAME --url https://host/dicom-web")
    for server in servers:
        kind = "DICOMweb" if server.url else f"DIMSE, C-{server.route.upper()}, {server.called_ae}"
        console.print(f"{server.name}: {server.place} ({kind})", highlight=False, markup=False)


@pacs.command("remove")
def remove_command(name: Annotated[str, typer.Argument(help="The server.")]) -> None:
    """Take a server off the list."""
    from napari_clipmed.pacs.servers import remove_server

    remove_server(_home(), name)
    console.print(f"Removed {name}; its password, if any, stays in the system's keyring.", highlight=False)


@pacs.command("password")
def password_command(name: Name = "") -> None:
    """Store a server's password in the system's keyring; it is written nowhere else."""
    from napari_clipmed.credentials import keep_password
    from napari_clipmed.pacs.words import PacsError

    server = _server(name)
    if not server.user:
        raise PacsError(f"{server.name} was added without a user.", "Add it again with --user and --force.")
    password = typer.prompt(f"Password of {server.user} at {server.place}", hide_input=True)
    keep_password(server.keyring_service, server.user, password)
    console.print("The password is in the system's keyring.")


@pacs.command("echo")
def echo_command(name: Name = "", as_json: AsJson = False) -> None:
    """Ask whether a server is there and knows us."""
    from napari_clipmed.pacs.link import connect

    server = _server(name)
    with progress_line("Asking") as progress, connect(server, progress) as link:
        link.echo()
    if as_json:
        print_json({"server": server.name, "answers": True})
    else:
        console.print(f"{server.name} answers.", highlight=False)


@pacs.command("find")
def find_command(
    name: Name = "",
    patient_id: Annotated[str, typer.Option("--patient-id", help="May hold * and ?.")] = "",
    patient_name: Annotated[str, typer.Option("--patient-name", help="Its beginning: FAMILY^GIVEN.")] = "",
    date: Annotated[str, typer.Option("--date", help="20240131, or 20240101-20240131.")] = "",
    modality: Annotated[
        str, typer.Option("--modality", help="Separated by commas; all: any.")
    ] = "XA,CR,DX,RF",
    accession: Annotated[str, typer.Option("--accession", help="Accession number.")] = "",
    series: Annotated[bool, typer.Option("--series", help="Also list the series of each study.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for studies."""
    from napari_clipmed.pacs.link import connect
    from napari_clipmed.pacs.words import Query

    wanted = (
        ()
        if modality.lower() == "all"
        else tuple(m.strip().upper() for m in modality.split(",") if m.strip())
    )
    query = Query(patient_id, patient_name, date, wanted, accession)
    query.keys()  # a date that is none is said before anybody is asked
    with progress_line("Searching") as progress, connect(_server(name), progress) as link:
        found = link.find(query)
        parts = {row.study_uid: link.series(row.study_uid) for row in found.studies} if series else {}
    if as_json:
        rows = [
            asdict(row) | {"parts": [asdict(p) for p in parts.get(row.study_uid, [])]}
            for row in found.studies
        ]
        print_json({"studies": rows, "cut": found.cut})
        return
    _show_found(found)
    for uid, rows_of_study in parts.items():
        for part in rows_of_study:
            console.print(f"{uid}: {part.modality} {part.description}, {part.instances}", markup=False)


@pacs.command("get")
def get_command(
    studies: Annotated[list[str], typer.Argument(help="Study Instance UIDs, as `pacs find` lists them.")],
    out: Annotated[Path, typer.Option("--out", help="Folder in which each study gets a folder.")],
    name: Annotated[str, typer.Option("--from", help="The server.")] = "",
    as_json: AsJson = False,
) -> None:
    """Retrieve studies; exit code 1 if one is not complete. The same command goes on where it stopped."""
    from napari_clipmed.pacs.retrieve import UNFINISHED, retrieve
    from napari_clipmed.pacs.spoken import told_retrieved

    folder = out.expanduser().absolute()
    try:
        with progress_line("Retrieving") as progress:
            found = retrieve(_server(name), studies, folder, progress)
    except (Cancelled, KeyboardInterrupt):
        errors.print(f"Cancelled; what came is kept in {folder / UNFINISHED}. Run it again to go on.")
        raise typer.Exit(EXIT_CANCELLED) from None
    if as_json:
        print_json([asdict(study) | {"complete": study.complete} for study in found])
    else:
        for study in found:
            console.print(told_retrieved(study), highlight=False, markup=False)
    if not all(study.complete for study in found):
        raise typer.Exit(EXIT_FAILED)


@pacs.command("send")
def send_command(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files: SEG, SR, or images.")],
    name: Annotated[str, typer.Option("--to", help="The server.")] = "",
    new_study: Annotated[
        bool, typer.Option("--new-study", help="Also where the server does not have the study yet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Store results beside the study that they are about; exit code 1 if one was refused."""
    from napari_clipmed.pacs.part10 import read_object
    from napari_clipmed.pacs.send import send

    objects = [read_object(path) for path in paths]
    with progress_line("Sending") as progress:
        sent = send(_server(name), objects, progress, new_study=new_study)
    if as_json:
        rows = [asdict(item) | {"file": str(path)} for path, item in zip(paths, sent, strict=True)]
        print_json(rows)
    else:
        for path, item in zip(paths, sent, strict=True):
            console.print(f"{path.name}: {item.refused or 'stored'}", highlight=False, markup=False)
    if any(item.refused for item in sent):
        raise typer.Exit(EXIT_FAILED)


def _show_found(found: Found) -> None:
    from napari_clipmed.pacs.spoken import HEADINGS, cells

    table = Table(box=None, pad_edge=False)
    for heading in (*HEADINGS, "Study Instance UID"):
        table.add_column(heading, overflow="fold")
    for row in found.studies:
        table.add_row(*(Text(cell) for cell in (*cells(row), row.study_uid)))  # a name is no markup
    console.print(table) if found.studies else console.print("Nothing matches: ask for less.")
    if found.cut:
        console.print("There are more; narrow the search.")


def _server(name: str) -> Server:
    from napari_clipmed.pacs.servers import find_server

    return find_server(_home(), name)


def _home() -> Path:
    from napari_clipmed.models.registry import user_folder

    return user_folder()
