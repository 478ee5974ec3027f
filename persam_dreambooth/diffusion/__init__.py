"""Everything that knows Stable Diffusion: load, encode, train, save, draw."""

import logging

# diffusers asks transformers for image processors that nothing here uses; without torchvision, which this
# package does without, importing it would print two long lines about them.
logging.getLogger("transformers.utils.import_utils").addFilter(
    lambda record: "requires torchvision" not in record.getMessage()
)
