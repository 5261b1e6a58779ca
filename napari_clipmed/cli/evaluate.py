"""`evaluate`: how good a model is on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from napari_clipmed.cli._app import app, console, errors, print_json
from napari_clipmed.whole_files import whole_file

evaluate_app = typer.Typer(help="Measure a model on labelled data.", no_args_is_help=True)
app.add_typer(evaluate_app, name="evaluate")


@evaluate_app.command("clip-dsa")
def evaluate_clip_dsa(
    data: Annotated[Path, typer.Option(help="Folder with studies.jsonl, as `phantom dsa` writes it.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    model: Annotated[str | None, typer.Option(help="Id of a model; default: the chosen one.")] = None,
    rounds: Annotated[int, typer.Option(help="Bootstrap rounds of the 95 % intervals.")] = 1000,
    pointing: Annotated[
        int, typer.Option(help="Hold the maps of every CAM method against the lesions of so many studies.")
    ] = 0,
    plots: Annotated[Path | None, typer.Option(help="Folder for reliability.svg.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """ACC, macro F1, AUC of scores and of decisions, calibration, prediction sets, certain answers.

    With --pointing also pointing game and energy on the lesion of every CAM method. Figures come with 95 %
    intervals over patients.
    """
    from napari_clipmed.errors import ModelError
    from napari_clipmed.inference.device import choose_compute
    from napari_clipmed.inference.explain import METHODS
    from napari_clipmed.inference.frame_reader import FrameReader
    from napari_clipmed.inference.precision import settle
    from napari_clipmed.inference.preprocess import Preprocessing
    from napari_clipmed.models.labels import LabelSet
    from napari_clipmed.models.registry import default_registry, load_tensors
    from napari_clipmed.progress import Progress
    from napari_clipmed.training.clip_dsa_certainty import certainty_figures
    from napari_clipmed.training.clip_dsa_evaluate import answer_studies, report
    from napari_clipmed.training.dsa_data import read_rows

    registry = default_registry()
    entry = registry.get(model) if model else registry.default("diagnosis")
    if entry.card.architecture != "clip-dsa":
        raise ModelError(f"{entry.id!r} is a {entry.card.architecture} model.", "Choose a CLIP-DSA model.")
    labels = LabelSet.from_content(entry.card.label_set)
    preprocessing = Preprocessing.from_card(entry.card.preprocessing)
    rows = read_rows(data, split)
    compute = settle(entry, choose_compute())
    reader = FrameReader.of(entry, compute)
    with errors.status("evaluating …") as status:
        progress = Progress(lambda step: status.update(f"{step.what} {step.done} of {step.total}"))
        answers = answer_studies(
            reader, rows, labels, preprocessing,
            pointing=pointing, methods=tuple(METHODS), describing=True, progress=progress,
        )  # fmt: skip
    calibration = entry.card.calibration
    said = {"model": entry.id, "split": split, "precision": compute.precision}
    figures = said | report(answers, labels, calibration, rounds)
    certainty = certainty_figures(answers, labels, calibration, load_tensors(entry), rounds)
    figures["certainty"] = certainty
    if plots is not None:
        from napari_clipmed.training.reliability_plot import reliability_svg

        plots.mkdir(parents=True, exist_ok=True)
        with whole_file(plots / "reliability.svg", replace=True) as unfinished:
            unfinished.write_text(reliability_svg(certainty, f"{entry.id}, {split}"), encoding="utf-8")
    if json:
        print_json(figures)
    else:
        _show(figures)


@evaluate_app.command("causal-clipseg")
def evaluate_causal_clipseg(
    data: Annotated[Path, typer.Option(help="QaTa-COV19 in the LanGuideMedSeg or the LViT layout.")],
    split: Annotated[str, typer.Option(help="Train, Val or Test.")] = "Val",
    model: Annotated[str | None, typer.Option(help="Id of a model; default: the chosen one.")] = None,
    patients: Annotated[
        Path | None, typer.Option(help="CSV with the columns id and patient; otherwise file names tell.")
    ] = None,
    wording: Annotated[
        str, typer.Option(help="full, no-number, places-only, sides-only, generic or mirrored sentences.")
    ] = "full",
    native: Annotated[bool, typer.Option(help="Also at the size of the files.")] = False,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0, help="Of the probability.")] = 0.5,
    rounds: Annotated[int, typer.Option(help="Bootstrap rounds of the 95 % interval.")] = 1000,
    probes: Annotated[
        bool,
        typer.Option(
            "--probes",
            help="Instead: does the sentence matter? Other words, typing errors, wrong side, one of two. "
            "DATA may also be a folder of `phantom cxr`.",
        ),
    ] = False,
    most: Annotated[int | None, typer.Option(min=1, help="Films that are probed; default: all.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Dice and mean IoU, averaged over radiographs and pooled over pixels (not to be compared)."""
    from napari_clipmed.errors import ClipmedError, ModelError
    from napari_clipmed.inference.preprocess import Preprocessing
    from napari_clipmed.models.registry import default_registry, load_network
    from napari_clipmed.progress import Progress
    from napari_clipmed.training.causal_clipseg_evaluate import WORDINGS, EvaluationPlan, evaluate
    from napari_clipmed.training.qata_data import load_split, patients_of, read_patients

    if wording not in WORDINGS:
        raise ClipmedError(f"There is no wording {wording!r}.", f"Choose one of {', '.join(WORDINGS)}.")
    registry = default_registry()
    entry = registry.get(model) if model else registry.default("segmentation")
    if entry.card.architecture != "causal-clipseg":
        raise ModelError(
            f"{entry.id!r} is a {entry.card.architecture} model.", "Choose a CausalCLIPSeg model."
        )
    table = read_patients(patients) if patients is not None else None
    if probes:
        found = _probe(entry, data, split, table, threshold, rounds, most)
        found = {"model": entry.id, "split": split.capitalize()} | found
        print_json(found) if json else _show_probes(found)
        return
    items = load_split(data, split, table)
    known = patients_of(data, "Train", table) if split.lower() != "train" else frozenset()
    network: Any = load_network(entry)
    plan = EvaluationPlan(wording=wording, native=native, threshold=threshold, rounds=rounds)
    with errors.status("evaluating …") as status:
        progress = Progress(lambda step: status.update(f"{step.what} {step.done} of {step.total}"))
        preprocessing = Preprocessing.from_card(entry.card.preprocessing)
        figures = evaluate(network, items, preprocessing, plan, known, progress=progress)
    figures = {"model": entry.id, "split": split.capitalize()} | figures
    if json:
        print_json(figures)
    else:
        _show_masks(figures)


