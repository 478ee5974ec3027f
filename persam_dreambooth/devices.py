"""Where to compute: a device by its name, refused in one line where it is not here."""

import torch

from persam_dreambooth.errors import UserError, one_line


def device_named(name: str | torch.device) -> torch.device:
    """Return the device of this name: cpu, cuda, cuda:1, mps.

    Raises:
        UserError: there is no such kind of device, or none of it is here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # A torch that was built without CUDA asserts.
    except (RuntimeError, AssertionError) as error:
        reason = one_line(error).split(". ")[0].rstrip(".")
        if len(reason) > 100:
            reason = "no such kind of device"
        raise UserError(
            f"--device {name}: cannot be used ({reason}); a device that is here is needed. Use cpu, or cuda "
            "where there is an NVIDIA GPU."
        ) from error
    return device
