"""The network of NCSN in plain PyTorch, as a baseline for RefineNet.

It uses only modules and functions of PyTorch, channels first, and runs eagerly.
It was written from the paper and a description of the checkpoints. It loads
their weights by name, and a test compares the scores.
"""

import torch
from torch import nn
from torch.nn import functional


class Norm(nn.Module):
    """Instance normalization++ with one row of weights per noise level."""

    def __init__(self, channels, num_levels):
        super().__init__()
        self.embed = nn.Embedding(num_levels, 3 * channels)
        nn.init.normal_(self.embed.weight, 1.0, 0.02)
        nn.init.zeros_(self.embed.weight.data[:, 2 * channels :])

    def forward(self, x, levels):
        gamma, alpha, beta = self.embed(levels)[:, :, None, None].chunk(3, 1)
        means = x.mean(dim=(2, 3), keepdim=True)
        variance = means.var(dim=1, keepdim=True)
        means = means - means.mean(dim=1, keepdim=True)
        means = means / torch.sqrt(variance + 1e-5)
        return gamma * (functional.instance_norm(x) + alpha * means) + beta


def convolution(channels, filters, dilation=1, bias=True):
    return nn.Conv2d(
        channels, filters, 3, padding=dilation, dilation=dilation, bias=bias
    )


class ConvMeanPool(nn.Module):
    def __init__(self, channels, filters, kernel_size):
        super().__init__()
        self.conv = nn.Conv2d(
            channels, filters, kernel_size, padding=kernel_size // 2
        )

    def forward(self, x):
        return functional.avg_pool2d(self.conv(x), 2)


class ResidualBlock(nn.Module):
    def __init__(self, channels, filters, num_levels, kind=None, dilation=1):
        super().__init__()
        self.normalize1 = Norm(channels, num_levels)
        self.conv1 = convolution(channels, channels, dilation)
        self.normalize2 = Norm(channels, num_levels)
        if kind == "halve":
            self.conv2 = ConvMeanPool(channels, filters, 3)
            self.shortcut = ConvMeanPool(channels, filters, 1)
        else:
            self.conv2 = convolution(channels, filters, dilation)
        if kind == "dilate":
            self.shortcut = convolution(channels, filters, dilation)
        elif kind is None:
            self.shortcut = nn.Identity()

    def forward(self, x, levels):
        h = self.conv1(functional.elu(self.normalize1(x, levels)))
        h = self.conv2(functional.elu(self.normalize2(h, levels)))
        return self.shortcut(x) + h


class ResidualConvUnit(nn.Module):
    def __init__(self, channels, num_blocks, num_levels):
        super().__init__()
        self.num_blocks = num_blocks
        for block in range(1, num_blocks + 1):
            for stage in (1, 2):
                norm = Norm(channels, num_levels)
                conv = convolution(channels, channels, bias=False)
                self.add_module(f"{block}_{stage}_norm", norm)
                self.add_module(f"{block}_{stage}_conv", conv)

    def forward(self, x, levels):
        for block in range(1, self.num_blocks + 1):
            h = x
            for stage in (1, 2):
                norm = getattr(self, f"{block}_{stage}_norm")
                conv = getattr(self, f"{block}_{stage}_conv")
                h = conv(functional.elu(norm(h, levels)))
            x = x + h
        return x


class Fusion(nn.Module):
    def __init__(self, input_channels, filters, num_levels):
        super().__init__()
        self.convs = nn.ModuleList(
            convolution(channels, filters) for channels in input_channels
        )
        self.norms = nn.ModuleList(
            Norm(channels, num_levels) for channels in input_channels
        )

    def forward(self, images, levels):
        size = images[0].shape[2:]
        parts = zip(images, self.convs, self.norms, strict=True)
        return sum(
            functional.interpolate(
                conv(norm(x, levels)), size, mode="bilinear", align_corners=True
            )
            for x, conv, norm in parts
        )


class ChainedPooling(nn.Module):
    def __init__(self, channels, num_levels):
        super().__init__()
        self.convs = nn.ModuleList(
            convolution(channels, channels, bias=False) for _ in range(2)
        )
        self.norms = nn.ModuleList(Norm(channels, num_levels) for _ in range(2))

    def forward(self, x, levels):
        x = path = functional.elu(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            path = functional.avg_pool2d(norm(path, levels), 5, 1, 2)
            path = conv(path)
            x = x + path
        return x


class RefineBlock(nn.Module):
    def __init__(self, input_channels, filters, num_levels, num_outputs=1):
        super().__init__()
        self.adapt_convs = nn.ModuleList(
            ResidualConvUnit(channels, 2, num_levels)
            for channels in input_channels
        )
        if len(input_channels) > 1:
            self.msf = Fusion(input_channels, filters, num_levels)
        self.crp = ChainedPooling(filters, num_levels)
        self.output_convs = ResidualConvUnit(filters, num_outputs, num_levels)

    def forward(self, images, levels):
        images = [
            adapt(x, levels)
            for adapt, x in zip(self.adapt_convs, images, strict=True)
        ]
        x = self.msf(images, levels) if len(images) > 1 else images[0]
        return self.output_convs(self.crp(x, levels), levels)


class PlainRefineNet(nn.Module):
    """The score of images in [0, 1], `(batch, channels, height, width)`."""

    def __init__(self, channels, width, num_levels=10):
        super().__init__()
        narrow, wide = width, 2 * width

        def stage(first, filters, **kwargs):
            dilation = kwargs.get("dilation", 1)
            return nn.ModuleList(
                [
                    ResidualBlock(first, filters, num_levels, **kwargs),
                    ResidualBlock(
                        filters, filters, num_levels, dilation=dilation
                    ),
                ]
            )

        self.begin_conv = convolution(channels, narrow)
        self.res1 = stage(narrow, narrow)
        self.res2 = stage(narrow, wide, kind="halve")
        self.res3 = stage(wide, wide, kind="dilate", dilation=2)
        self.res4 = stage(wide, wide, kind="dilate", dilation=4)
        self.refine1 = RefineBlock([wide], wide, num_levels)
        self.refine2 = RefineBlock([wide, wide], wide, num_levels)
        self.refine3 = RefineBlock([wide, wide], narrow, num_levels)
        self.refine4 = RefineBlock([narrow, narrow], narrow, num_levels, 3)
        self.normalizer = Norm(narrow, num_levels)
        self.end_conv = convolution(narrow, channels)

    def forward(self, x, levels):
        x = self.begin_conv(2 * x - 1)
        stages = []
        for stage in (self.res1, self.res2, self.res3, self.res4):
            for block in stage:
                x = block(x, levels)
            stages.append(x)
        x = self.refine1([stages[3]], levels)
        x = self.refine2([stages[2], x], levels)
        x = self.refine3([stages[1], x], levels)
        x = self.refine4([stages[0], x], levels)
        return self.end_conv(functional.elu(self.normalizer(x, levels)))


def training_step(network, optimizer, sigmas, images):
    """Takes a step of denoising score matching and returns the loss."""
    levels = torch.randint(0, len(sigmas), (len(images),))
    sigma = sigmas[levels][:, None, None, None]
    noise = torch.randn_like(images)
    score = network(images + sigma * noise, levels)
    loss = 0.5 * (sigma * score + noise).square().sum(dim=(1, 2, 3)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
