"""The paragraph before the first step says what the tensors say."""

from dataclasses import replace

import pytest
from tiny_albums import draw_album
from tiny_training import SETTINGS, begin

from persam_dreambooth.diffusion.backgrounds import Background
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.dreambooth.announcement import summary, truth
from persam_dreambooth.masks.record import subject_mask


def masks_of(count=3):
    _, masks = draw_album(count)
    return {stem: subject_mask(stem, mask, "given") for stem, mask in masks.items()}


def test_with_masks():
    text = truth(begin(), masks_of(), Background(), num_photos=5)
    assert text.startswith(
        "Masked loss: on. 5 photos, 3 masks: the subject covers 18% to 18% of a photo, 18% on"
    )
    assert "of the loss weight lies on background (0" in text
    assert "The VAE sees the photos as they are: what lies outside a mask is no target, but" in text
    assert "3 steps of 2 photos, 2.0 passes over them." in text
    assert "Trained: all of the UNet (200,644 parameters); the text encoders are not trained" in text
    assert "class pictures" not in text
    assert "captions" not in text
    assert "Outside the masks" not in text
    assert "Memory on cpu: about " in text
    assert ".." not in text
    assert "\n" not in text


def test_without_masks_it_says_what_is_learnt():
    text = truth(begin(with_masks=False), None, Background(), num_photos=3)
    assert text.startswith(
        "Masked loss: off. 3 photos, no masks: the background is learnt as well (--use_persam"
    )
    assert "The VAE sees the photos as they are. " in text
    assert "lies on background" not in text


def test_what_else_takes_part():
    settings = replace(SETTINGS, use_lora=True, train_text_encoder=True)
    state = begin(settings, Objective(outside_prior_weight=0.5, prior_loss_weight=0.7), with_class=True)
    text = truth(state, masks_of(), Background(mode="random"), num_photos=3, num_captions=2)
    assert "2 of 3 photos are called by captions of their own." in text
    assert "Outside the masks the model is held to what it predicted before, with weight 0.5." in text
    assert "4 class pictures, never masked, have weight 0.7." in text
    assert "The VAE sees the subject on colours and noise that are new in every step." in text
    assert "Trained: adapters in the UNet (" in text
    assert "adapters in text_encoder (" in text
    assert "not trained" not in text


def test_the_background_share_is_measured_on_the_weights():
    state = begin()
    state.examples.instance.loss_mask.fill_(1.0)
    share = 1 - float(state.examples.instance.subject_share.mean())
    text = truth(state, masks_of(), Background(), num_photos=3)
    measured = float(text.split("% of the loss weight")[0].rsplit(" ", 1)[1]) / 100
    assert measured == pytest.approx(share, abs=0.001)


def test_summary():
    assert summary(None, 4).startswith("Masked loss: off. 4 photos")
    assert summary(masks_of(), 3).endswith("18% on average")
