"""A CLIP tokenizer with a small vocabulary of its own.

Every word of the toy world's English is one token; any other is spelt.
"""

from collections import Counter
from itertools import pairwise

from transformers import CLIPTokenizer

from persam_dreambooth.toyworld import captions

MAX_TOKENS = 32
START, END = "<|startoftext|>", "<|endoftext|>"
EXTRA_WORDS = (
    "the my this that picture drawing of in on at by near with and under over next to inside big small red "
    "orange yellow green blue purple pink brown black white grey beautiful bright dark sitting standing "
    "photo image toy"
).split()


def byte_symbols() -> list[str]:
    """A printable character for each of the 256 bytes, in CLIP's order ("!" is number 0)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(256 - len(printable))]


def merges_of(words: Counter[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent first, until every word is a single symbol (ASCII words)."""
    split = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(
            pair for word, symbols in split.items() for pair in pairwise(symbols) for _ in range(words[word])
        )
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        split = {word: _merged(symbols, best) for word, symbols in split.items()}


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for symbol in symbols:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def build_tokenizer() -> CLIPTokenizer:
    """The tokenizer; its vocabulary follows from the captions alone."""
    spoken = Counter(word for sentence in captions.sentences(20_000) for word in sentence.split())
    ranks = {word: 2 + len(spoken) - rank for rank, (word, _) in enumerate(spoken.most_common())}
    words = Counter({word: ranks.get(word, 1) for word in (*spoken, *captions.RARE_TOKENS, *EXTRA_WORDS)})
    merges = merges_of(words)
    symbols = byte_symbols()
    pieces = [
        *symbols,
        *(symbol + "</w>" for symbol in symbols),
        *(first + second for first, second in merges),
        START,
        END,
    ]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=MAX_TOKENS,
    )
