"""``napari-clipmed worklist`` and ``similar``: what is to be read, in which order, and what resembles it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from napari_clipmed.cli._app import EXIT_FAILED, app, console, errors, print_json
from napari_clipmed.cli._common import (
    RESEARCH_USE,
    AsJson,
    Device,
    ModelId,
    Precision,
    model_of,
    progress_line,
    registry_of,
)
from napari_clipmed.errors import ClipmedError
from napari_clipmed.worklist.words import Order

if TYPE_CHECKING:
    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.records import Store
    from napari_clipmed.worklist.embeddings import Bank, Match
    from napari_clipmed.worklist.lines import Line

WorkspaceOption = Annotated[Path, typer.Option("--workspace", help="The workspace folder.")]
Author = Annotated[str, typer.Option("--author", help="Initials stored beside the change.")]
OrderOption = Annotated[Order, typer.Option("--order", help="Which cases come first.")]
AnswersOf = Annotated[str, typer.Option("--model", help="Use this model's answers; default: the newest.")]

worklists = typer.Typer(help="The studies that are to be read.", no_args_is_help=True)
app.add_typer(worklists, name="worklist")


@worklists.command("add")
def add_command(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders; a folder gives all its studies.")],
    workspace: WorkspaceOption,
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Put studies on the worklist by their headers; a missing or empty workspace folder is made."""
    from napari_clipmed.records import Store
    from napari_clipmed.worklist.adding import entries_in

    with progress_line("Reading headers") as progress, Store.open(workspace) as store:
        entries = entries_in(paths, progress)
        new = store.add_to_worklist(entries, author)
        total = len(store.worklist())
    bad = [entry for entry in entries if entry.problem]
    if as_json:
        problems = [{"paths": list(map(str, entry.files)), "problem": entry.problem} for entry in bad]
        print_json({"new": new, "found": len(entries), "total": total, "problems": problems})
        return
    for entry in bad:
        errors.print(f"[bold yellow]Cannot be read:[/] {escape(entry.title)}: {escape(entry.problem)}")
    known = len(entries) - new
    console.print(f"{new} new, {known} on the list already; {total} in all.", highlight=False)


@worklists.command("list")
def list_command(
    workspace: WorkspaceOption,
    order: OrderOption = Order.ADDED,
    status: Annotated[
        str, typer.Option(help="to review, reviewed, unsure, disputed, problem or unanswered.")
    ] = "",
    label: Annotated[str, typer.Option(help="Only this label of a reader.")] = "",
    reader: Annotated[str, typer.Option(help="Only what this reader labelled.")] = "",
    model: AnswersOf = "",
    as_json: AsJson = False,
) -> None:
    """List what is to be read, with what readers and the model said."""
    from napari_clipmed.worklist.lines import UNANSWERED, Status, Wanted, progress_of

    if status and status not in (*Status, UNANSWERED):
        raise ClipmedError(f"There is no status {status!r}.", f"Choose: {', '.join((*Status, UNANSWERED))}.")
    lines = _lines(workspace, order, model)
    wanted = Wanted(status=status, label=label, reader=reader)
    shown = [line for line in lines if wanted.passes(line)]
    reviewed, total = progress_of(lines)
    if as_json:
        cases = [describe(line, order) for line in shown]
        print_json({"reviewed": reviewed, "total": total, "order": order.value, "cases": cases})
        return
    table = Table("", "case", "status", "label", "model", "files", box=None)
    for number, line in enumerate(shown, 1):
        what = describe(line, order)
        sure = what["headline"] or "–"
        if what["headline"] and not what["uncertain"]:
            sure += f" {what['confidence']:.2f}"
        said = f"{what['label'] or '–'} {what['reader']}".strip()
        simulated = "  [bold yellow]SIMULATED[/]" if line.listed.synthetic else ""
        where = (
            escape(line.listed.title)
            + simulated
            + (f"  [yellow]{escape(line.problem)}[/]" if line.problem else "")
        )
        table.add_row(str(number), (line.case or "")[:8], line.status, said, sure, where)
    console.print(table)
    console.print(f"{reviewed} of {total} reviewed.", highlight=False)


