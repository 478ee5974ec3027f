"""Flags that people bring along: those of diffusers' scripts, and names from other trainers.

A flag is ours, or it is accepted because what it asks for is always so, or it is refused in one line that
says why and what to write instead.
"""

OF_THE_THREE_SCRIPTS = frozenset(
    """
    pretrained_model_name_or_path revision variant tokenizer_name pretrained_vae_model_name_or_path
    instance_data_dir dataset_name dataset_config_name cache_dir image_column caption_column repeats
    class_data_dir instance_prompt class_prompt with_prior_preservation prior_loss_weight num_class_images
    sample_batch_size prior_generation_precision output_dir output_kohya_format seed resolution center_crop
    random_flip image_interpolation_mode train_text_encoder train_batch_size num_train_epochs max_train_steps
    checkpointing_steps checkpoints_total_limit resume_from_checkpoint gradient_accumulation_steps
    gradient_checkpointing learning_rate text_encoder_lr scale_lr lr_scheduler lr_warmup_steps lr_num_cycles
    lr_power optimizer use_8bit_adam adam_beta1 adam_beta2 adam_epsilon adam_weight_decay
    adam_weight_decay_text_encoder prodigy_beta3 prodigy_decouple prodigy_use_bias_correction
    prodigy_safeguard_warmup max_grad_norm set_grads_to_none dataloader_num_workers mixed_precision allow_tf32
    enable_xformers_memory_efficient_attention local_rank push_to_hub hub_token hub_model_id logging_dir
    report_to validation_prompt num_validation_images validation_steps validation_epochs validation_images
    validation_scheduler offset_noise snr_gamma pre_compute_text_embeddings tokenizer_max_length
    text_encoder_use_attention_mask skip_save_text_encoder class_labels_conditioning rank lora_dropout
    use_dora do_edm_style_training
    """.split()
)
"""Every flag of train_dreambooth.py, train_dreambooth_lora.py and train_dreambooth_lora_sdxl.py.

Source: their argument parsers, diffusers 0.40.
"""

OF_NEWER_SCRIPTS = frozenset(
    """
    cache_latents lora_alpha lora_layers upcast_before_saving skip_final_inference final_validation_prompt
    use_aspect_ratio_buckets aspect_ratio_buckets caption_dropout noise_offset offload guidance_scale
    """.split()
)
"""Flags of diffusers' later DreamBooth scripts that are understood as well."""

ALWAYS_SO = {
    "set_grads_to_none": "gradients are always freed after a step",
    "pre_compute_text_embeddings": "prompts are always encoded before training where their encoder is frozen",
    "output_kohya_format": "adapters are always written in both layouts",
    "upcast_before_saving": "what is trained is always kept and saved in float32",
    "offload": "the VAE and frozen text encoders always leave the device when they are done",
    "local_rank": "accelerate launch says in the environment which process this is",
    "dataloader_num_workers": "photos are encoded once, before training: there is nothing for workers to do",
    "cache_dir": "datasets are read from folders: there is nothing to keep",
}
"""Accepted, with any value, because what they ask for is done anyway or would change nothing."""

REFUSED = {
    "tokenizer_max_length": (
        "CLIP reads 77 tokens, the flag is for another text encoder (DeepFloyd IF, which draws "
        "pixels, is not trained here). Drop it"
    ),
    "text_encoder_use_attention_mask": (
        "CLIP was trained without a mask, the flag is for another text encoder (DeepFloyd IF, which "
        "draws pixels, is not trained here). Drop it"
    ),
    "validation_images": (
        "DeepFloyd IF, which draws pixels, is not trained here; a text prompt is needed. Use "
        "--validation_prompt"
    ),
    "class_labels_conditioning": (
        "DeepFloyd IF, which draws pixels, is not trained here; Stable Diffusion 1, 2 or XL is "
        "needed. Drop it"
    ),
    "dataset_config_name": (
        "datasets are folders here, without configurations; a folder is needed. Use --dataset_name FOLDER"
    ),
    "clip_skip": (
        "what is trained so draws right only where the same number is set again, and no file says so. Drop it"
    ),
    "lora_blocks": "it numbers the blocks of SD3; names of layers are needed. Use --lora_layers",
    "lora_unet_blocks": "adapters are placed by name; names of layers are needed. Use --lora_layers",
    "use_blora": "B-LoRA's blocks are not offered; names of layers are needed. Use --lora_layers",
    "bnb_quantization_config_path": (
        "models are not quantized here; another way to save memory is needed. Use --use_lora "
        "--mixed_precision bf16 --gradient_checkpointing"
    ),
    "do_fp8_training": (
        "there is no training in 8 bits here; fp16 or bf16 is needed. Use --mixed_precision bf16"
    ),
    "fsdp_text_encoder": "what is sharded is said by accelerate's own settings. Run `accelerate config`",
    "remote_text_encoder": "text encoders run on this machine and leave its memory before training. Drop it",
    "enable_npu_flash_attention": "PyTorch's own attention is used on every device. Drop it",
    "enable_vae_tiling": "photos are encoded one at a time, so that there is nothing to tile. Drop it",
    "enable_vae_slicing": "photos are encoded one at a time, so that there is nothing to slice. Drop it",
    "vae_encode_mode": "latents are kept as a mean and a deviation and drawn anew in every step. Drop it",
    "cond_image_column": (
        "image-to-image models are not trained here; photos of the subject are needed. Drop it"
    ),
    "use_ema": "no average of the weights is kept; a few hundred steps gain nothing by it. Drop it",
    "train_text_encoder_frac": "text encoders are trained to the end or not at all. Use --train_text_encoder",
}
"""Flags of diffusers that are not offered: why, what is needed, and what to do."""

