"""ConvNet: torch's own operations for one task, and tasks that do not mix."""

import pytest
import torch
from torch.nn import functional as F

from lit_lul.errors import InvalidInput
from lit_lul.networks import ConvNet, ConvNets, LinearHeadMLP, LinearHeadMLPs
from lit_lul.networks.mlp import BATCH_NORM_EPS, MLPParams
from lit_lul.trees import map_tensors

TASKS, EXAMPLES = 3, 5
COLOUR = ConvNet(2 * 7 * 7, 4, channels=3, blocks=4, image_channels=2)


def params_and_images(network: ConvNet) -> tuple[MLPParams, torch.Tensor]:
    """φ whose biases matter, and images (R, T, B, N_0) of two draws."""
    generator = torch.Generator().manual_seed(0)
    params: MLPParams = map_tensors(
        lambda p: p + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype),
        network.init(TASKS, generator, torch.float64),
    )
    x = torch.rand(2, TASKS, EXAMPLES, network.inputs, generator=generator, dtype=torch.float64)
    return params, x


def test_tasks_at_once_equal_torchs_operations_for_one() -> None:
    params, x = params_and_images(COLOUR)
    layers = COLOUR.activations(params, x)
    assert COLOUR.sides == [7, 3, 1, 1, 1]
    assert torch.equal(layers.x[0], x)
    for draw in range(2):
        for task in range(TASKS):
            *kernels, head = (w[task] for w in params["weights"])
            *biases, head_bias = (b[task] for b in params["biases"])
            images = x[draw, task].view(EXAMPLES, 2, 7, 7)
            for layer, (kernel, bias) in enumerate(zip(kernels, biases, strict=True), start=1):
                m = F.conv2d(images, kernel, padding=1)
                normal = F.batch_norm(m, None, None, training=True, eps=BATCH_NORM_EPS)
                images = F.relu(normal + bias[:, None, None])
                images = F.max_pool2d(images, 2) if images.shape[-1] > 1 else images
                torch.testing.assert_close(layers.x[layer][draw, task], images.flatten(1))
            outputs = images.flatten(1) @ head + head_bias
            torch.testing.assert_close(layers.x[-1][draw, task], outputs)
            torch.testing.assert_close(layers.z[-1][draw, task], outputs)


def test_head_of_a_linear_head_mlp_is_linear() -> None:
    network = LinearHeadMLP((6, 5, 4), "tanh")
    params = network.init(TASKS, torch.Generator().manual_seed(0))
    x = torch.rand(TASKS, EXAMPLES, 6, generator=torch.Generator().manual_seed(1))
    layers = network.activations(params, x)
    outputs = layers.x[1] @ params["weights"][1] + params["biases"][1].unsqueeze(1)
    torch.testing.assert_close(layers.x[2], outputs)
    assert torch.equal(layers.z[2], layers.x[2])
    assert len(network.statistics(params, x)) == 1, "the head has no batch norm"


def test_a_configuration_names_one_network() -> None:
    assert ConvNets(channels=3, image_channels=2).at(0.9, 98, 4) == COLOUR
    assert LinearHeadMLPs([5, 4]).at(0.1, 6, 3) == LinearHeadMLP((6, 5, 4, 3))
    assert ConvNet(196, 5, channels=16).cost > ConvNet(196, 5, channels=8).cost
    with pytest.raises(InvalidInput, match=r"inputs must be 1 × side × side, .* got 195"):
        ConvNets().at(0.5, 195, 5)
