"""The Lightning modules of fine-tuning: which parameters learn, from which loss, held back by what.

Batch normalisation keeps the statistics of the base model throughout: a handful of studies has none worth
having. So does the temperature of the probabilities. Every parameter is pulled back to where it started
(L2-SP, Li et al., ICML 2018), which is what keeps a few cases from undoing what many have taught.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Self

import lightning as L
import torch
from torch import Tensor, nn

from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.causal_clipseg_loss import ObjectiveConfig, adversarial_losses, segmentation_loss
from napari_clipmed.models.clip_dsa import ClipDSA, ClipDSAOutput
from napari_clipmed.models.clip_dsa_loss import ClipDSALoss
from napari_clipmed.training.finetune_config import FinetuneConfig
from napari_clipmed.training.finetune_data import MaskBatch, StudyGroup
from napari_clipmed.training.low_rank import add_low_rank, merge_low_rank

DICE_WEIGHT = 1.0
"""Weight of the soft Dice term: with few masks, cross-entropy alone favours empty answers."""


VALIDATED = ("val_loss", "old_loss")
"""Names of the losses on the frozen cases and on replay that is never trained on."""


class Tuner(L.LightningModule):
    """What both tasks share: parameters that learn, the pull back to the base, the optimiser.

    Parameters
    ----------
    network : Module
        Changed in place.
    learning : iterable of Parameter
        What may change.
    config : FinetuneConfig
    """

    def __init__(self, network: nn.Module, learning: Iterable[nn.Parameter], config: FinetuneConfig) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.learning = list(learning)
        for parameter in self.learning:
            parameter.requires_grad_(True)
        self._start = [parameter.detach().clone() for parameter in self.learning]
        self._config = config

    def train(self, mode: bool = True) -> Self:
        """Leave the network in eval mode at all times; see the module's text."""
        super().train(mode)
        self.network.eval()
        return self

    def restart(self) -> None:
        """Put every parameter back to where it started."""
        with torch.no_grad():
            for parameter, start in zip(self.learning, self._start, strict=True):
                parameter.copy_(start.to(parameter))

    def finish(self) -> None:
        """Leave a network of the architecture it had, with what was learned inside its weights."""
        merge_low_rank([self.network])

    def pull_back(self) -> Tensor:
        """Half the squared distance from the base model, times the strength of the pull."""
        pairs = zip(self.learning, self._start, strict=True)
        return 0.5 * self._config.pull * torch.stack([(p - s.to(p)).square().sum() for p, s in pairs]).sum()

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Loss of the batch, logged as ``train_loss``, plus the pull."""
        loss, size = self.loss(batch)
        self.log("train_loss", loss.detach(), on_epoch=True, on_step=False, batch_size=size)
        return loss + self.pull_back()

    def validation_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        """Loss of the batch, logged as `VALIDATED` says, and of the frozen cases the merit, as ``metric``."""
        loss, size = self.loss(batch)
        how: dict[str, Any] = {"on_epoch": True, "batch_size": size, "add_dataloader_idx": False}
        self.log(VALIDATED[dataloader_idx], loss, **how)
        if dataloader_idx == 0:
            self.log("metric", self.merit(batch), **how)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW without weight decay: the pull goes to the base model, not to zero."""
        return torch.optim.AdamW(self.learning, lr=self._config.learning_rate, weight_decay=0.0)

    @abstractmethod
    def loss(self, batch: Any) -> tuple[Tensor, int]:
        """Mean loss of a batch, and how many examples it has."""

    @abstractmethod
    def merit(self, batch: Any) -> Tensor:
        """Mean figure of merit of a batch, higher is better."""


