"""The five architectures in 2D and 3D: parameters, shapes, gradients, and a few steps that overfit one case."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from samreg.errors import ConfigError
from samreg.lab.baselines.networks.build import build_network, warp_voxels
from samreg.lab.baselines.networks.fct import ConvolutionalAttention, WideFocus
from samreg.lab.baselines.networks.spec import SEGMENTATION, NetworkSpec

pytest.importorskip("monai")

# Parameters of the released sizes, from the layer tables: a change here is a change of architecture.
COUNTS = {
    ("voxelmorph", 2): 81_458,
    ("voxelmorph", 3): 244_323,
    ("labelreg", 2): 1_797_408,
    ("labelreg", 3): 5_504_496,
    ("vnet", 2): 9_360_348,
    ("vnet", 3): 45_605_916,
    ("fct", 2): 7_249_660,
    ("fct", 3): 21_718_204,
    ("mednext", 2): 1_386_804,
    ("mednext", 3): 1_426_260,
}
NAMES = ["voxelmorph", "labelreg", "vnet", "fct", "mednext"]


def _spec(name: str, dims: int, size: int, width: int = 0) -> NetworkSpec:
    n_classes = 3 if name in SEGMENTATION else 0
    return NetworkSpec(name, dims, (size,) * dims, (1.0,) * dims, n_classes, 0 if name == "vnet" else width)


def _answer(net: torch.nn.Module, spec: NetworkSpec, x: torch.Tensor) -> list[torch.Tensor]:
    return [net(x, x.flip(-1))] if spec.is_registration else net(x)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_parameter_count(name: str, dims: int) -> None:
    with torch.device("meta"):
        net = build_network(_spec(name, dims, 32))
    assert sum(p.numel() for p in net.parameters()) == COUNTS[name, dims]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_gradients(name: str, dims: int) -> None:
    torch.manual_seed(0)
    size = 64 if dims == 2 else 32
    spec = _spec(name, dims, size, width=4)
    net = build_network(spec)
    if spec.is_registration:
        # From the identity, where training starts, no gradient reaches the layers before the last.
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    x = torch.rand(2, 1, *(size,) * dims)
    answer = _answer(net, spec, x)
    assert answer[0].shape == (2, dims if spec.is_registration else 4, *(size,) * dims)
    for level, part in enumerate(answer):
        assert part.shape[2:] == tuple(size // 2**level for _ in range(dims))
        assert part.dtype == torch.float32
        assert torch.isfinite(part).all()
    sum((part * torch.rand_like(part)).sum() for part in answer).backward()
    without = [key for key, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []
    # A bias before a batch or instance normalisation has no effect; every weight has one.
    still = [k for k, p in net.named_parameters() if k.endswith("weight") and not p.grad.abs().sum() > 0]
    assert still == []


@pytest.mark.parametrize("dims", [2, 3])
def test_dropout_drops_channels_and_never_an_image(dims: int) -> None:
    torch.manual_seed(0)
    net = build_network(_spec("vnet", dims, 32)).train()
    layers = [module for module in net.modules() if "Dropout" in type(module).__name__]
    assert len(layers) == 8
    for layer in layers:
        kept = layer(torch.ones(4, 100, *(4,) * dims)).flatten(2)
        assert (kept.amax(-1) == kept.amin(-1)).all()  # a channel as a whole
        dropped = (kept[..., 0] == 0).sum(1)  # of each image
        assert (dropped > 0).all()
        assert (dropped < 80).all()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", list(SEGMENTATION))
def test_segmentation_overfits_one_case(name: str, dims: int) -> None:
    torch.manual_seed(0)
    size = 32
    if (name, dims) == ("vnet", 3):
        size = 16  # 45 million parameters
    spec = _spec(name, dims, size, width=16 if name == "fct" and dims == 2 else 8)
    axes = torch.meshgrid(*[torch.arange(size)] * dims, indexing="ij")
    target = (((axes[-1] - 0.4 * size) ** 2 + (axes[-2] - 0.5 * size) ** 2) < 2 * size).long()
    target[axes[-1] > 0.7 * size] = 2
    target = torch.stack([target, target.flip(-1)])
    image = (target * 0.4 + 0.05 * torch.rand(target.shape))[:, None]
    net = build_network(spec).train()
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(15 if dims == 3 else 30):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(image)[0], target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if max(losses[-3:]) < 0.5 * losses[0]:  # three steps in a row: learnt, no need to go on
            break
    assert min(losses[-3:]) < 0.5 * losses[0]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["voxelmorph", "labelreg"])
def test_registration_overfits_one_case(name: str, dims: int) -> None:
    torch.manual_seed(0)
    size = 32
    spec = _spec(name, dims, size, width=4)
    axes = torch.meshgrid(*[torch.arange(size, dtype=torch.float32)] * dims, indexing="ij")
    fixed, moving = (torch.exp(-sum((a - c) ** 2 for a in axes) / 40)[None, None] for c in (15.5, 17.5))
    net = build_network(spec).train()
    start = net(fixed, moving)
    assert start.abs().max() < 1e-2  # training starts at the identity
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    wanted, losses = 0.5 * functional.mse_loss(moving, fixed).item(), []
    for _ in range(20 if dims == 3 else 40):
        optimiser.zero_grad()
        loss = functional.mse_loss(warp_voxels(moving, net(fixed, moving)), fixed)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if max(losses[-3:]) < wanted and len(losses) > 2:  # three steps in a row: learnt, no need to go on
            break
    assert losses[-1] < wanted


@pytest.mark.parametrize("dims", [2, 3])
def test_warp_pulls_back_in_voxels(dims: int) -> None:
    values = torch.zeros(1, 1, *(8,) * dims)
    values[(0, 0, *(4,) * dims)] = 1.0
    field = torch.zeros(1, dims, *(8,) * dims)
    field[:, 0] = 2.0  # the first array axis
    warped = warp_voxels(values, field)
    assert warped.nonzero()[0, 2:].tolist() == [2, *(4,) * (dims - 1)]


def test_attention_sees_the_whole_map_and_does_not_know_positions() -> None:
    torch.manual_seed(0)
    attention = ConvolutionalAttention(2, 8, heads=2).eval()
    x = torch.zeros(1, 8, 16, 16)
    y = x.clone()
    y[0, :, 0, 0] = 5.0
    change = (attention(y) - attention(x)).abs().sum(1)[0]
    assert (change > 0).all()


def test_wide_focus_reaches_four_pixels() -> None:
    torch.manual_seed(0)
    layer = WideFocus(2, 4).eval()
    x = torch.zeros(1, 4, 17, 17)
    y = x.clone()
    y[0, :, 8, 8] = 1.0
    changed = (layer(y) - layer(x)).abs().sum(1)[0].nonzero()
    # Dilation 3 reaches 3 pixels, the gathering convolution one more.
    assert changed.min() == 4
    assert changed.max() == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("unet", 2, (64, 64), (1.0, 1.0), 3), "there is no architecture 'unet'"),
        (("vnet", 2, (64, 60), (1.0, 1.0), 3), "must be 2 multiples of 16"),
        (("fct", 3, (48, 64, 64), (1.0, 1.0, 1.0), 3), "must be 3 multiples of 32"),
        (("vnet", 2, (64, 64, 64), (1.0, 1.0), 3), "wants 2 numbers"),
        (("vnet", 2, (64, 64), (1.0, 1.0), 0), "vnet needs classes"),
        (("labelreg", 2, (64, 64), (1.0, 1.0), 3), "labelreg has no classes"),
        (("vnet", 2, (64, 64), (1.0, 1.0), 3, 8), "V-Net has 16 channels"),
        (("vnet", 2, (64, 64), (1.0, 0.0), 3), "must be positive"),
    ],
)
def test_impossible_specs_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkSpec(*arguments)  # type: ignore[arg-type]


def test_a_spec_survives_a_checkpoint() -> None:
    spec = _spec("fct", 3, 32, width=8)
    assert NetworkSpec.from_dict(spec.as_dict()) == spec
