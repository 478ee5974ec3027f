"""What a UNet is told of each example beside its noisy latents and its timestep."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Conditions:
    """What the UNet is told of b examples."""

    prompt_embeds: Float[Tensor, "b t d"]
    """The prompt, a vector a token."""
    pooled_prompt_embeds: Float[Tensor, "b p"] | None = None
    """The prompt in one vector; only Stable Diffusion XL has it."""
    time_ids: Float[Tensor, "b 6"] | None = None
    """In pixels: height and width of the photo before it was resized, top and left of what was cut out of the
    resized one, height and width of that; only Stable Diffusion XL has it."""

    def __len__(self) -> int:
        return len(self.prompt_embeds)

    def rows(self, index: int | slice | Sequence[int]) -> "Conditions":
        """Return some of the examples; one number gives a batch of one."""
        chosen = [index] if isinstance(index, int) else index
        return self._each(lambda value: value[chosen])

    def to(self, device: torch.device | str) -> "Conditions":
        """Return the same conditions on another device."""
        return self._each(lambda value: value.to(device))

    def expand(self, count: int) -> "Conditions":
        """Return one example's conditions as those of `count` examples, without a copy of them."""
        return self._each(lambda value: value.expand(count, *value.shape[1:]))

    @staticmethod
    def cat(parts: Sequence["Conditions"]) -> "Conditions":
        """Return batches of conditions of one kind as one batch.

        Raises:
            TypeError: some say what the others leave out.
        """
        columns = {item.name: [getattr(part, item.name) for part in parts] for item in fields(Conditions)}
        given = {name: values for name, values in columns.items() if any(v is not None for v in values)}
        return Conditions(**{name: torch.cat(values) for name, values in given.items()})

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Conditions":
        """Return conditions of which every tensor that there is has been changed."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return Conditions(**{name: change(value) for name, value in values.items() if value is not None})
