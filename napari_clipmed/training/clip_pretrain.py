"""A small CLIP of our own, trained on pictures with their sentences.

Two terms are CLIP's symmetric cross-entropy (Radford et al., ICML 2021): pictures with sentences, and
places with sentences, whose best places are pooled softly (after GLoRIA, Huang et al., ICCV 2021, with
sentences in the place of words). Places are read as `models.dense` reads them, so that what is trained is
what the heat maps of zero-shot show. A third term is about sides (`side_loss`). Targets are soft (after
MedCLIP, Wang et al., EMNLP 2022): a sentence that says the same of another picture is no negative.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from napari_clipmed.errors import ModelError
from napari_clipmed.inference.preprocess import Preprocessing, normalise
from napari_clipmed.models.backbone_hub import CONFIG_FILE, WEIGHT_FILES
from napari_clipmed.models.backbone_source import CLIP_STATISTICS
from napari_clipmed.models.backbones import clip_config, create_clip, modified_resnet, tokenizer_for
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.checkpoints import GELU_ENTRY
from napari_clipmed.models.clip_dsa import MAX_LOGIT_SCALE, pool_by_mean_token
from napari_clipmed.models.clip_dsa_loss import contrastive_loss
from napari_clipmed.models.registry import load_network
from napari_clipmed.progress import Progress
from napari_clipmed.training.clip_pairs import Pair, PairDataset, collate, read_pairs
from napari_clipmed.training.clip_recipe import ClipRecipe
from napari_clipmed.training.clip_terms import (
    NEAREST_LABEL,
    best_places,
    retrieval_figures,
    side_loss,
    sided_sentences,
    soft_targets,
    symmetric_cross_entropy,
)
from napari_clipmed.training.dsa_data import StudyRow
from napari_clipmed.training.fitting import (
    Balanced,
    Budget,
    Budgeted,
    checkpoint_weights,
    counted_once,
    everywhere,
    prepare,
    seeded,
    share_of_batch,
    with_decay,
)
from napari_clipmed.training.recompute import recompute_stages

log = logging.getLogger(__name__)

WITH_SIDES = "val/label_and_side"
"""What chooses the epoch where sides are learned: the mean of `NEAREST_LABEL` and ``val/side``."""
NEW = "attnpool.c_proj"
"""What brings pictures into the space of sentences; it has the size of the embedding."""

VALIDATION_PAIRS = 400
"""At most so many are looked at, evenly spread over the validation split."""


class ClipTraining(Budgeted):
    """The objective and the schedule around an open_clip model.

    Parameters
    ----------
    recipe : ClipRecipe
    learned, judged_by : sequence of Pair
        What it trains on, and what chooses the epoch.
    seeing : bool
        The image tower was taken from a trained model, see `begin_with_images_of`: it changes slowly.
    """

    def __init__(
        self, recipe: ClipRecipe, learned: Sequence[Pair], judged_by: Sequence[Pair], seeing: bool = False
    ) -> None:
        super().__init__()
        self.recipe, self.seeing = recipe, seeing
        self.model = cast("Any", create_clip(recipe.backbone))
        self.tokenize = tokenizer_for(recipe.backbone)
        visual = modified_resnet(self.model).to(memory_format=torch.channels_last)
        self.size = int(visual.image_size)
        self.learned = PairDataset(learned, self.size, recipe.frames, recipe.augmentation)
        step = max(1, math.ceil(len(judged_by) / VALIDATION_PAIRS))
        self.judged_by = PairDataset(judged_by[::step], self.size, recipe.frames, None)
        if recipe.run.recompute:
            recompute_stages(visual)
        self.preprocessing = Preprocessing(self.size)
        self.budget = Budget(recipe.epochs, recipe.minutes, recipe.rate)
        self._seen: list[tuple[Tensor, ...]] = []

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Pairs to learn from, drawn anew each epoch: as many runs as films, of whichever there are fewer."""
        batch = share_of_batch(self.recipe.batch, self.trainer.world_size)
        kinds = [isinstance(pair.source, StudyRow) for pair in self.learned.pairs]
        order = Balanced(kinds, lambda: seeded(self.recipe.seed, self.current_epoch))
        drop = len(order) > self.recipe.batch
        return self._loader(self.learned, batch, sampler=order, drop_last=drop, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Pairs that choose the epoch."""
        return self._loader(self.judged_by, self.recipe.batch)

    def _loader(self, pairs: PairDataset, batch: int, **options: Any) -> DataLoader[dict[str, Any]]:
        return DataLoader(pairs, batch, num_workers=self.recipe.run.workers, collate_fn=collate, **options)

    def on_train_epoch_start(self) -> None:
        """Seed all that is drawn in this epoch."""
        torch.manual_seed(seeded(self.recipe.seed, self.current_epoch, self.global_rank))

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        """Both terms of a batch."""
        images, places = self._look(batch["frames"], batch["of"])
        text = self.model.encode_text(self.tokenize(batch["sentence"]).to(self.device), normalize=True)
        with torch.autocast(images.device.type, enabled=False):
            images, places, text = images.float(), places.float(), text.float()
            scale = self.model.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
            facts = everywhere(self, images, text, batch["label"], batch["words"])
            total = contrastive_loss(facts[0], facts[1], scale, self._targets(facts[2], facts[3]))
            self.log("train/global", total, on_step=False, on_epoch=True, batch_size=len(images))
            if self.recipe.local:
                logits = scale * best_places(places, text, self.recipe.place_sharpness)
                local = symmetric_cross_entropy(logits, self._targets(batch["label"], batch["words"]))
                self.log("train/local", local, on_step=False, on_epoch=True, batch_size=len(images))
                total = total + self.recipe.local * local
            if self.recipe.sides and len((leads := self._leads(images, text, batch["sentence"]))[0]):
                sides = side_loss(leads[1], scale)
                self.log("train/sides", sides, on_step=False, on_epoch=True, batch_size=len(leads[0]))
                total = total + self.recipe.sides * sides
        return total

    def _leads(self, images: Tensor, text: Tensor, sentences: Sequence[str]) -> tuple[list[int], Tensor]:
        """Which sentences name a side, and by how much each is nearer to its picture than the turned one."""
        sided = sided_sentences(sentences)
        if not sided:
            return [], images.new_zeros(0)
        own, tokens = list(sided), self.tokenize(list(sided.values())).to(self.device)
        turned = self.model.encode_text(tokens, normalize=True).float()
        return own, (images[own] * (text[own] - turned)).sum(dim=1)

    def _look(self, frames: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (b, d) of pictures and (b, p, d) of all places of all their frames, see `collate`."""
        visual = modified_resnet(self.model)
        x = normalise(frames, self.preprocessing).contiguous(memory_format=torch.channels_last)
        maps = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(x)))))
        pooled = functional.normalize(pool_by_mean_token(visual.attnpool, maps).float(), dim=-1)
        pooled = functional.normalize(pooled[of].mean(dim=1), dim=-1)
        dense = visual.attnpool.c_proj(visual.attnpool.v_proj(maps.permute(0, 2, 3, 1)))
        places = functional.normalize(dense.float(), dim=-1).flatten(1, 2)
        return pooled, places[of].flatten(1, 2)

    def _targets(self, labels: Tensor, words: Tensor) -> Tensor:
        return soft_targets(labels, words, self.recipe.soft, self.recipe.tau)

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self._seen = []

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        """Embed pictures and sentences of a batch."""
        images, _ = self._look(batch["frames"], batch["of"])
        text = self.model.encode_text(self.tokenize(batch["sentence"]).to(self.device), normalize=True)
        images, text = images.float(), text.float()
        side = images.new_full((len(images),), torch.nan)
        if self.recipe.sides:
            own, lead = self._leads(images, text, batch["sentence"])
            side[own] = (lead > 0).float()
        self._seen.append((batch["index"], images, text, batch["label"], side))

    def on_validation_epoch_end(self) -> None:
        """Log how often the nearest sentence says what the picture shows; the first figure selects."""
        index, images, text, labels, side = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        images, text, labels, side = counted_once(self, index, images, text, labels, side)
        figures = retrieval_figures(images, text, labels)
        if self.recipe.sides:
            told = float(torch.nan_to_num(side.nanmean(), nan=0.5))
            figures |= {"val/side": told, WITH_SIDES: (figures[NEAREST_LABEL] + told) / 2}
        self.log_dict(figures, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; norms, biases and the temperature are not decayed."""
        taken = _taken(self.model.visual) if self.seeing else ()
        slow = {f"visual.{name}" for name in taken}
        parts: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
        for name, parameter in self.model.named_parameters():
            parts[name in slow].append(parameter)
        groups = []
        for parameters, factor in zip(parts, (1.0, self.recipe.seeing), strict=True):
            groups += [
                group | {"factor": factor} for group in with_decay(parameters, self.recipe.weight_decay)
            ]
        return torch.optim.AdamW([group for group in groups if group["params"]], lr=self.recipe.learning_rate)


def _taken(visual: nn.Module) -> list[str]:
    """The weights of an image tower that another one of the same shape can give; its last product is new."""
    return [name for name in visual.state_dict() if not name.startswith(NEW)]


def begin_with_images_of(model: nn.Module, entry: ModelEntry) -> None:
    """Give an open_clip model the image tower of a trained CLIP-DSA; only the last product stays its own.

    Sentences are then taught to a tower that sees already (after LiT, Zhai et al., CVPR 2022, which keeps
    the tower as it is).

    Raises
    ------
    ModelError
        When the model is no CLIP-DSA, or its tower has another shape.
    """
    if entry.card.architecture != "clip-dsa":
        raise ModelError(f"{entry.id} has no image tower of CLIP-DSA.", "Name a CLIP-DSA model.")
    given = cast("Any", load_network(entry)).visual.state_dict()
    own = cast("Any", model).visual
    whole = dict(own.state_dict())
    for name in _taken(own):
        if name not in given or given[name].shape != whole[name].shape:
            raise ModelError(
                f"The image tower of {entry.id} does not fit the recipe's ({name}).",
                "Name a backbone of the same widths and depths with --backbone.",
            )
        whole[name] = given[name].to(whole[name].dtype)
    own.load_state_dict(whole)


def score_of(recipe: ClipRecipe) -> str:
    """The logged figure that chooses the epoch."""
    return WITH_SIDES if recipe.sides else NEAREST_LABEL


def train(
    angiograms: Path | None,
    films: Path | None,
    recipe: ClipRecipe,
    out: Path,
    progress: Progress | None = None,
    start: Path | None = None,
    images: ModelEntry | None = None,
) -> Path:
    """Train; an interrupted run in the same folder is taken up where it was.

    Parameters
    ----------
    angiograms, films : Path or None
        See `clip_pairs.read_pairs`; at least one.
    recipe : ClipRecipe
    out : Path
        Receives ``checkpoints/best.ckpt``, ``checkpoints/last.ckpt`` and ``metrics.csv``.
    start : Path, optional
        Checkpoint of an earlier training of the same network, whose weights this one begins with.
    images : ModelEntry, optional
        A trained CLIP-DSA whose image tower it begins with.

    Returns
    -------
    Path
        The checkpoint with the best score.
    """
    progress = progress or Progress()
    lightning.seed_everything(recipe.seed, verbose=False)
    learned, judged = (read_pairs(angiograms, films, split, recipe.label_set) for split in ("train", "val"))
    log.info("%d pictures with sentences to learn from, %d to judge by", len(learned), len(judged))
    module = ClipTraining(recipe, learned, judged, seeing=images is not None)
    if images is not None:
        begin_with_images_of(module.model, images)
    if start is not None:
        module.model.load_state_dict(checkpoint_weights(start, "model."))
    options: dict[str, Any] = {"clip_gradient": recipe.clip_gradient, "log_every_n_steps": 1}
    fitting = prepare(recipe.run, out, score_of(recipe), module.budget, progress, **options)
    return fitting.fit(module)


def describe_run(
    out: Path, recipe: ClipRecipe, given: Sequence[str], command: str, images: str = ""
) -> dict[str, Any]:
    """What is to be said of a trained tower: where it comes from, its score, where it ends.

    Parameters
    ----------
    out : Path
        Of `train`; its curves tell the best score.
    given : sequence of str
        "angiograms" and/or "films".
    images : str
        Id of the model that gave the image tower, if one did.
    """
    curves = [
        row
        for path in sorted(out.glob("metrics*.csv"))
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    ]
    score = score_of(recipe)
    best = max((row for row in curves if row.get(score)), key=lambda row: float(row[score]), default={})
    data = {
        "angiograms": "SIMULATED angiograms with their reports",
        "films": "QaTa-COV19 (train) with LViT's sentences",
    }
    return {
        "id": recipe.id,
        "title": recipe.title,
        "data": ", ".join(data[name] for name in given),
        "image_tower": f"begun with that of {images}" if images else "from random weights",
        "licence": "CC BY-NC-SA 3.0 IGO, research use" if "films" in given else "BSD-3-Clause",
        "command": command,
        "seed": recipe.seed,
        **{name: float(best[name]) for name in (NEAREST_LABEL, "val/side") if best.get(name)},
        "limits": [
            "It knows the words of its sentences; others mean nothing to it.",
            *(["It has seen simulated angiograms only."] if "angiograms" in given else []),
            "Research use only, not for diagnosis.",
        ],
    }


def export_tower(checkpoint: Path, recipe: ClipRecipe, folder: Path, facts: dict[str, Any]) -> Path:
    """Write the towers of a checkpoint as a backbone: ``local-dir:FOLDER``.

    Parameters
    ----------
    facts : mapping
        What to say of it (data, command, figures, limits); kept beside the configuration.
    """
    from safetensors.torch import save_file

    config = clip_config(recipe.backbone)
    state = {key: value.half() if value.is_floating_point() else value for key, value in
             checkpoint_weights(checkpoint, "model.").items()}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    whole = {key: value.contiguous().clone() for key, value in state.items()}
    said = "true" if config.get("quick_gelu") else "false"
    save_file(whole, folder / WEIGHT_FILES[0], {"format": "pt", GELU_ENTRY: said})
    content = {"model_cfg": config, "preprocess_cfg": CLIP_STATISTICS, "clipmed": facts}
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return folder
