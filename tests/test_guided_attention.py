"""Guided decoding: it follows the authors' formulas and no other reading, and leaves nothing behind."""

import math
from dataclasses import replace

import pytest
import torch
from decoder_formulas import MISTAKES, Restated, RestatedTransformer
from sam_families import RANDOM_MODELS
from sam_models import random_sam, relative_difference, scene

from persam_dreambooth.sam.guided_attention import GUIDED_ATTENTION, guided_attention, persam_decoding
from persam_dreambooth.sam.segmenter import Segmenter

SHAPES = [(90, 128), (150, 107), (128, 128)]
COORDS = torch.tensor([[40.0, 33.0], [7.0, 61.0]])
LABELS = torch.tensor([1, 0])


def to_input(embedding):
    (height, width), (input_height, input_width) = embedding.size, embedding.input_size
    return COORDS * torch.tensor([input_width / width, input_height / height])


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(random_sam())


def guided_inputs(segmenter, shape=(90, 128)):
    embedding = segmenter.encode(scene(*shape)[0])
    similarity = torch.rand(embedding.features.shape[-2:])
    return embedding, similarity, embedding.features[0, :, 3, 5].clone()


def decode(segmenter, embedding, similarity, target, **options):
    return segmenter.decode(
        embedding,
        point_coords=COORDS,
        point_labels=LABELS,
        attention_similarity=similarity,
        target_embedding=target,
        **options,
    )


def in_float64(similarity, target, embedding):
    """Return a model and inputs at a precision that leaves only the formulas to compare."""
    double = Segmenter(random_sam())
    double.model.double()
    similarity, target = (None if x is None else x.double() for x in (similarity, target))
    return double, similarity, target, replace(embedding, features=embedding.features.double())


def decode_in_float64(embedding, similarity, target):
    """Return the logits and IoU predictions of all four mask tokens, from the decoder under our guidance."""
    double, similarity, target, embedding = in_float64(similarity, target, embedding)
    decoder, with_similarity = double.model.mask_decoder, similarity is not None
    with torch.no_grad(), persam_decoding(decoder, with_similarity=with_similarity, target_embedding=target):
        outputs = [
            double.model(
                image_embeddings=embedding.features,
                input_points=to_input(embedding)[None, None].double(),
                input_labels=LABELS[None, None],
                multimask_output=multimask_output,
                attention_similarity=similarity.reshape(1, 1, 1, -1) if with_similarity else None,
                target_embedding=target,
            )
            for multimask_output in (False, True)
        ]
    logits = torch.cat([output.pred_masks[0, 0] for output in outputs])
    return logits, torch.cat([output.iou_scores[0, 0] for output in outputs])


def restated_in_float64(embedding, similarity, target, mistake=""):
    """Return the same, from the formulas."""
    double, similarity, target, embedding = in_float64(similarity, target, embedding)
    return Restated(double, mistake)(embedding, to_input(embedding), LABELS, similarity, target)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_similarity", [True, False])
@pytest.mark.parametrize("with_target", [True, False])
def test_decoding_follows_the_authors_formulas(segmenter, shape, with_similarity, with_target):
    embedding, similarity, target = guided_inputs(segmenter, shape)
    given = embedding, similarity if with_similarity else None, target if with_target else None
    logits, iou = restated_in_float64(*given)
    ours, our_iou = decode_in_float64(*given)
    assert relative_difference(ours, logits) < 1e-10
    assert relative_difference(our_iou, iou) < 1e-10
    for multimask_output, tokens in ((False, slice(0, 1)), (True, slice(1, 4))):
        decoded = decode(segmenter, *given, multimask_output=multimask_output)
        assert relative_difference(decoded.low_res_logits, logits[tokens]) < 1e-3
        assert relative_difference(decoded.iou_predictions, iou[tokens]) < 1e-3


@pytest.mark.parametrize("mistake", [*MISTAKES, "no guidance", "no target"])
def test_every_other_reading_of_the_paper_is_told_apart(segmenter, mistake):
    embedding, similarity, target = guided_inputs(segmenter)
    ours, _ = decode_in_float64(embedding, similarity, target)
    similarity = None if mistake == "no guidance" else similarity
    target = None if mistake == "no target" else target
    mistaken, _ = restated_in_float64(embedding, similarity, target, mistake)
    assert relative_difference(ours, mistaken) > 1e-4


def transformer_inputs(model):
    """Return tokens, cells, their positions, a similarity and a target for the two-way transformer alone."""
    width, side = model.config.mask_decoder_config.hidden_size, 8
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    similarity = torch.rand((1, 1, 1, side**2), generator=generator, dtype=torch.float64)
    return (
        normal(1, 1, 9, width),
        normal(1, width, side, side),
        normal(1, width, side, side),
        similarity,
        normal(width),
    )


def guided_transformer(model, tokens, cells, cells_pe, similarity, target):
    decoder = model.mask_decoder
    with torch.no_grad(), persam_decoding(decoder, with_similarity=True, target_embedding=target):
        return decoder.transformer(
            # The transformer writes into its first argument.
            point_embeddings=tokens.clone(),
            image_embeddings=cells,
            image_positional_embeddings=cells_pe,
            attention_similarity=similarity,
            target_embedding=target,
        )