class DiagnosisTuner(Tuner):
    """CLIP-DSA on groups of studies: frame features for "head", maps for "adapter", pictures for "full"."""

    network: ClipDSA

    def __init__(self, network: ClipDSA, config: FinetuneConfig) -> None:
        modules = [network.tpm_ap, network.tpm_la, network.head_ap, network.head_la, network.head_mv]
        if config.strategy == "full":
            modules.append(network.visual)
        # A shared temporal pooling appears under two names; a parameter must be given once.
        learning = {id(p): p for module in modules for p in module.parameters()}
        some = list(learning.values())
        if config.strategy == "adapter":
            some += add_low_rank(network.visual.attnpool, seed=config.seed)
        super().__init__(network, some, config)
        # Without the loss between the views: what it can reach depends on the classes of a batch, so with a
        # few studies it says more about the batch than about the model.
        self._criterion = ClipDSALoss(targets="prototype", mc_weight=0.0)

    def answer(self, group: StudyGroup) -> ClipDSAOutput:
        """Run the network on a group."""
        if self._config.strategy == "head":
            return self.network.forward_features(group.ap, group.la)
        if self._config.strategy == "adapter":
            return self.network.forward_maps(*(v if v is None else v.float() for v in (group.ap, group.la)))
        return self.network(group.ap, group.la)

    def logits(self, group: StudyGroup) -> Tensor:
        """What the person is shown: both views together, or the only one, (b, K)."""
        output = self.answer(group)
        for which, v in (("mv", output.v_mv), ("ap", output.v_ap), ("la", output.v_la)):
            if v is not None:
                return self.network.logits(v, which)  # type: ignore[arg-type]
        raise ValueError("a group of studies without views")

    def loss(self, batch: list[StudyGroup]) -> tuple[Tensor, int]:
        """The losses of CLIP-DSA that the views allow, averaged over the studies."""
        parts, n = [], 0
        for group in batch:
            losses = self._criterion(self.network, self.answer(group), group.labels)
            parts.append(losses["total"] * len(group.labels))
            n += len(group.labels)
        return torch.stack(parts).sum() / n, n

    def merit(self, batch: list[StudyGroup]) -> Tensor:
        """Share of studies answered rightly."""
        right = [(self.logits(group).argmax(dim=1) == group.labels).float() for group in batch]
        return torch.cat(right).mean()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the tensors inside the groups, which Lightning does not look into."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return [StudyGroup(move(g.ap), move(g.la), g.labels.to(device)) for g in batch]


class SegmentationTuner(Tuner):
    """CausalCLIPSeg on masks: causal features for "head", stages for "adapter", pictures for "full".

    The head is the whole causal decoder. The neck below it works at a sixteenth of the resolution and knows
    no text; "adapter" gives it low-rank updates.
    """

    network: CausalCLIPSeg

    def __init__(self, network: CausalCLIPSeg, config: FinetuneConfig) -> None:
        module: nn.Module = network if config.strategy == "full" else network.causal_decoder
        learning = list(module.parameters())
        if config.strategy == "adapter":
            learning += add_low_rank(network.neck, seed=config.seed)
        super().__init__(network, learning, config)
        self._objective = ObjectiveConfig(dice=DICE_WEIGHT)

    def logits(self, batch: MaskBatch) -> Tensor:
        """(B, 1, S, S) logits of the lesion."""
        image, sentence, _ = batch
        if isinstance(image, tuple):  # "adapter": the tower's stages
            causal = self.network.neck(*(stage.float() for stage in image)).causal
            return self.network.causal_decoder(causal, sentence).float()
        if self._config.strategy == "head":
            return self.network.causal_decoder(image, sentence).float()
        return self.network.decode(
            self.network.encode_image(image), self.network.encode_text(sentence)
        ).float()

    def loss(self, batch: MaskBatch) -> tuple[Tensor, int]:
        """Cross-entropy and Dice of the lesion; for "full" in training, with the adversary too."""
        image, sentence, target = batch
        if self._config.strategy == "full" and self.training:
            assert isinstance(image, Tensor)
            losses = adversarial_losses(self.network, image, sentence, target, self._objective)
            return losses.total, len(target)
        return segmentation_loss(self.logits(batch), target, DICE_WEIGHT), len(target)

    def merit(self, batch: MaskBatch) -> Tensor:
        """Mean Dice of the masks at threshold 0.5."""
        from napari_clipmed.training.metrics_segmentation import SegmentationMetrics

        metrics = SegmentationMetrics()
        metrics.update(self.logits(batch).sigmoid(), batch[2])
        return metrics.per_image_dice().mean().float()
