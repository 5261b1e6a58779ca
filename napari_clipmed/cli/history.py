"""``napari-clipmed history``, ``restore``, ``bundle``, ``agreement``: what was said about cases, by whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from napari_clipmed.cli._app import app, console, print_json
from napari_clipmed.cli._common import AsJson, progress_line, writing_to
from napari_clipmed.errors import ClipmedError

if TYPE_CHECKING:
    from napari_clipmed.records import Revision, Store

CaseArgument = Annotated[
    str,
    typer.Argument(
        metavar="CASE|STUDY", help="A case's id (or its beginning), or the study's file or folder."
    ),
]
WorkspaceOption = Annotated[Path, typer.Option("--workspace", help="The workspace folder.")]
Author = Annotated[str, typer.Option("--author", help="Initials stored beside the change.")]

bundles = typer.Typer(help="One case in one file.", no_args_is_help=True)
app.add_typer(bundles, name="bundle")


@app.command("history")
def history_command(case: CaseArgument, workspace: WorkspaceOption, as_json: AsJson = False) -> None:
    """List every revision of a case: who said what, when, and what holds."""
    from napari_clipmed.records import Store

    with Store.open(workspace, read_only=True) as store:
        case_id = find_case(store, case)
        revisions, conflicts = store.revisions(case_id), store.conflicts(case_id)
        label = store.current_label(case_id)
        holding = {r.id for r in (*store.current_masks(case_id), *([label] if label else []))}
    disputed = [[conflict.first.id, conflict.second.id] for conflict in conflicts]
    if as_json:
        lines = [plain(revision) | {"holds": revision.id in holding} for revision in revisions]
        print_json({"case": case_id, "revisions": lines, "conflicts": disputed})
        return
    table = Table("No.", "When", "Who", "What", "Verdict", "Comment", title=f"Case {case_id}")
    for revision in revisions:
        table.add_row(
            str(revision.id),
            revision.created_at.astimezone().strftime("%Y-%m-%d %H:%M"),
            revision.author,
            _what(revision) + (" (holds)" if revision.id in holding else ""),
            str(revision.verdict or ""),
            revision.comment,
        )
    console.print(table)
    for first, second in disputed:
        console.print(f"Revisions {first} and {second} disagree; {first} holds until somebody chooses.")


@app.command("restore")
def restore_command(
    revision: Annotated[int, typer.Argument(help="Number of the revision; see `history`.")],
    workspace: WorkspaceOption,
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Make an earlier label or mask hold again, by a new revision; settles a conflict that it is part of."""
    from napari_clipmed.records import Store, Workspace

    Workspace(workspace.expanduser().absolute()).check()
    with Store.open(workspace) as store:
        try:
            chosen = store.revision(revision)
        except KeyError as error:
            raise ClipmedError(
                f"There is no revision {revision}.", "See `napari-clipmed history`."
            ) from error
        if chosen.kind not in ("label", "mask"):
            raise ClipmedError(f"Revision {revision} is a {chosen.kind}, which cannot be restored.")
        conflict = next(
            (c for c in store.conflicts(chosen.case_id) if chosen.id in (c.first.id, c.second.id)), None
        )
        new = store.settle(conflict, chosen, author) if conflict else store.restore(chosen, author)
    print_json(plain(new)) if as_json else console.print(f"It holds again, as revision {new.id}.")


@bundles.command("export")
def export_command(
    case: CaseArgument,
    workspace: WorkspaceOption,
    out: Annotated[Path, typer.Option("--out", help="The bundle, a zip file that must not exist.")],
    pixels: Annotated[
        Path | None,
        typer.Option("--pixels", help="The study's file or folder: its frames go in, its identity does not."),
    ] = None,
) -> None:
    """Write one case into one file: revisions, masks, models by their hash, a checksum for every part."""
    from napari_clipmed.records import Store
    from napari_clipmed.records.bundle import export_bundle

    study = None
    if pixels is not None:
        from napari_clipmed.io import open_study

        study = open_study(pixels)
    with Store.open(workspace, read_only=True) as store:
        count = export_bundle(store, find_case(store, case), out, study)
    console.print(f"Wrote {count} revisions to {out}.", highlight=False)
    if study is not None:
        console.print("Text burned into the picture, if there is any, is still in it.")