def _probe(
    entry: Any, data: Path, split: str, patients: Any, threshold: float, rounds: int, most: int | None
) -> dict[str, Any]:
    """All probes of a model on films of QaTa-COV19, or on simulated ones."""
    from napari_clipmed.inference.preprocess import Preprocessing
    from napari_clipmed.models.registry import load_network
    from napari_clipmed.progress import Progress
    from napari_clipmed.training.prompt_probes import films_of_phantoms, films_of_qata, probe
    from napari_clipmed.training.qata_data import load_split

    simulated = (data / "studies").is_dir()  # as QaTa is laid out, not every area is told
    films = (
        films_of_phantoms(data, split.lower())
        if simulated
        else films_of_qata(load_split(data, split, patients))
    )
    network: Any = load_network(entry)
    preprocessing = Preprocessing.from_card(entry.card.preprocessing)
    with errors.status("probing …") as status:
        progress = Progress(lambda step: status.update(f"{step.what} {step.done}"))
        figures = probe(network, films, preprocessing, threshold, None, rounds, most, progress)
    return {"simulated": simulated} | figures


def _show_probes(figures: dict[str, Any]) -> None:
    """One table for people."""
    title = f"{figures['model']}, {figures['split']}, {figures['films']} films"
    table = Table(
        "sentence", "n", "Dice on what is named", "95 % interval", "leakage", "95 % interval", title=title
    )
    for name, row in figures["probes"].items():
        cells = []
        for key in ("dice", "leakage"):
            meant = key in row and (name, key) != ("wrong side", "dice")
            cells += [f"{row[key]:.3f}", _interval(row["ci95"].get(key))] if meant else ["–", ""]
        table.add_row(name, str(row["n"]), *cells)
    console.print(table)
    console.print(
        "One side: areas on both sides, the sentence names one. Wrong side: areas on one, it names the "
        "other. Leakage: share of the area that is not named which the answer covers. Unread: as typed, "
        "without the reading that the window does first.",
        highlight=False,
    )


def _show_masks(figures: dict[str, Any]) -> None:
    """One table for people."""
    low, high = figures["ci95"]["dice_mean"]
    table = Table("", "Dice", "mIoU", title=f"{figures['model']}, {figures['split']}, n {figures['n']}")
    for size, part in ((f"{figures['size']} px", figures), ("native", figures.get("native"))):
        if part is not None:
            for how in ("mean", "pooled"):
                table.add_row(f"{how}, {size}", f"{part[f'dice_{how}']:.4f}", f"{part[f'miou_{how}']:.4f}")
    console.print(table)
    console.print(
        f"95 % interval of the mean Dice {low:.4f} – {high:.4f} ({figures['patients']} patients); "
        f"threshold {figures['threshold']}; {figures['empty_masks']}.",
        highlight=False,
    )