@worklists.command("next")
def next_command(
    workspace: WorkspaceOption,
    order: OrderOption = Order.ADDED,
    model: AnswersOf = "",
    as_json: AsJson = False,
) -> None:
    """Say which case is to be read next; exit code 1 when none is left."""
    from napari_clipmed.worklist.lines import Status

    lines = _lines(workspace, order, model)
    line = next((line for line in lines if line.status is Status.TO_REVIEW), None)
    if as_json:
        print_json(None if line is None else describe(line, order))
    elif line is None:
        console.print("Nothing is left to be read." if lines else "The worklist is empty: worklist add DIR")
    else:
        console.print("\n".join(map(str, line.listed.files)), highlight=False, soft_wrap=True, markup=False)
    if line is None:
        raise typer.Exit(EXIT_FAILED)


@worklists.command("remove")
def remove_command(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders with all that lies in them.")],
    workspace: WorkspaceOption,
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Take studies off the worklist; what was said about their cases stays."""
    with open_workspace(workspace) as store:
        named = [path.expanduser().absolute() for path in paths]
        chosen = [
            entry
            for entry in store.worklist()
            if any(file == path or path in file.parents for file in entry.files for path in named)
        ]
        store.remove_from_worklist(chosen, author)
        total = len(store.worklist())
    if as_json:
        print_json({"removed": len(chosen), "total": total})
    else:
        console.print(f"{len(chosen)} taken off the list; {total} are left.", highlight=False)


@worklists.command("classify")
def classify_command(
    workspace: WorkspaceOption,
    model: ModelId = "",
    again: Annotated[bool, typer.Option("--again", help="Also cases that this model has answered.")] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
) -> None:
    """Ask the model about every angiogram of the list and keep what it says; a bad file stops nothing."""
    from napari_clipmed.worklist.answering import answer_all
    from napari_clipmed.worklist.keeping import Shelves
    from napari_clipmed.worklist.lines import read_lines

    with open_workspace(workspace) as store, progress_line("Reading the worklist") as progress:
        engine = _engine(workspace, model, device, precision)
        assert engine.diagnosis is not None
        lines = read_lines(store, engine.diagnosis.id, progress)
        entries = [
            line.listed
            for line in lines
            if line.listed.kind == "angiogram" and not line.problem and (again or line.answer is None)
        ]
        outcomes = list(answer_all(entries, engine, Shelves.of(store), progress))
    failed = [outcome for outcome in outcomes if outcome.problem]
    if as_json:
        problems = [{"paths": list(map(str, o.listed.files)), "problem": o.problem} for o in failed]
        print_json({"answered": len(outcomes) - len(failed), "problems": problems})
    else:
        for outcome in failed:
            errors.print(f"[bold red]Failed:[/] {escape(outcome.listed.title)}: {escape(outcome.problem)}")
        console.print(f"{len(outcomes) - len(failed)} answered, {len(failed)} failed.", highlight=False)
        console.print(RESEARCH_USE, style="dim")
    if failed:
        raise typer.Exit(EXIT_FAILED)


@app.command("similar")
def similar_command(
    workspace: WorkspaceOption,
    study: Annotated[Path | None, typer.Argument(help="A study's file or folder.")] = None,
    text: Annotated[str, typer.Option("--text", help="A sentence instead of a study.")] = "",
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 5,
    model: ModelId = "",
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
) -> None:
    """Find the cases that lie nearest in the model's embedding to a study, or to a sentence.

    The similarity is a cosine, not a probability; research use only.
    """
    from napari_clipmed.worklist.embeddings import caveats
    from napari_clipmed.worklist.keeping import Shelves
    from napari_clipmed.worklist.lines import read_lines

    if (study is None) == (not text.strip()):
        raise ClipmedError("One question at a time.", "Give a study, or a sentence with --text.")
    with open_workspace(workspace, read_only=True) as store, progress_line("Comparing") as progress:
        engine = _engine(workspace, model, device, precision)
        assert engine.diagnosis is not None
        bank = Shelves.of(store).embeddings.bank(engine.diagnosis.card.sha256)
        if not bank.cases:
            raise ClipmedError(
                "No case of this workspace has an embedding of this model yet.",
                "Run `napari-clipmed worklist classify` first.",
            )
        matches = _matches(bank, engine, study, text.strip(), k)
        lines = {line.case: line for line in read_lines(store, engine.diagnosis.id, progress)}
        labels = {case: revision.label for case, revision in store.current_labels().items()}
        notes = caveats(engine.diagnosis.card.limits) if text.strip() else []
    rows: list[dict[str, Any]] = [
        {
            "case": match.case,
            "similarity": round(match.similarity, 4),
            "compared": match.by,
            "label": labels.get(match.case),
            "predicted": line.answer.predicted if (line := lines.get(match.case)) and line.answer else None,
            "headline": certainty.headline() if line and (certainty := line.certainty()) else None,
            "paths": list(map(str, line.listed.files)) if line else [],
        }
        for match in matches
    ]
    if as_json:
        print_json({"similar": rows, "model": engine.diagnosis.id, "notes": notes, "use": RESEARCH_USE})
        return
    table = Table("case", "similarity", "label", "model", "files", box=None)
    for row in rows:
        files = " + ".join(Path(path).name for path in row["paths"]) or "not on the worklist"
        said = (str(row["label"] or "–"), str(row["headline"] or "–"))
        table.add_row(str(row["case"])[:8], f"{row['similarity']:.3f}", *said, escape(files))
    console.print(table)
    for note in [*notes, "The similarity is a cosine, not a probability."]:
        console.print(f"  [#E69F00]•[/] {escape(note)}", highlight=False)
    console.print(RESEARCH_USE, style="dim")


def describe(line: Line, order: Order) -> dict[str, Any]:
    """A line as plain values."""
    from napari_clipmed.worklist.orders import score

    value, certainty = score(line, order), line.certainty()
    return {
        "case": line.case,
        "paths": list(map(str, line.listed.files)),
        "kind": line.listed.kind,
        "synthetic": line.listed.synthetic,
        "status": line.status.value,
        "label": line.label.label if line.label else None,
        "reader": line.label.author if line.label else "",
        "predicted": line.answer.predicted if line.answer else None,
        "confidence": line.confidence,
        "headline": certainty.headline() if certainty else None,
        "uncertain": not certainty.certain if certainty else None,
        "score": None if value != value else round(value, 4),
        "problem": line.problem,
    }


def _matches(bank: Bank, engine: Engine, study: Path | None, text: str, k: int) -> list[Match]:
    if study is None:
        return bank.nearest_to_sentence(engine.embed_sentences([text])[0], k)
    from napari_clipmed.io import open_study
    from napari_clipmed.records.identity import case_key

    opened = open_study(study)
    return bank.nearest(engine.classify(opened).embedding, k, without=[case_key(opened)])


def _lines(workspace: Path, order: Order, model: str) -> list[Line]:
    from napari_clipmed.worklist.keeping import Shelves
    from napari_clipmed.worklist.lines import model_in_use, read_lines
    from napari_clipmed.worklist.orders import ordered

    with (
        open_workspace(workspace, read_only=True) as store,
        progress_line("Reading the worklist") as progress,
    ):
        lines = read_lines(store, model, progress)
        vectors = {}
        if order is Order.DIVERSITY:
            vectors = Shelves.of(store).embeddings.bank(model_in_use(lines)).best()
    return [lines[place] for place in ordered(lines, order, vectors)]


def open_workspace(workspace: Path, read_only: bool = False) -> Store:
    """Open a workspace that is there: a mistyped path must not become one."""
    from napari_clipmed.records import Store, Workspace

    Workspace(workspace.expanduser().absolute()).check()
    return Store.open(workspace, read_only=read_only)


def _engine(workspace: Path, model: str, device: str, precision: str) -> Engine:
    from napari_clipmed.inference.engine import Engine

    entry = model_of(registry_of(workspace), "diagnosis", model)
    return Engine(entry, device=device, precision=precision)