@bundles.command("import")
def import_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    workspace: WorkspaceOption,
    as_json: AsJson = False,
) -> None:
    """Take a case into a workspace; every checksum is compared, what is here already stays as it is."""
    from napari_clipmed.records import Store, Workspace
    from napari_clipmed.records.bundle import import_bundle

    Workspace(workspace.expanduser().absolute()).check()
    with Store.open(workspace) as store:
        found = import_bundle(store, bundle)
    if as_json:
        print_json(found.__dict__)
        return
    console.print(f"Case {found.case}: {found.new} new revisions, {found.known} were here already.")
    if found.conflicts:
        console.print(f"{found.conflicts} of them disagree with what was here; see `history`.")


@app.command("agreement")
def agreement_command(
    workspace: WorkspaceOption,
    readers: Annotated[
        list[str] | None, typer.Option("--reader", help="Only these readers; give it once for each.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write the report as a web page.")] = None,
    as_json: AsJson = False,
) -> None:
    """How well the readers agree: kappa of labels, Dice and Hausdorff distance of masks, with intervals."""
    from napari_clipmed.records import Store
    from napari_clipmed.training.agreement import agreement
    from napari_clipmed.training.agreement_page import agreement_page

    with Store.open(workspace, read_only=True) as store, progress_line("Comparing readers") as progress:
        report = agreement(store, readers or (), tell=progress.step)
    if html is not None:
        with writing_to(html):
            html.write_text(agreement_page(report), encoding="utf-8")
    if as_json:
        print_json(report.as_dict())
    else:
        _show_agreement(report.as_dict())


def _show_agreement(report: dict[str, Any]) -> None:
    from napari_clipmed.training.agreement_page import MASK_HEAD, kappa_words, mask_cells, number

    labels, masks = report["labels"], report["masks"]
    console.print(
        f"Fleiss' kappa, {labels['read_by_all']} cases read by all: {kappa_words(labels['fleiss'])}"
    )
    pairs = Table("Two readers", "Cases", "Agreement", "Cohen's kappa (95 %)")
    for pair in labels["pairs"]:
        pairs.add_row(
            " and ".join(pair["readers"]), str(pair["n"]), number(pair["agreement"]), kappa_words(pair)
        )
    classes = Table("Class", "Readings", "Fleiss' kappa (95 %)")
    for entry in labels["classes"]:
        classes.add_row(entry["label"], str(sum(entry["readings"].values())), kappa_words(entry["fleiss"]))
    drawn = Table(*MASK_HEAD)
    for row in masks["pairs"]:
        drawn.add_row(" and ".join(row["readers"]), *mask_cells(row))
    for row in masks["classes"]:
        drawn.add_row(row["name"] or "mask", *mask_cells(row))
    for table in (pairs, classes, drawn):
        console.print(table)
    for note in report["notes"]:
        console.print(note, highlight=False)


def find_case(store: Store, words: str) -> str:
    """The case that an id, its beginning, or a path to its study names.

    Raises
    ------
    ClipmedError
        When none or several do.
    """
    if Path(words).exists():
        from napari_clipmed.io import open_study

        known = store.find_case(open_study(Path(words)))
        if known is None:
            raise ClipmedError(
                f"The workspace knows nothing of the study {words}.", "Save a label or mask first."
            )
        return known
    found = [case.id for case in store.cases() if words and case.id.startswith(words)]
    if len(found) != 1:
        raise ClipmedError(
            f"{'No case' if not found else f'{len(found)} cases'} in this workspace begin with {words!r}.",
            "Give more of the id, or the study's file.",
        )
    return found[0]


def _what(revision: Revision) -> str:
    if revision.withdrawn:
        return f"{revision.kind} taken back"
    where = (
        ""
        if revision.frame is None
        else f", view {(revision.view_index or 0) + 1} frame {revision.frame + 1}"
    )
    if revision.projected:
        where += f", projected over frames {revision.projected[0] + 1} to {revision.projected[1] + 1}"
    said = revision.label or revision.name or revision.prompt or ""
    again = f" (as {revision.restored_from})" if revision.restored_from else ""
    return f"{revision.kind} {said}{where}{again}".strip()


def plain(revision: Revision) -> dict[str, Any]:
    """A revision as plain values."""
    from dataclasses import asdict

    return asdict(revision) | {"created_at": revision.created_at.isoformat()}
