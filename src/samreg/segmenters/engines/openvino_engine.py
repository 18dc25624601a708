"""OpenVINO on the CPU: the encoder, and the decoder for prompts without masks, compiled for one shape each.

Networks are compiled on first use and kept between runs (`compiled_cache`). Several prompts make a batch, several
batches run at once, one a processor core. Mask prompts and rare numbers of points are computed by torch.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from samreg.errors import ConfigError
from samreg.notes import environment, hushed
from samreg.segmenters.engines import compiled_cache
from samreg.segmenters.engines.base import SHORT, Embedding, Precision
from samreg.segmenters.engines.torch_engine import TorchEngine
from samreg.segmenters.sam.transformer import SharedCells

if TYPE_CHECKING:
    from samreg.segmenters.sam.network import SamNetwork

__all__ = ["OpenVinoEngine"]

_log = logging.getLogger(__name__)

_REVISION = 5
"""Part of the cache key: to be increased whenever the compiled functions change."""
_BATCH = 2
"""Prompts a batch. Four cost as much a prompt, but the few that a click asks would then wait on one core."""
_SLICES = 2
"""Slices of which is kept what their prompts share: a prompt goes to and fro between a slice and its counterpart."""
_TOKENS = (2, 3)
"""Prompt tokens that are worth compiling for: a box, a point with its padding, and both."""
_SECONDS_ALL, _SECONDS_MILLION = 10.0, 0.3
"""What compiling all networks takes about on two cores, in seconds, and a million weights of the encoder more."""


class _Compiled:
    """A compiled network and its pool of requests, for any number of threads.

    Args:
        model: the compiled network.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.n_requests = int(model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.n_requests):
            self._free.put(model.create_infer_request())

    def run(self, jobs: Iterable[list[np.ndarray]]) -> Iterator[list[np.ndarray]]:
        """Outputs of each job, in order; as many at once as the machine has streams."""
        running: deque[tuple[Any, list[np.ndarray]]] = deque()
        try:
            for inputs in jobs:
                # Never wait for a request while holding some: two threads could wait for each other.
                while running and (self._free.empty() or len(running) == self.n_requests):
                    yield self._collect(running)
                request = self._free.get()
                for i, array in enumerate(inputs):
                    request.set_input_tensor(i, _shared(array))
                request.start_async()
                running.append((request, inputs))  # the request does not own its inputs
            while running:
                yield self._collect(running)
        finally:
            while running:
                request, _ = running.popleft()
                request.wait()
                self._free.put(request)

    def _collect(self, running: deque[tuple[Any, list[np.ndarray]]]) -> list[np.ndarray]:
        request, _ = running[0]
        request.wait()
        outputs = [np.array(request.get_output_tensor(i).data) for i in range(len(self.model.outputs))]
        running.popleft()
        self._free.put(request)
        return outputs


def _shared(array: np.ndarray) -> Any:
    import openvino

    return openvino.Tensor(array, shared_memory=True)


