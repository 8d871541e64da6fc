"""The network of `UNet` in plain PyTorch, as a baseline.

It uses only modules and functions of PyTorch, with channels last in memory, and
runs eagerly. Its layers have the names of those of `UNet`, and a test compares
the scores.
"""

import math

import torch
from torch import nn
from torch.nn import functional


class PlainUNet(nn.Module):
    """The score of images, `(batch, channels, height, width)`.

    Attention is in the coarsest stage, with one head.
    """

    def __init__(self, channels, widths, patch_size, num_blocks, mean, std):
        super().__init__()
        self.widths, self.num_blocks = widths, num_blocks
        self.mean, self.std = mean, std
        self.layers = nn.ModuleDict()
        first, units = widths[0], 4 * widths[0]
        self._add("embed_0", nn.Linear(first, units))
        self._add("embed_1", nn.Linear(units, units))
        patch = (3 * patch_size, patch_size, patch_size)
        self._add("first_convolution", nn.Conv2d(channels, first, *patch))
        skips = [first]
        for stage, width in enumerate(widths):
            if stage > 0:
                # As TensorFlow pads it: only below and to the right.
                down = nn.Conv2d(skips[-1], width, 3, stride=2)
                self._add(f"down{stage}_convolution", down)
                skips.append(width)
            for index in range(num_blocks):
                self._add_block(f"down{stage}_{index}", skips[-1], stage)
                skips.append(width)
        self._add_block("middle", widths[-1], len(widths) - 1)
        x = widths[-1]
        for stage in reversed(range(len(widths))):
            for index in range(num_blocks + 1):
                self._add_block(f"up{stage}_{index}", x + skips.pop(), stage)
                x = widths[stage]
            if stage > 0:
                up = nn.Conv2d(x, widths[stage - 1], 3, padding=1)
                self._add(f"up{stage}_convolution", up)
                x = widths[stage - 1]
        self._add("last_norm", _group_norm(first))
        last = nn.ConvTranspose2d(first, channels, *patch)
        self._add("last_convolution", last)
        self.to(memory_format=torch.channels_last)

    def _add(self, name, layer):
        self.layers[name] = layer

    def _add_block(self, name, channels, stage):
        width, units = self.widths[stage], 4 * self.widths[0]
        self._add(f"{name}_0_norm", _group_norm(channels))
        self._add(
            f"{name}_0_convolution", nn.Conv2d(channels, width, 3, padding=1)
        )
        self._add(f"{name}_modulation", nn.Linear(units, 2 * width))
        self._add(f"{name}_1_norm", _group_norm(width))
        self._add(
            f"{name}_1_convolution", nn.Conv2d(width, width, 3, padding=1)
        )
        if channels != width:
            shortcut = nn.Conv2d(channels, width, 1)
            self._add(f"{name}_shortcut_convolution", shortcut)
        if stage == len(self.widths) - 1:
            self._add(f"{name}_attention_norm", _group_norm(width))
            self._add(f"{name}_attention/project", nn.Linear(width, 3 * width))
            self._add(f"{name}_attention/merge", nn.Linear(width, width))

    def forward(self, noisy, sigma):
        spread = (sigma**2 + self.std**2).sqrt()[:, None, None, None]
        normalized = (noisy - self.mean) / spread
        exponents = torch.linspace(0, 1, self.widths[0] // 2)
        angles = sigma.log()[:, None] * 0.1 * 160**exponents
        embedding = torch.cat([angles.sin(), angles.cos()], dim=1)
        for name in ("embed_0", "embed_1"):
            embedding = functional.silu(self.layers[name](embedding))

        x = normalized.contiguous(memory_format=torch.channels_last)
        skips = [self.layers["first_convolution"](x)]
        for stage in range(len(self.widths)):
            if stage > 0:
                x = functional.pad(skips[-1], (0, 1, 0, 1))
                skips.append(self.layers[f"down{stage}_convolution"](x))
            for index in range(self.num_blocks):
                name = f"down{stage}_{index}"
                skips.append(self._block(name, skips[-1], embedding))
        x = self._block("middle", skips[-1], embedding)
        for stage in reversed(range(len(self.widths))):
            for index in range(self.num_blocks + 1):
                x = torch.cat([x, skips.pop()], dim=1)
                x = self._block(f"up{stage}_{index}", x, embedding)
            if stage > 0:
                x = functional.interpolate(x, scale_factor=2, mode="nearest")
                x = self.layers[f"up{stage}_convolution"](x)
        x = functional.silu(self.layers["last_norm"](x))
        raw = self.layers["last_convolution"](x)
        scale = self.std / sigma[:, None, None, None]
        return (scale * raw - normalized) / spread

    def _block(self, name, x, embedding):
        shortcut = x
        x = functional.silu(self.layers[f"{name}_0_norm"](x))
        x = self.layers[f"{name}_0_convolution"](x)
        modulation = self.layers[f"{name}_modulation"](embedding)
        factor, offset = modulation[:, :, None, None].chunk(2, dim=1)
        x = self.layers[f"{name}_1_norm"](x)
        x = functional.silu(torch.addcmul(offset, x, 1 + factor))
        x = self.layers[f"{name}_1_convolution"](x)
        if f"{name}_shortcut_convolution" in self.layers:
            shortcut = self.layers[f"{name}_shortcut_convolution"](shortcut)
        x = shortcut + x
        if f"{name}_attention_norm" in self.layers:
            x = x + self._attention(f"{name}_attention", x)
        return x

    def _attention(self, name, x):
        pixels = self.layers[f"{name}_norm"](x).permute(0, 2, 3, 1)
        query, key, value = self.layers[f"{name}/project"](
            pixels.flatten(1, 2)
        ).chunk(3, dim=-1)
        x = functional.scaled_dot_product_attention(query, key, value)
        x = self.layers[f"{name}/merge"](x).reshape(pixels.shape)
        return x.permute(0, 3, 1, 2)


def _group_norm(channels):
    groups = math.gcd(channels, max(1, min(32, channels // 4)))
    return nn.GroupNorm(groups, channels)


@torch.no_grad()
def copy_weights(plain, network):
    """Copies the weights of a `UNet` of Keras."""
    names = {"kernel": "weight", "gamma": "weight", "bias": "bias"}
    names["beta"] = "bias"
    for weight in network.weights:
        layer, _, name = weight.path.rpartition("/")
        value = torch.as_tensor(weight.numpy())
        axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[value.ndim]
        parameter = getattr(plain.layers[layer], names[name])
        parameter.copy_(value.permute(axes))


def training_step(plain, average, optimizer, schedule, images, data_std):
    """Takes a step as `keras-ncsn train` does, and returns the loss.

    `average` holds the averaged weights, shaped like the parameters.
    """
    sigma = torch.exp(-1.2 + 1.2 * torch.randn(len(images)))
    images = (images + torch.rand(images.shape)) / 256
    noise = torch.randn_like(images)
    scale = sigma[:, None, None, None]
    error = scale * plain(images + scale * noise, sigma) + noise
    loss = 0.5 * error.square().sum((1, 2, 3))
    loss = ((sigma**2 + data_std**2) / data_std**2 * loss).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = list(plain.parameters())
    norm = nn.utils.clip_grad_norm_(parameters, 1.0)
    if not math.isfinite(float(norm)):
        raise FloatingPointError("The gradient is not finite.")
    optimizer.step()
    schedule.step()
    with torch.no_grad():
        torch._foreach_lerp_(average, parameters, 1e-3)
    return float(loss.detach())
