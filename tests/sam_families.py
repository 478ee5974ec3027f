"""A small SAM of each family with random weights; all see 128 px or less as a grid of 8 x 8 cells or more."""

from types import SimpleNamespace

import torch
from sam_models import random_sam, with_random_weights
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    EdgeTamConfig,
    EdgeTamModel,
    EdgeTamVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2Model,
    Sam2VisionConfig,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    Sam3VisionConfig,
    Sam3ViTConfig,
    SamHQConfig,
    SamHQMaskDecoderConfig,
    SamHQModel,
    SamHQPromptEncoderConfig,
    SamHQVisionConfig,
)

WIDTH = 32
SIDES = [[32, 32], [16, 16], [8, 8]]
DECODER = {"hidden_size": WIDTH, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32}


class PyramidConfig(PreTrainedConfig):
    """Config of the stand-in for EdgeTAM's backbone, which is timm's."""

    model_type = "test_pyramid"


class Pyramid(PreTrainedModel):
    """Four feature maps, each half as fine as the one before: what EdgeTAM asks of its backbone."""

    config_class = PyramidConfig

    def __init__(self, config):
        super().__init__(config)
        channels = (3, 8, 16, 32, 64)
        strides = (4, 2, 2, 2)
        self.stages = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1], strides[i], stride=strides[i]) for i in range(4)
        )
        self.post_init()

    def forward(self, pixel_values, **_):
        maps = []
        for stage in self.stages:
            pixel_values = torch.tanh(stage(pixel_values))
            maps.append(pixel_values)
        return SimpleNamespace(last_hidden_state=maps, hidden_states=None)


AutoConfig.register(PyramidConfig.model_type, PyramidConfig)
AutoModel.register(PyramidConfig, Pyramid)


def random_sam_hq(seed: int = 1) -> SamHQModel:
    """Return a SamHQ of random_sam's shape."""
    vision = SamHQVisionConfig(
        hidden_size=WIDTH,
        output_channels=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=128,
        patch_size=8,
        window_size=7,
        global_attn_indexes=[1],
        num_pos_feats=WIDTH // 2,
        mlp_dim=2 * WIDTH,
    )
    prompts = SamHQPromptEncoderConfig(hidden_size=WIDTH, image_size=128, patch_size=8)
    decoder = SamHQMaskDecoderConfig(vit_dim=WIDTH, **DECODER)
    config = SamHQConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    return with_random_weights(SamHQModel(config), seed)


def random_sam2(seed: int = 1) -> Sam2Model:
    """Return a Sam2 of five blocks."""
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[128, 128],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        window_size_per_stage=[8, 4, 4, 4],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=SIDES,
        fpn_hidden_size=WIDTH,
    )
    prompts = {"hidden_size": WIDTH, "image_size": 128, "patch_size": 16}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=DECODER)
    return _with_one_encoding(Sam2Model(config), seed)


def random_sam3_tracker(seed: int = 1) -> Sam3TrackerModel:
    """Return the tracker of a Sam3 of two blocks, with patches of 14 px as in the real one."""
    backbone = Sam3ViTConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=112,
        window_size=4,
        global_attn_indexes=[1],
        pretrain_image_size=56,
    )
    vision = Sam3VisionConfig(backbone_config=backbone, backbone_feature_sizes=SIDES, fpn_hidden_size=WIDTH)
    prompts = {"hidden_size": WIDTH, "image_size": 112, "patch_size": 14}
    config = Sam3TrackerConfig(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=DECODER
    )
    return _with_one_encoding(Sam3TrackerModel(config), seed)


def random_edgetam(seed: int = 1) -> EdgeTamModel:
    """Return an EdgeTAM over the stand-in backbone."""
    vision = EdgeTamVisionConfig(
        backbone_config=PyramidConfig(),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=SIDES,
        fpn_hidden_size=WIDTH,
    )
    prompts = {"hidden_size": WIDTH, "image_size": 128, "patch_size": 16}
    config = EdgeTamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=DECODER)
    return _with_one_encoding(EdgeTamModel(config), seed)


def _with_one_encoding(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Return the model with random weights, and one encoding of positions for prompts and picture."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn((2, WIDTH // 2), generator=generator)
    model.shared_image_embedding.positional_embedding.copy_(values)
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(values)
    return with_random_weights(model, seed)


RANDOM_MODELS = {
    "sam": random_sam,
    "sam_hq": random_sam_hq,
    "sam2": random_sam2,
    "sam3_tracker": random_sam3_tracker,
    "edgetam": random_edgetam,
}