REFUSED |= dict.fromkeys(
    [
        "weighting_scheme",
        "logit_mean",
        "logit_std",
        "mode_scale",
        "precondition_outputs",
        "max_sequence_length",
    ],
    "it is for flow matching (SD3, Flux), which is not trained here; Stable Diffusion 1, 2 or XL is needed. "
    "Drop it",
)
REFUSED |= dict.fromkeys(
    [
        *("train_text_encoder_ti", "train_text_encoder_ti_frac", "token_abstraction", "initializer_concept"),
        *("num_new_tokens_per_abstraction", "train_transformer_frac", "enable_t5_ti"),
    ],
    "no new words are learnt here; a rare word that the text encoder knows is needed. Use "
    "--train_text_encoder to learn more about it",
)

OF_OTHERS = {
    "unmasked_probability": (
        "a step without masks learns the background; a weight outside them is needed. Use "
        "--outside_weight, or none"
    ),
    "masked_loss_probability": (
        "a step without masks learns the background; a weight outside them is needed. Use "
        "--outside_weight, or none"
    ),
    "network_train_unet_only": (
        "text encoders are only trained where --train_text_encoder asks for it. Drop it"
    ),
    "network_train_text_encoder_only": (
        "the UNet is always trained; both or the UNet are possible. Use --train_text_encoder"
    ),
    "network_args": (
        "adapters have a flag for each of their settings. Use --lora_layers, --lora_dropout, --use_dora"
    ),
    "optimizer_args": (
        "the optimizer has a flag for each of its settings. Use --adam_weight_decay and the like"
    ),
    "cache_text_encoder_outputs": "it is always so where text encoders are frozen. Drop it",
    "cache_latents_to_disk": "latents are always kept on disk, in --output_dir. Drop it",
    "sdpa": "PyTorch's own attention is always used. Drop it",
    "v2": "the model's own files say what it is. Drop it",
    "v_parameterization": "the model's own files say what it predicts. Drop it",
    "zero_terminal_snr": "the model's own noise schedule is used. Drop it",
    "alpha_mask": (
        "transparency is no mask here; masks are files, as 00.mask.png beside 00.jpg. Use --reference_mask"
    ),
    "mask_path": "masks are found from one of them, or read from masks in --output_dir. Use --reference_mask",
    "conditioning_data_dir": (
        "masks are found from one of them, or read from masks in --output_dir. Use --reference_mask"
    ),
    "max_data_loader_n_workers": "photos are encoded once, before training. Drop it",
    "caption_extension": "a caption is a .txt file beside its photo. Drop it",
    "shuffle_caption": "captions are read as they are written. Drop it",
    "keep_tokens": "captions are read as they are written. Drop it",
    "color_aug": "colours of the subject are part of what is learnt. Drop it",
    "concepts_list": (
        "a run learns one subject; one folder of photos is needed. Run once for each, with "
        "--instance_data_dir"
    ),
    "save_model_as": "weights are written as .safetensors, in diffusers' and kohya's layout. Drop it",
    "save_precision": "weights are saved in float32, as they are trained. Drop it",
    "full_fp16": "what is trained stays in float32, else small updates are lost. Use --mixed_precision fp16",
    "full_bf16": "what is trained stays in float32, else small updates are lost. Use --mixed_precision bf16",
    "lowram": "models leave the device when they are done. Use --gradient_checkpointing for less memory",
    "max_token_length": "CLIP reads 77 tokens. Drop it, and shorten captions that are longer",
    "config_file": "settings are flags or a YAML file of flags. Use --config FILE.yaml",
}
"""Flags of other trainers that have no counterpart under another name: why, and what to do."""

