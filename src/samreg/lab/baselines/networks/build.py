"""Building a network from its spec; two interfaces, one for each kind.

A segmentation network maps an image (b, 1, *shape) to a list of class scores, the first at full resolution, further
ones (deep supervision) at 1/2, 1/4 ... A registration network maps (fixed, moving) to a displacement field in voxels,
array order, on the fixed lattice: warped(x) = moving(x + u(x)).
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from samreg.errors import MissingDependencyError
from samreg.lab.baselines.networks.spec import NetworkSpec

__all__ = ["RegistrationNet", "SegmentationNet", "build_network", "warp_voxels"]


class SegmentationNet(nn.Module):
    """A segmentation network whose answer is always a list of class scores.

    Args:
        net: maps (b, 1, *shape) to scores, or to a sequence of them, finest first.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> list[Tensor]:
        """Class scores, finest first, each (b, classes, *shape / 2^i); background is class 0."""
        scores = self.net(image)
        return [scores] if isinstance(scores, Tensor) else list(scores)


class RegistrationNet(nn.Module):
    """A registration network: the field of a backbone, integrated where it is a velocity.

    Args:
        backbone: maps concatenated (moving, fixed), (b, 2, *shape), to (b, d, *shape).
        integration_steps: scaling-and-squaring steps of a stationary velocity field; 0: the output is the displacement.
    """

    def __init__(self, backbone: nn.Module, integration_steps: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.integration_steps = integration_steps

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Displacements in voxels, array order, (b, d, *shape) float32.

        Args:
            fixed: (b, 1, *shape).
            moving: (b, 1, *shape).
        """
        field: Tensor = self.backbone(torch.cat([moving, fixed], dim=1)).float()
        # Displacements need more digits than half precision has: the integration is always float32.
        with torch.autocast(field.device.type, enabled=False):
            if self.integration_steps:
                field = field / 2**self.integration_steps
                for _ in range(self.integration_steps):
                    field = field + warp_voxels(field, field)
        return field


def warp_voxels(values: Tensor, field: Tensor) -> Tensor:
    """values(x + u(x)) for a batch; beyond the edge the edge value.

    Args:
        values: (b, c, *shape).
        field: (b, d, *shape) displacements in voxels, array order.
    """
    from samreg.geometry.ops.displacement import warp

    return torch.stack([warp(v, u) for v, u in zip(values.float(), field, strict=True)])


def build_network(spec: NetworkSpec) -> SegmentationNet | RegistrationNet:
    """The network of a spec, with random weights from torch's current seed.

    Raises:
        MissingDependencyError: if MONAI is not installed.
    """
    if spec.architecture == "fct":
        from samreg.lab.baselines.networks.fct import FCT

        return SegmentationNet(FCT(spec.dims, 1, spec.n_classes + 1, spec.width))
    if importlib.util.find_spec("monai") is None:
        raise MissingDependencyError("monai", f"the network {spec.architecture}", "baselines")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI announces at construction which optional parts it will not use
        net: SegmentationNet | RegistrationNet = _MONAI[spec.architecture](spec)
        return net


def _voxelmorph(spec: NetworkSpec) -> RegistrationNet:
    from monai.networks.nets import VoxelMorphUNet

    w = spec.width
    backbone = VoxelMorphUNet(spec.dims, 2, 2 * w, (w, *[2 * w] * 5), (w, w))
    # He's initialisation, as VoxelMorph's own code has it: without normalisation the default start lets the signal
    # fade from layer to layer, and training stands still for hundreds of steps.
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=0.2, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    _near_zero(backbone.net[-1].final_conv_out)
    return RegistrationNet(backbone, integration_steps=7)


def _labelreg(spec: NetworkSpec) -> RegistrationNet:
    from monai.networks.nets import LocalNet

    backbone = LocalNet(
        spec.dims, 2, spec.width, (0, 1, 2, 3, 4), out_kernel_initializer="zeros", out_channels=spec.dims
    )
    return RegistrationNet(backbone)


def _vnet(spec: NetworkSpec) -> SegmentationNet:
    from monai.networks.nets import VNet

    net = VNet(spec.dims, 1, spec.n_classes + 1, dropout_prob_down=0.1, dropout_prob_up=(0.1, 0.1))
    if spec.dims == 2:
        # MONAI's VNet hands its dropout_dim to none of its layers, which drop channels of volumes. Given (b, c, y, x),
        # such a layer takes the batch for the channels: it drops a whole image, and with all of them every gradient.
        for module in net.modules():
            for name, layer in module.named_children():
                if isinstance(layer, nn.Dropout3d):
                    setattr(module, name, nn.Dropout2d(layer.p))
    return SegmentationNet(net)


def _mednext(spec: NetworkSpec) -> SegmentationNet:
    from monai.networks.nets import MedNeXt

    return SegmentationNet(
        MedNeXt(
            spec.dims,
            spec.width,
            1,
            spec.n_classes + 1,
            kernel_size=3,
            deep_supervision=True,
            use_residual_connection=True,
        )
    )


def _near_zero(layer: nn.Module) -> None:
    # Training starts at the identity transform (VoxelMorph's own initialisation).
    for name, parameter in layer.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(parameter, std=1e-5)
        else:
            nn.init.zeros_(parameter)


_MONAI: dict[str, Any] = {"voxelmorph": _voxelmorph, "labelreg": _labelreg, "vnet": _vnet, "mednext": _mednext}
