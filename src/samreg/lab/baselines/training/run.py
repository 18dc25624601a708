"""One training run: read, train, validate, keep the best, test; after a kill it goes on from the last epoch."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samreg.errors import InputError, MissingDependencyError, SamregError
from samreg.files import written
from samreg.lab.baselines.networks.build import build_network
from samreg.lab.baselines.networks.checkpoint import TrainedNetwork, read_checkpoint, write_checkpoint
from samreg.lab.baselines.networks.predict import autocast, choose_device
from samreg.lab.baselines.networks.spec import Architecture, NetworkSpec
from samreg.lab.baselines.splits import split_subjects, subjects_of
from samreg.lab.baselines.training.augment import draw_batch
from samreg.lab.baselines.training.config import TrainConfig, defaults
from samreg.lab.baselines.training.data import TrainingPair, class_names_of, load_samples
from samreg.lab.baselines.training.objectives import Objective, scores_on, training_objective
from samreg.lab.baselines.training.score import score_test
from samreg.lab.baselines.training.state import RunState, resume_path

__all__ = ["train"]

OnEpoch = Callable[[Mapping[str, float]], None]
"""Called after every epoch with its row: epoch, loss, dice, learning_rate, seconds, cpu_seconds."""


def train(
    architecture: Architecture,
    pairs: Sequence[TrainingPair],
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    dataset: str = "acdc",
    overwrite: bool = False,
    on_epoch: OnEpoch | None = None,
    tensorboard: str | Path | None = None,
) -> TrainedNetwork:
    """Train a network, and write the best epoch's as a checkpoint.

    Beside `out` lie `out.csv`, one row an epoch, and, until the run is finished, `out.resume`: a run that is killed
    goes on from its last whole epoch when the same call is made again, with the result it would have had.

    Args:
        architecture: which network.
        pairs: pairs with label maps, for example `open_dataset("acdc", root)`.
        out: the checkpoint to write.
        config: the settings; `defaults(architecture)`, good ones for ACDC, where there are none.
        dataset: name of the dataset, for its stored split, and kept in the checkpoint.
        overwrite: replace a checkpoint, or an unfinished run, that exists.
        on_epoch: told about every epoch.
        tensorboard: folder for TensorBoard event files, if any.

    Returns:
        The trained network; its `scores` hold the Dice of the test subjects.

    Raises:
        InputError: if `out` exists, or the settings or the data do not fit.
        ModelError: if an unfinished run at `out` is of another architecture or dataset.
    """
    config = config or defaults(architecture)
    target = Path(out)
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists already; give another --out, or --overwrite to train again")
    if overwrite:
        for old in (target, resume_path(target)):
            old.unlink(missing_ok=True)
    values, names = class_names_of(pairs)
    spec = config.spec(architecture, len(names))
    split = split_subjects(
        [s for pair in pairs for s in subjects_of(pair)],
        dataset=dataset,
        n_test=config.n_test,
        n_validation=config.n_validation,
        seed=config.seed,
    )
    before = torch.get_num_threads()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    try:
        if config.threads:
            torch.set_num_threads(config.threads)
        with torch.random.fork_rng(devices=devices):
            state = RunState({"architecture": architecture, "dataset": dataset, **config.as_dict()}, split)
            trainer = _Trainer(spec, config, len(names), target, state)
            trainer.prepare(pairs, values)
            trainer.fit(on_epoch, tensorboard)
            return trainer.finish(pairs, values, names)
    finally:
        torch.set_num_threads(before)


class _Trainer:
    """The moving parts of one run; `train` is its only caller."""

    def __init__(self, spec: NetworkSpec, config: TrainConfig, n_classes: int, target: Path, state: RunState) -> None:
        self.spec, self.config, self.n_classes, self.target = spec, config, n_classes, target
        self.device = choose_device(config.device)
        self.precision = _precision(config.precision, self.device)
        torch.manual_seed(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.net = build_network(spec).to(self.device)
        self.memory_format = memory_format(spec)
        self.net.to(memory_format=self.memory_format)  # in place, for a module
        self.objective: Objective = training_objective(spec, config, n_classes)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.state = state
        self.clock = (time.perf_counter(), time.process_time())

    def prepare(self, pairs: Sequence[TrainingPair], values: Sequence[int]) -> None:
        """Take up an unfinished run, or measure the starting point; read the images."""
        resume = resume_path(self.target)
        unfinished = RunState.load(resume, self.state.config, self.state.split) if resume.exists() else None
        split = self.state.split
        train = load_samples(pairs, split["train"], self.spec, values)
        self.validation = load_samples(pairs, split["validation"], self.spec, values)
        if not train or not self.validation:
            raise InputError("the split leaves no pair whose two subjects are both for training, or for validation")
        self.images = [image for samples in train for image in samples.images]
        self.labels = [labels for samples in train for labels in samples.labels]
        if unfinished is not None:
            self._restore(unfinished)
        else:
            self._close_epoch(loss=float("nan"))

    def fit(self, on_epoch: OnEpoch | None, tensorboard: str | Path | None) -> None:
        """Epoch after epoch, until the last one or until validation has not improved for too long."""
        writer = _tensorboard(tensorboard)
        try:
            if on_epoch:
                on_epoch(self.state.history[-1])
            while self.state.epoch < self.config.epochs and not self._stale:
                self.state.epoch += 1
                loss = self._epoch()
                self._close_epoch(loss)
                row = self.state.history[-1]
                if on_epoch:
                    on_epoch(row)
                if writer:
                    for key in ("loss", "dice", "learning_rate"):
                        writer.add_scalar(key, row[key], self.state.epoch)
        finally:
            if writer:
                writer.close()

    def finish(self, pairs: Sequence[TrainingPair], values: tuple[int, ...], names: tuple[str, ...]) -> TrainedNetwork:
        """Test the best epoch on the images' own grids, and write it."""
        self.net.load_state_dict(self.state.best_weights)
        scores = {
            "best_epoch": self.state.best_epoch,
            "validation_dice": self.state.best,
            "seconds": self.state.history[-1]["seconds"],
            "cpu_seconds": self.state.history[-1]["cpu_seconds"],
            **score_test(self.net, self.spec, pairs, self.state.split["test"], values, names, self.device),
        }
        trained = TrainedNetwork(
            self.spec,
            self.net.cpu(),
            self.state.config["dataset"],
            names,
            values,
            self.state.split,
            self.state.config,
            scores,
        )
        write_checkpoint(trained, self.target, self.state.history)
        resume_path(self.target).unlink(missing_ok=True)
        return read_checkpoint(self.target)

    @property
    def _stale(self) -> bool:
        return self.state.epoch - self.state.best_epoch >= self.config.patience

    def _epoch(self) -> float:
        self.net.train()
        total = 0.0
        for step in range(self.config.steps_per_epoch):
            rate = _learning_rate(self.config, (self.state.epoch - 1) * self.config.steps_per_epoch + step)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            images, labels = draw_batch(
                self.images, self.labels, self.config.batch_size, self.config.patch, self.config.augment, self.generator
            )
            images, labels = images.to(self.device), labels.to(self.device)
            self.optimiser.zero_grad(set_to_none=True)
            loss = self.objective(self._answer(images), images, labels)
            if not torch.isfinite(loss):
                raise SamregError(
                    f"training diverged in epoch {self.state.epoch}: the loss is {loss.item()}; "
                    f"use a learning rate below {self.config.learning_rate}"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
            self.optimiser.step()
            total += loss.item()
        return total / self.config.steps_per_epoch

    def _answer(self, images: Tensor) -> Sequence[Tensor] | Tensor:
        channels = [self._in_order(images[:, i : i + 1]) for i in range(images.shape[1])]
        with autocast(self.device, self.precision):
            answer = self.net(*channels)
        return answer.float() if isinstance(answer, Tensor) else [a.float() for a in answer]

    def _in_order(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self.memory_format)

    def _validate(self) -> float:
        self.net.eval()
        rows: list[float] = []
        with torch.inference_mode(), autocast(self.device, self.precision):
            for samples in self.validation:
                images, labels = self._in_order(samples.images).to(self.device), samples.labels.to(self.device)
                rows += scores_on(self.net, images, labels, self.n_classes, registration=self.spec.is_registration)
        found = [row for row in rows if not math.isnan(row)]
        return sum(found) / len(found) if found else 0.0

    def _close_epoch(self, loss: float) -> None:
        state, dice = self.state, self._validate()
        state.weights = {k: v.detach().cpu().clone() for k, v in self.net.state_dict().items()}
        if dice > state.best:
            state.best, state.best_epoch, state.best_weights = dice, state.epoch, state.weights
        wall, cpu = time.perf_counter(), time.process_time()
        last = state.history[-1] if state.history else {"seconds": 0.0, "cpu_seconds": 0.0}
        row = {
            "epoch": float(state.epoch),
            "loss": loss,
            "dice": dice,
            "learning_rate": self.optimiser.param_groups[0]["lr"] if state.epoch else 0.0,
            "seconds": last["seconds"] + wall - self.clock[0],
            "cpu_seconds": last["cpu_seconds"] + cpu - self.clock[1],
        }
        self.clock = (wall, cpu)
        state.history.append(row)
        state.optimiser = self.optimiser.state_dict()
        state.samples_rng, state.torch_rng = self.generator.get_state(), torch.get_rng_state()
        if self.device.type == "cuda":
            state.cuda_rng = torch.cuda.get_rng_state(self.device)
        state.save(resume_path(self.target))
        _write_csv(state.history, self.target.with_name(self.target.name + ".csv"))

    def _restore(self, state: RunState) -> None:
        self.state = state
        self.net.load_state_dict(state.weights)
        self.optimiser.load_state_dict(state.optimiser)
        self.generator.set_state(state.samples_rng)
        torch.set_rng_state(state.torch_rng)
        if self.device.type == "cuda" and state.cuda_rng.numel():
            torch.cuda.set_rng_state(state.cuda_rng, self.device)
        self.clock = (time.perf_counter(), time.process_time())


def _learning_rate(config: TrainConfig, step: int) -> float:
    total, warm = config.epochs * config.steps_per_epoch, config.steps_per_epoch
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    share = (step - warm) / max(total - warm, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def memory_format(spec: NetworkSpec) -> torch.memory_format:
    """Order in memory in which a network is trained: channels last where that is faster and safe."""
    # In 2D convolutions are several times faster channels last. With fewer channels than a vector holds (16 at most),
    # oneDNN 3.12 writes past its workspace in the gradient of strided 1 x 1 convolutions (uxlfoundation/oneDNN#6035).
    return torch.channels_last if spec.dims == 2 and spec.width >= 16 else torch.contiguous_format


def _precision(name: str, device: torch.device) -> str:
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    # Without a unit that multiplies in bfloat16 a CPU only loses time by converting.
    supported = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return "bfloat16" if supported() else "float32"


def _tensorboard(folder: str | Path | None) -> Any:
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingDependencyError("tensorboard", "TensorBoard logs", "baselines") from None
    return SummaryWriter(str(folder))


def _write_csv(history: Sequence[Mapping[str, float]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(history[0])
    writer.writerows([[int(row["epoch"]), *(f"{v:.6g}" for v in list(row.values())[1:])] for row in history])
    with written(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")