# theirs>ours, where both mean the same or ours is what serves the purpose.
_RENAMED = {
    "kohya's sd-scripts": """
        network_dim>rank network_alpha>lora_alpha network_dropout>lora_dropout network_module>use_lora
        unet_lr>learning_rate masked_loss>use_persam train_data_dir>instance_data_dir
        reg_data_dir>class_data_dir min_snr_gamma>snr_gamma
        xformers>enable_xformers_memory_efficient_attention
        mem_eff_attn>enable_xformers_memory_efficient_attention optimizer_type>optimizer
        save_every_n_steps>checkpointing_steps
        max_train_epochs>num_train_epochs output_name>output_dir flip_aug>random_flip
        enable_bucket>aspect_ratio_buckets sample_prompts>validation_prompt
        sample_every_n_steps>validation_steps sample_every_n_epochs>validation_epochs
        sample_sampler>validation_scheduler vae>pretrained_vae_model_name_or_path
        log_with>report_to torch_compile>compile
        caption_dropout_rate>caption_dropout
        lr_scheduler_num_cycles>lr_num_cycles lr_scheduler_power>lr_power huggingface_repo_id>hub_model_id
        huggingface_token>hub_token
    """,
    "OneTrainer": """
        unmasked_weight>outside_weight masked_training>use_persam
        normalize_masked_area_loss>mask_normalization
        masked_prior_preservation_weight>outside_prior_weight
        base_model_name>pretrained_model_name_or_path epochs>num_train_epochs batch_size>train_batch_size
        learning_rate_scheduler>lr_scheduler learning_rate_warmup_steps>lr_warmup_steps
        text_encoder_learning_rate>text_encoder_lr offset_noise_weight>noise_offset lora_rank>rank
    """,
    "SimpleTuner": """
        lora_type>use_lora caption_dropout_probability>caption_dropout
        instance_data_root>instance_data_dir checkpoint_step_interval>checkpointing_steps
        validation_step_interval>validation_steps validation_num_inference_steps>num_inference_steps
        validation_guidance>guidance_scale model_path>pretrained_model_name_or_path
    """,
    "ai-toolkit": """
        mask_min_value>outside_weight inverted_mask_prior>outside_prior_weight
        inverted_mask_prior_multiplier>outside_prior_weight linear>rank linear_alpha>lora_alpha
        steps>max_train_steps lr>learning_rate trigger_word>identifier folder_path>instance_data_dir
        name_or_path>pretrained_model_name_or_path sample_every>validation_steps
        save_every>checkpointing_steps max_step_saves_to_keep>checkpoints_total_limit
        cache_latents_to_memory>cache_latents num_repeats>repeats dtype>mixed_precision
    """,
    "another script": """
        save_interval>checkpointing_steps save_sample_prompt>validation_prompt
        save_infer_steps>num_inference_steps save_guidance_scale>guidance_scale
        n_save_sample>num_validation_images pretrained_vae_name_or_path>pretrained_vae_model_name_or_path
        not_cache_latents>no_cache_latents hflip>random_flip
        use_lora_text_encoder>train_text_encoder lora_text_encoder_r>rank lora_r>rank
        instance_token>identifier model_id>pretrained_model_name_or_path
        proportion_empty_prompts>caption_dropout
        validation_prompts>validation_prompt max_steps>max_train_steps warmup_steps>lr_warmup_steps
        lora_dim>rank use_xformers>enable_xformers_memory_efficient_attention
    """,
}

RENAMED = {
    theirs: (ours, trainer)
    for trainer, pairs in _RENAMED.items()
    for theirs, ours in (pair.split(">") for pair in pairs.split())
}
"""Names of the same thing in other trainers: what it is called here, and where the name comes from."""


def why_not(name: str) -> str | None:
    """Return why a flag is refused and what to do, to be put behind `--name: `; None where it is not known.

    Args:
        name: of a flag that is not ours, with underscores, without hyphens in front.
    """
    if name in RENAMED:
        ours, trainer = RENAMED[name]
        return f"a name from {trainer}; --{ours} is needed for it here. Write --{ours} instead."
    reason = REFUSED.get(name) or OF_OTHERS.get(name)
    return None if reason is None else f"not offered: {reason}."
