"""Logits to fit PerSAM-F's weights on, and the fit as the authors' program does it."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate


def nested_logits(size, radius, seed=0):
    """Return the logits of three nested discs on noise [3 H W], and the mask of a disc of this radius."""
    height, width = size
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    distance = (x**2 + 1.5 * y**2).sqrt()
    discs = torch.stack([((edge - distance) * 40).clamp(-15, 12) for edge in (0.25, 0.5, 0.75)])
    noise = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(seed))
    return discs + 2 * interpolate(noise, size, mode="bilinear")[0], distance < radius


def plain_loss(mask_logits, mask, weights):
    """Return dice + focal of the blend, as in the authors' program."""
    z, g = (mask_logits * weights[:, None, None]).sum(0).flatten(), mask.flatten().to(mask_logits)
    p = z.sigmoid()
    dice = 1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
    cross_entropy = binary_cross_entropy_with_logits(z, g, reduction="none")
    p_true = p * g + (1 - p) * (1 - g)
    focal = (0.25 * g + 0.75 * (1 - g)) * (1 - p_true) ** 2 * cross_entropy
    return dice + focal.mean()


def plain_fit(mask_logits, mask, num_steps=1000, *, residual_last=False, **options):
    """Return the weights after torch's own AdamW and cosine schedule on all pixels."""
    free = torch.nn.Parameter(torch.ones(2, dtype=mask_logits.dtype) / 3)

    def weights():
        parts = [1 - free.sum(0, keepdim=True), free]
        return torch.cat(parts[::-1] if residual_last else parts)

    optimizer = torch.optim.AdamW([free], **{"lr": 1e-3, "eps": 1e-4, **options})
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for _ in range(num_steps):
        optimizer.zero_grad()
        plain_loss(mask_logits, mask, weights()).backward()
        optimizer.step()
        schedule.step()
    return weights().detach().float()


def plain_gradient(mask_logits, mask, a, b):
    """Return the loss and its derivatives with respect to a and b, by autograd in float64."""
    free = torch.tensor([a, b], dtype=torch.float64, requires_grad=True)
    loss = plain_loss(mask_logits.double(), mask, torch.cat([1 - free.sum(0, keepdim=True), free]))
    loss.backward()
    return loss.item(), free.grad
