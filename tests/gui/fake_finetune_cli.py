"""Stands in for ``python -m napari_clipmed.cli finetune … --progress json``."""

import json
import os
import signal
import sys
import time
from pathlib import Path


def tell(event: str, **values: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


def cancelled(*_: object) -> None:
    tell("cancelled", message="Cancelled; nothing half-made was kept.")
    sys.exit(130)


if "FAKE_FINETUNE_TELLS" in os.environ:
    with Path(os.environ["FAKE_FINETUNE_TELLS"]).open("w", encoding="utf-8") as file:
        json.dump(sys.argv[1:], file)
signal.signal(signal.SIGTERM, cancelled)
mode = os.environ.get("FAKE_FINETUNE", "works")
tell("plan", base="clip-dsa-compact", message="Trains on 8 studies of 8 patients.")
sys.stdout.write("a library says something that is no JSON\n")
tell("step", message="Reading the cases", done=3, total=8)
if mode == "fails":
    tell("error", message="The disk is full.", hint="Make room and try again.")
    sys.exit(1)
if mode == "no memory":
    tell("error", message="The graphics card has not enough memory.", hint="Use the processor.", offer="cpu")
    sys.exit(1)
if mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "crashes":
    sys.stderr.write("Segmentation fault, more or less\n")
    sys.exit(3)
epochs = 1000 if mode == "endless" else 5
for epoch in range(1, epochs + 1):
    tell(
        "epoch",
        epoch=epoch,
        epochs=epochs,
        train_loss=1.2 / epoch,
        val_loss=0.3 + 1.1 / epoch,
        metric=0.9 - 0.4 / epoch,
        eta_s=0.1 * (epochs - epoch),
    )
    time.sleep(0.05)
tell(
    "done",
    run="20260101-000000-000000",
    replay={"n": 13, "macro_f1": {"before": {"value": 0.7}, "after": {"value": 0.69}}},
    model_id="clip-dsa-compact-ft1",
    folder="models",
    on="validation",
    before={"n": 4, "macro_f1": 0.61, "accuracy": 0.65, "loss": 0.9},
    after={"n": 4, "macro_f1": 0.82, "accuracy": 0.84, "loss": 0.5},
    message="It improved: Macro F1 0.610 before, 0.820 after, on the 4 cases kept for validation.",
)