class _Encode(nn.Module):
    def __init__(self, network: SamNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Embedding:
        return self.network.encode(images)


class _Share(nn.Module):
    def __init__(self, network: SamNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> SharedCells:
        return self.network.share((features,))


class _Decode(nn.Module):
    def __init__(self, network: SamNetwork, *, multimask: bool, coarse: bool) -> None:
        super().__init__()
        self.network, self.multimask, self.coarse = network, multimask, coarse

    def forward(self, sparse: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        n = len(SharedCells._fields)
        shared, high_res = SharedCells(*parts[:n]), parts[n:]
        return self.network.decode(shared, high_res, sparse, multimask=self.multimask, coarse=self.coarse)


class OpenVinoEngine:
    """Encoder and decoder compiled by OpenVINO.

    Args:
        network: the network in torch, float32 on the CPU: it is compiled, and computes the rare shapes itself.
        fingerprint: sha256 of its weights.
        precision: arithmetic; None takes bf16 where the processor has it, float32 elsewhere.

    Raises:
        ConfigError: if the processor does not have the precision.
    """

    def __init__(self, network: SamNetwork, fingerprint: str, precision: Precision | None) -> None:
        with _unreported():  # it reports that it was imported as well
            import openvino

        self._core = openvino.Core()
        supported = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision is None:
            precision = "bfloat16" if "BF16" in supported else "float32"
        wanted = {"bfloat16": "BF16", "float16": "FP16", "float32": "FP32"}[precision]
        if wanted not in supported:
            raise ConfigError(
                f"precision={precision} is not supported by this processor in OpenVINO; use --precision float32"
            )
        self._torch = TorchEngine(network, "cpu", "float32")
        self._network = network
        self._precision = precision
        self._lock = threading.Lock()
        self._compiled: dict[str, _Compiled] = {}
        self._announced = False
        self._slices: deque[tuple[Tensor, list[Tensor]]] = deque(maxlen=_SLICES)
        processor = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        self._key = f"{_REVISION} {openvino.get_version()} {processor} {sorted(supported)} {fingerprint} {precision}"
        self.name = f"openvino-{SHORT[precision]}-cpu"

    @property
    def slices_at_once(self) -> int:
        """See `Engine.slices_at_once`; the prompts of one slice keep all cores busy."""
        return 1

    def encode(self, images: Tensor) -> Embedding:
        """See `Engine.encode`."""
        one = images[:1]
        # One core an image is faster than all cores on one image after the other; a single image gets all cores.
        threads = torch.get_num_threads()
        several = len(images) > 1 or f"encoder streams={threads}" in self._compiled
        streams = threads if several else 1
        compiled = self._get(f"encoder streams={streams}", lambda: _Encode(self._network), [one], streams=streams)
        rows = compiled.run([image[None].numpy()] for image in images)
        parts = zip(*rows, strict=True)
        return tuple(torch.from_numpy(np.concatenate(part)) for part in parts)

    def decode(
        self, embedding: Embedding, sparse: Tensor, mask_logits: Tensor | None, *, multimask: bool, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """See `Engine.decode`."""
        n, tokens = sparse.shape[:2]
        if mask_logits is not None or tokens not in _TOKENS:
            return self._torch.decode(embedding, sparse, mask_logits, multimask=multimask, coarse=coarse)
        parts = [*self._share(embedding[0]), *embedding[1:]]
        padded = torch.cat([sparse, sparse[-1:].expand(-n % _BATCH, -1, -1)])
        kind = f"decoder tokens={tokens} multimask={multimask} coarse={coarse}"
        compiled = self._get(
            kind,
            lambda: _Decode(self._network, multimask=multimask, coarse=coarse),
            [padded[:_BATCH], *parts],
            streams=torch.get_num_threads(),
        )
        image = [part.contiguous().numpy() for part in parts]
        batches = [[batch.contiguous().numpy(), *image] for batch in padded.split(_BATCH)]  # type: ignore[no-untyped-call]
        rows = list(compiled.run(batches))
        logits, quality = (torch.from_numpy(np.concatenate(part)[:n]) for part in zip(*rows, strict=True))
        return logits, quality

    def decode_slices(
        self, embeddings: Sequence[Embedding], sparse: Sequence[Tensor], *, multimask: bool, coarse: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """See `Engine.decode_slices`; one slice after the other."""
        pairs = zip(embeddings, sparse, strict=True)
        return [self.decode(part, tokens, None, multimask=multimask, coarse=coarse) for part, tokens in pairs]

    def _share(self, features: Tensor) -> list[Tensor]:
        """What all prompts of a slice share; kept for the slices that were asked last, which are asked in turns."""
        for known, shared in list(self._slices):
            if known is features:
                return shared
        given = features.contiguous()
        share = self._get("shared cells", lambda: _Share(self._network), [given], streams=1)
        [arrays] = share.run([[given.numpy()]])
        shared = list(map(torch.from_numpy, arrays))
        self._slices.append((features, shared))
        return shared

    def _get(self, kind: str, make: Callable[[], nn.Module], example: list[Tensor], streams: int) -> _Compiled:
        with self._lock:
            if kind not in self._compiled:
                self._compiled[kind] = _Compiled(self._compile(kind, make, example, streams))
            return self._compiled[kind]

    def _compile(self, kind: str, make: Callable[[], nn.Module], example: list[Tensor], streams: int) -> Any:
        shapes = [tuple(x.shape) for x in example]
        threads = torch.get_num_threads()
        settings = {
            "INFERENCE_PRECISION_HINT": SHORT[self._precision],
            "INFERENCE_NUM_THREADS": threads,
            # Pinned threads of two processes would share one core while the others idle.
            "ENABLE_CPU_PINNING": False,
            "ENABLE_HYPER_THREADING": True,
            "NUM_STREAMS": streams,
        }
        key = f"{self._key} {kind} {shapes} {sorted(settings.items())}"
        kept = compiled_cache.load(key)
        if kept is not None:
            try:
                # A stored network does not keep its settings: without them it gets the processor's defaults.
                return self._core.import_model(kept, "CPU", settings)
            except RuntimeError:  # written by another build with the same key: compile again
                pass
        announce = not self._announced
        if announce:  # the command line shows it: nothing else happens for a while
            self._announced = True
            millions = sum(p.numel() for p in self._network.parameters()) / 1e6
            _log.info("compiling networks, once, about %.0f s", _SECONDS_ALL + _SECONDS_MILLION * millions)
        compiled = self._core.compile_model(_convert(make(), example), "CPU", settings)
        blob = compiled.export_model()
        compiled_cache.store(key, blob.getvalue() if hasattr(blob, "getvalue") else bytes(blob))
        if announce:
            _log.info("compiled")
        return compiled


_CI = threading.Lock()


@contextmanager
def _unreported() -> Iterator[None]:
    """Within it OpenVINO does not report its use to its makers, when it is imported and when it converts.

    It does so by default, over the network and in processes of its own, and keeps an identity in the home folder. The
    one way to have none of it that its interface offers a program is to look like continuous integration.
    """
    with _CI, environment("CI", "true"):
        yield


def _convert(module: nn.Module, example: list[Tensor]) -> Any:
    """A torch module as an OpenVINO model of exactly these shapes."""
    import openvino

    with hushed(), _unreported(), torch.no_grad():
        # Tracing warns that shapes become constants, as intended here.
        traced = torch.jit.trace(module, tuple(x.clone() for x in example), check_trace=False)  # type: ignore[no-untyped-call]
        return openvino.convert_model(
            traced, example_input=tuple(example), input=[openvino.PartialShape(list(x.shape)) for x in example]
        )
