"""Texts as words, a block of rows at a time, without a python object for each word."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.readings import IntArray

MOST_CHARACTERS = 20_000
"""Words are read from so many characters of a text; its length counts all of them."""
_ROWS_AT_ONCE = 10_000
_BETWEEN_WORDS = r"[^\pL\pN\pM_]+"
_WITHOUT_SPACES = r"([\p{Han}\p{Hiragana}\p{Katakana}])"


@dataclass(frozen=True, eq=False)
class Words:
    """The words of n texts in lower case: text i has `words[offsets[i]:offsets[i + 1]]`."""

    words: pa.Array
    offsets: IntArray

    def places(self, vocabulary: pa.Array) -> IntArray:
        """The place of each word in a vocabulary, -1 where it is not in it."""
        found = pc.fill_null(pc.index_in(self.words, value_set=vocabulary), -1)
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)


def split(texts: pa.Array) -> Words:
    """The words of texts without nulls. Chinese and Japanese write no spaces: each of their signs is a word.

    >>> found = split(pa.array(["I'm late!", "", "返品 OK"]))
    >>> found.words.to_pylist(), found.offsets.tolist()
    (['i', 'm', 'late', '返', '品', 'ok'], [0, 3, 3, 6])
    """
    if (pc.max(pc.binary_length(texts)).as_py() or 0) > MOST_CHARACTERS:
        texts = pc.utf8_slice_codeunits(texts, 0, MOST_CHARACTERS)
    texts = pc.utf8_lower(texts)
    if not pc.all(pc.string_is_ascii(texts)).as_py():
        texts = pc.replace_substring_regex(texts, _WITHOUT_SPACES, r" \1 ")
    pieces = pc.split_pattern_regex(texts, _BETWEEN_WORDS)
    words, offsets = pieces.flatten(), pieces.offsets.to_numpy().astype(np.int64)
    # A text that begins or ends between words has an empty piece there.
    is_word = pc.greater(pc.binary_length(words), 0).to_numpy(zero_copy_only=False)
    before = np.concatenate([[0], np.cumsum(is_word)])
    return Words(words.filter(pa.array(is_word)), before[offsets - offsets[0]])


def blocks(texts: pa.ChunkedArray) -> Iterator[pa.Array]:
    """The texts in blocks of bounded size, nulls as empty texts."""
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        yield pc.fill_null(texts.slice(start, _ROWS_AT_ONCE), "").combine_chunks()


def vocabulary(texts: pa.ChunkedArray, most: int) -> dict[str, int]:
    """The words that most texts use, and how many texts that are; the commonest first."""
    counts: Counter[str] = Counter()
    for block in blocks(texts):
        found = split(block)
        encoded = found.words.dictionary_encode()
        words = encoded.dictionary.to_pylist()
        row = np.repeat(np.arange(len(block)), np.diff(found.offsets))
        places = np.unique(row * max(len(words), 1) + encoded.indices.to_numpy()) % max(len(words), 1)
        counts.update(dict(zip(words, np.bincount(places, minlength=len(words)).tolist(), strict=True)))
    often = sorted(counts, key=lambda word: (-counts[word], word))[:most]
    return {word: counts[word] for word in often}