@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_every_family_is_guided_by_the_authors_formulas_and_no_other_reading(name):
    model = RANDOM_MODELS[name]().double()
    tokens, cells, cells_pe, similarity, target = inputs = transformer_inputs(model)
    ours, our_cells = guided_transformer(model, *inputs)

    def restated(mistake=""):
        flat = (tokens[0, 0], cells[0].flatten(1).T, cells_pe[0].flatten(1).T, similarity[0])
        return RestatedTransformer.of(model, mistake)(*flat, target)

    expected, expected_cells = restated()
    assert relative_difference(ours[0, 0], expected) < 1e-10
    assert relative_difference(our_cells[0, 0], expected_cells) < 1e-10
    for mistake in MISTAKES:
        assert relative_difference(ours[0, 0], restated(mistake)[0]) > 1e-4, mistake


@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_guidance_reaches_every_familys_masks_and_leaves_nothing_behind(name):
    segmenter = Segmenter(RANDOM_MODELS[name]())
    embedding, similarity, target = guided_inputs(segmenter)
    plain = decode(segmenter, embedding, None, None)
    for given in ((similarity, None), (None, target), (similarity, target)):
        guided = decode(segmenter, embedding, *given)
        assert relative_difference(guided.low_res_logits, plain.low_res_logits) > 1e-3
    again = decode(segmenter, embedding, None, None)
    assert torch.equal(again.low_res_logits, plain.low_res_logits)
    assert selected(segmenter.model.mask_decoder) == set()


def test_without_guidance_the_decoder_is_stock_sam_to_the_bit(segmenter):
    embedding, similarity, target = guided_inputs(segmenter)
    decode(segmenter, embedding, similarity, target)
    ours = decode(segmenter, embedding, None, None)
    stock = random_sam()
    with torch.no_grad():
        theirs = stock(
            image_embeddings=embedding.features,
            input_points=to_input(embedding)[None, None],
            input_labels=LABELS[None, None],
        )
    assert torch.equal(ours.low_res_logits, theirs.pred_masks[0, 0])
    assert torch.equal(ours.iou_predictions, theirs.iou_scores[0, 0])


def test_the_target_is_in_every_positional_encoding_and_twice_in_the_last_query(segmenter):
    embedding, _, target = guided_inputs(segmenter)
    transformer = segmenter.model.mask_decoder.transformer
    seen = {}

    def remember(name, key):
        return lambda _module, _args, kwargs: seen.update({name: kwargs[key].clone()})

    def remember_last_queries(_module, _args, output):
        seen["queries"] = output[0]

    handles = [
        transformer.layers[0].register_forward_pre_hook(
            remember("pe0", "query_point_embedding"), with_kwargs=True
        ),
        transformer.layers[1].register_forward_pre_hook(
            remember("pe1", "query_point_embedding"), with_kwargs=True
        ),
        transformer.layers[1].register_forward_hook(remember_last_queries),
    ]
    try:
        decode(segmenter, embedding, None, None)
        prompt = seen["pe1"]
        # The projection inside sees the query as all hooks on the attention left it.
        q_proj = transformer.final_attn_token_to_image.q_proj
        handles.append(q_proj.register_forward_pre_hook(lambda _module, args: seen.update(last=args[0])))
        decode(segmenter, embedding, None, target)
    finally:
        for handle in handles:
            handle.remove()
    torch.testing.assert_close(seen["pe0"], prompt + target)
    torch.testing.assert_close(seen["pe1"], prompt + target)
    torch.testing.assert_close(seen["last"], seen["queries"] + prompt + 2 * target)


def test_guided_weights_are_nearly_even():
    query, key, value = torch.randn(1, 2, 5, 4) * 9, torch.randn(1, 2, 30, 4), torch.randn(1, 2, 30, 4)
    output, weights = guided_attention(torch.nn.Identity(), query, key, value, torch.rand(1, 1, 1, 30), 0.5)
    assert output.shape == (1, 5, 2, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 5))
    assert (weights.amax(-1) / weights.amin(-1)).max() <= math.e**2
    _, even = guided_attention(torch.nn.Identity(), query, key, value, torch.full((1, 1, 1, 30), 0.7), 0.5)
    twice = torch.softmax(torch.softmax(query @ key.transpose(2, 3) / 2, -1), -1)
    torch.testing.assert_close(even, twice)


def selected(decoder):
    transformer = decoder.transformer
    layers = {
        f"{name}{i}": part
        for i, layer in enumerate(transformer.layers)
        for name, part in layer.named_children()
    }
    parts = {**layers, "final": transformer.final_attn_token_to_image}
    return {
        name
        for name, part in parts.items()
        if hasattr(part, "config") and part.config._attn_implementation == GUIDED_ATTENTION
    }


def test_only_the_layers_attention_from_tokens_to_image_is_guided():
    decoder = random_sam().mask_decoder
    with persam_decoding(decoder, with_similarity=True, target_embedding=None):
        assert selected(decoder) == {"cross_attn_token_to_image0", "cross_attn_token_to_image1"}
    assert selected(decoder) == set()


def test_nothing_stays_behind_after_an_error():
    segmenter = Segmenter(random_sam())
    embedding, similarity, target = guided_inputs(segmenter)
    with pytest.raises(RuntimeError):
        decode(segmenter, embedding, similarity, target[:-1])
    decoder = segmenter.model.mask_decoder
    assert selected(decoder) == set()
    assert not decoder.transformer.final_attn_token_to_image._forward_pre_hooks
    assert all(
        layer.cross_attn_token_to_image.config is decoder.config for layer in decoder.transformer.layers
    )
