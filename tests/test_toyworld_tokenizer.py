"""The toy world's tokenizer: its English word by word, everything else spelt."""

import pytest
from transformers import CLIPTokenizer

from persam_dreambooth.toyworld import captions
from persam_dreambooth.toyworld.training.tokenizer import EXTRA_WORDS, MAX_TOKENS, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_every_word_of_the_toy_worlds_english_is_one_token(tokenizer):
    # Captions that the tokenizer was not built from.
    spoken = {word for text in captions.sentences(3000, seed=1) for word in text.split()}
    words = sorted({*spoken, *captions.RARE_TOKENS, *EXTRA_WORDS})
    ids = tokenizer(words).input_ids
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert [(word, len(row)) for word, row in zip(words, ids, strict=True) if len(row) != 3] == []
    assert all((row[0], row[2]) == (start, end) for row in ids)
    assert len({row[1] for row in ids}) == len(words)


def test_captions_fit_and_other_words_are_spelt(tokenizer):
    rows = tokenizer(captions.sentences(300, seed=2)).input_ids
    assert max(map(len, rows)) <= MAX_TOKENS
    odd = tokenizer("zebra façade").input_ids
    assert len(odd) > 4
    assert tokenizer.unk_token_id not in odd[1:-1]
    assert tokenizer.decode(odd, skip_special_tokens=True).strip() == "zebra façade"


def test_the_tokenizer_survives_a_round_trip_through_its_folder(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert again.model_max_length == MAX_TOKENS
    texts = [*captions.sentences(20, seed=3), "an unheard-of gryphon", ""]
    padded = {"padding": "max_length", "max_length": MAX_TOKENS}
    assert again(texts, **padded).input_ids == tokenizer(texts, **padded).input_ids
