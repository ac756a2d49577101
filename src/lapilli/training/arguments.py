"""What transformers' Trainer is told of a recipe."""

from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.utils.import_utils import is_torch_bf16_gpu_available

from lapilli.core.errors import UsageError
from lapilli.training.recipe import TrainRecipe

_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def training_arguments(recipe: TrainRecipe, checkpoints: Path) -> TrainingArguments:
    """Everything but `max_steps`, which depends on the number of samples; nothing is written.

    Raises UsageError for a precision that the device does not have.
    """
    on_cpu = not torch.accelerator.is_available()
    if recipe.precision == "bf16" and not on_cpu and not is_torch_bf16_gpu_available():
        device = torch.accelerator.current_accelerator()
        raise UsageError(f"precision: bf16; this {device} does not compute in it; set precision to fp32")
    return TrainingArguments(
        output_dir=str(checkpoints),
        seed=recipe.seed,
        data_seed=recipe.seed,
        num_train_epochs=recipe.epochs or 1.0,  # without epochs there are max_steps, and these are not looked at
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        lr_scheduler_type=_SCHEDULES[recipe.schedule],
        warmup_steps=recipe.warmup,  # below 1, it is a share
        max_grad_norm=recipe.clip,
        bf16=recipe.precision == "bf16",
        use_cpu=on_cpu,  # it refuses bf16 on a CPU that it was not told of
        save_strategy="steps" if recipe.save_every else "no",
        save_steps=recipe.save_every or 1,
        logging_steps=recipe.log_every,
        logging_nan_inf_filter=False,
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        report_to="none",
    )
