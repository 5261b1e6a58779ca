"""Stands in for ``python -m napari_clipmed.cli finetune … --progress json``."""

import json
import os
import signal
import sys
import time


def tell(event: str, **values: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


def cancelled(*_: object) -> None:
    tell("cancelled", message="Cancelled; nothing half-made was kept.")
    sys.exit(130)


signal.signal(signal.SIGTERM, cancelled)
mode = os.environ.get("FAKE_FINETUNE", "works")
tell("plan", base="clip-dsa-compact", message="Trains on 8 studies of 8 patients.")
sys.stdout.write("a library says something that is no JSON\n")
tell("step", message="Reading the cases", done=3, total=8)
if mode == "fails":
    tell("error", message="The disk is full.", hint="Make room and try again.")
    sys.exit(1)
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
    model_id="clip-dsa-compact-ft1",
    folder="models",
    on="validation",
    before={"n": 4, "macro_f1": 0.61, "accuracy": 0.65, "loss": 0.9},
    after={"n": 4, "macro_f1": 0.82, "accuracy": 0.84, "loss": 0.5},
    message="It improved: Macro F1 0.610 before, 0.820 after, on the 4 cases kept for validation.",
)