def _show(figures: dict[str, Any]) -> None:
    """Two tables for people."""
    console.print(
        f"{figures['model']}, {figures['split']}: {figures['n']} studies, {figures['patients']} patients"
    )
    table = Table("figure", "both views", "95 % interval", "AP", "LA")
    names = {
        "accuracy": "accuracy",
        "macro_f1": "macro F1",
        "auc_ovr": "macro AUC",
        "auc_hard": "AUC of decisions",
    }
    intervals = figures.get("ci95", {})
    for key, title in names.items():
        single = (f"{figures['views'][view][key]:.3f}" for view in ("AP", "LA"))
        table.add_row(title, f"{figures[key]:.3f}", _interval(intervals.get(key)), *single)
    labels = figures["confusion"]["labels"]
    for key, value in figures["auc_pairwise"].items():
        single = (f"{figures['views'][view]['auc_pairwise'][key]:.3f}" for view in ("AP", "LA"))
        interval = _interval(intervals.get(f"auc_{key}_vs_{labels[0]}"))
        table.add_row(f"AUC {key} against {labels[0]}", f"{value:.3f}", interval, *single)
    console.print(table)
    confusion = Table("truth \\ answer", *labels)
    for key, row in zip(labels, figures["confusion"]["rows_are_truth"], strict=True):
        confusion.add_row(key, *map(str, row))
    console.print(confusion)
    _show_certainty(figures["certainty"])
    _show_localisation(figures.get("localisation", {}))
    for key, part in figures["by_severity"].items():
        for group, values in part["groups"].items():
            found = f"sensitivity {values['sensitivity']:.2f}, AUC {values['auc_vs_normal']:.2f}"
            console.print(f"{key}, {part['measure']} {group}: n {values['n']}, {found}", highlight=False)


def _show_localisation(figures: dict[str, Any]) -> None:
    """Where the maps of each method lie; nothing where none was held against the truth."""
    if not figures:
        return
    table = Table(
        "CAM method", "hottest cell on the lesion", "95 % interval", "energy on it", "95 % interval"
    )
    for method, row in sorted(figures.items(), key=lambda pair: -pair[1]["hit_rate"]):
        intervals = row.get("ci95", {})
        table.add_row(
            method,
            f"{row['hits']} of {row['n']}",
            _interval(intervals.get("hit_rate")),
            f"{row['energy']:.3f}",
            _interval(intervals.get("energy")),
        )
    console.print(table)
    even = next(iter(figures.values()))["even"]
    console.print(f"A map that is the same everywhere has {even:.3f} of its energy there.", highlight=False)


def _show_certainty(figures: dict[str, Any]) -> None:
    """What the answers are worth, and how often the model says that it does not know."""
    intervals, sets = figures.get("ci95", {}), figures["sets"]
    table = Table("certainty, both views", "value", "95 % interval")
    rows: list[tuple[str, str, float | None]] = [
        ("calibration error (ECE)", "calibration_error", figures["calibration_error"]),
        ("the same before temperature scaling", "", figures["calibration_error_uncalibrated"]),
        *(
            [
                ("coverage of the 90 % sets", "coverage", sets["coverage"]),
                ("their mean size", "size", sets["size"]),
            ]
            if sets
            else []
        ),
        ("share uncertain", "uncertain", figures["uncertain"]),
        ("accuracy of the certain", "accuracy_certain", figures["accuracy_certain"]),
        ("most probable class right among the uncertain", "", figures["accuracy_uncertain"]),
        ("certain and wrong, of all", "confident_wrong", figures["confident_wrong"]),
        *((f"accuracy of the most confident {s}", "", v) for s, v in figures["selective_accuracy"].items()),
        ("flagged as unlike the training data", "", figures["unlike_training"]),
    ]
    for title, key, value in rows:
        table.add_row(title, "–" if value is None else f"{value:.3f}", _interval(intervals.get(key)))
    console.print(table)
    if sets is None:
        console.print("The model has no prediction sets.", highlight=False)
        return
    by_class = Table("class", "n", "coverage", "mean size", "uncertain")
    for key, row in sets["by_class"].items():
        if row["n"]:
            uncertain = f"{figures['uncertain_by_class'][key]:.2f}"
            by_class.add_row(key, str(row["n"]), f"{row['coverage']:.2f}", f"{row['size']:.2f}", uncertain)
    console.print(by_class)


def _interval(interval: list[float] | None) -> str:
    return f"{interval[0]:.3f} – {interval[1]:.3f}" if interval else ""
