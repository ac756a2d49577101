"""The loss: the cross-entropy of the answers' tokens, and of no others."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lapilli.data.encode import IGNORED
from lapilli.model.llava import Llava
from lapilli.model.upstream import layers_of, recomputed_layers
from lapilli.training.recipe import TrainRecipe


def prepare_passes(recipe: TrainRecipe, llava: Llava) -> None:
    """Set the formats of the weights, and whether layers are recomputed and compiled, as a recipe has it.

    What learns does so in fp32, which bf16 is too coarse for; with bf16, what is frozen stays as it is stored, and so
    do matrices of 4 bits.
    """
    for parameter in llava.model.parameters():
        if parameter.is_floating_point() and (parameter.requires_grad or recipe.precision == "fp32"):
            parameter.data = parameter.data.float()
    if recipe.recompute:
        llava.model.activation_checkpointing_enable({"use_reentrant": False})
    if recipe.compile:
        for layer in layers_of(llava.model.model.language_model):
            layer.compile(dynamic=True)  # one by one: they are alike, so that the compiler works once for all of them


def passes_of(recipe: TrainRecipe, device: torch.device) -> Any:
    """A block in which passes are computed as the recipe's are: autocast to bf16, or in the weights' own format."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")


def uncompiled(recipe: TrainRecipe) -> Any:
    """A block in which compiled layers run as they are written: to compile them for answers would take minutes."""
    return torch.compiler.set_stance("force_eager") if recipe.compile else nullcontext()


class AnswerLoss(nn.Module):
    """A Llava that returns its loss; the parts that do not learn must be frozen before.

    The head is applied only to the positions whose next token is learned: in captions that is one in twenty, and the
    logits of the whole sequence would be the largest tensor in memory. The numbers are those of transformers' own loss.
    Frozen parts are in eval mode, as they will be in use.
    """

    accepts_loss_kwargs = True  # tells the Trainer to pass num_items_in_batch
    loss_type = "ForConditionalGeneration"  # tells it that the first label of a sample is not predicted
    main_input_name = "input_ids"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        inner = model.model
        parts = (inner.vision_tower, inner.multi_modal_projector, inner.language_model)
        self._frozen = [part for part in parts if not any(p.requires_grad for p in part.parameters())]

    def train(self, mode: bool = True) -> "AnswerLoss":
        """Set the mode of the parts that learn; the others stay in eval mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
            # What is in these layers stays in eval mode; transformers recomputes layers of training mode alone.
            for layer in recomputed_layers(part):
                layer.training = mode
        return self

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        pixel_values: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> dict[str, Tensor]:
        """The loss, summed over the learned tokens and divided by `num_items_in_batch`, or by their number.

        Shapes: ids, mask and labels (batch, token), pixels (image, 3, row, column). A label of -100 is not learned.
        """
        states = self.model.model(
            input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixel_values, use_cache=False
        ).last_hidden_state
        following = labels[:, 1:]
        learned = following != IGNORED
        logits = self.model.lm_head(states[:, :-1][learned]).float()
        total = cross_entropy(logits, following[learned], reduction="sum")
        count = learned.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        return {"loss": total / count.to(total.device)}
