"""Topics of texts, learned from the baseline: what a text is about, and how many of its words are new.

A topic is a list of words with weights, found by non-negative matrix factorisation of the texts' TF-IDF (Lee & Seung
1999, Learning the parts of objects by non-negative matrix factorization): texts x words is about texts x topics times
topics x words. A text's topic is the one whose words it shares most, by the cosine of the angle between them:

    argmax over k of sum over words w of the text of  idf_w h_kw / |h_k|

Each word adds the same to each topic wherever it stands, so a batch costs one sparse product and no solver. Topics were
chosen over the axes of a singular value decomposition (Deerwester 1990): a shift of one topic moves one share instead
of a little of every axis, and three words name it. On CLINC150, learned from 4,000 rows, the psi of 500 rows (less what
sampling gives) is .005 while nothing changes and .06 while one of ten domains has 2.5 times its share, where the true
domains show .16; each of the first three axes shows .00 to .02.
"""

import base64
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from monitors.columns.bins import BinArray, Float32Array
from monitors.columns.derived import Derived
from monitors.columns.texts import Words, blocks, split, vocabulary
from monitors.columns.values import plain
from monitors.readings import IntArray

VOCABULARY = 20_000
NONE = "none"
"""The category of texts that share no word with any topic."""
_TOPICS = 8
_TEXTS_PER_TOPIC = 100
_WORDS_PER_TOPIC = 10
_TOPIC_WORDS = 5_000
_SAMPLE = 20_000
_MOST_COMMON = 0.1
"""Words in more of the texts than this are the corpus's own stop words: they carry no topic."""
_NAMED_BY = 3
_LONGEST_NAME = 20


@dataclass(frozen=True, eq=False)
class Topics:
    """The baseline's vocabulary, the commonest word first, and the weights of its first words [W, K] in K topics.

    The first `shared` words stand in several texts of the baseline. `names` are the topics' heaviest words; there are
    no topics where the baseline holds too few texts.
    """

    words: tuple[str, ...]
    shared: int
    names: tuple[str, ...]
    weights: Float32Array

    @property
    def categories(self) -> tuple[str, ...]:
        """The values of the topic column, in the order of its codes."""
        return (*self.names, NONE)

    @cached_property
    def _vocabulary(self) -> pa.Array:
        return pa.array(self.words, pa.string())

    def elsewhere(self) -> "Topics":
        """The topics as they read the baseline's own texts: a word is known by the other texts that use it."""
        return replace(self, words=self.words[: self.shared])

    def read(self, column: pa.ChunkedArray) -> Derived:
        """`length` in characters, the share of `unseen_words`, and the `topic` of each text.

        A text of spaces is missing. How to read them: the share of unseen words rises with another language, jargon or
        noise, topics move with what people ask for, the length with templates and cut texts.
        """
        try:
            texts = pc.utf8_trim_whitespace(_as_texts(column))
        except pa.ArrowException:  # lists, bytes that are no text
            missing = np.asarray(column.is_null().to_numpy(), dtype=bool)
            nothing = np.zeros(len(column), dtype=np.float32)
            numbers = {"length": nothing, "unseen_words": nothing}
            return Derived(missing, ~missing, numbers, {"topic": np.zeros(len(column), dtype=np.intp)})
        length = np.asarray(pc.fill_null(pc.utf8_length(texts), 0).to_numpy(), dtype=np.float32)
        parts = [self._read_block(block) for block in blocks(texts)] or [(length, np.zeros(0, dtype=np.intp))]
        unseen, topic = (np.concatenate(each) for each in zip(*parts, strict=True))
        nowhere = np.zeros(len(length), dtype=bool)
        return Derived(length == 0, nowhere, {"length": length, "unseen_words": unseen}, {"topic": topic})

    def _read_block(self, texts: pa.Array) -> tuple[Float32Array, BinArray]:
        found = split(texts)
        places = found.places(self._vocabulary)
        new = np.concatenate([[0], np.cumsum(places < 0)])
        total = np.diff(found.offsets)
        unseen = np.diff(new[found.offsets]) / np.maximum(total, 1)
        scores = _counts(places, found.offsets, len(self.weights)) @ self.weights
        topic = scores.argmax(axis=1) if self.names else np.zeros(len(texts), dtype=np.intp)
        if self.names:
            topic[scores.max(axis=1) <= 0] = len(self.names)
        return unseen.astype(np.float32), topic.astype(np.intp)

    def to_plain(self) -> dict[str, Any]:
        data = base64.b64encode(np.ascontiguousarray(self.weights, dtype="<f4").tobytes()).decode()
        return {"words": self.words, "shared": self.shared, "names": self.names, "weights": data}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "Topics":
        """The topics that `to_plain` gave."""
        weights = np.frombuffer(base64.b64decode(data["weights"]), dtype="<f4")
        names = tuple(data["names"])
        return cls(
            tuple(data["words"]), int(data["shared"]), names, weights.reshape(-1, len(names) or 1).astype(np.float32)
        )


def learn_topics(column: pa.ChunkedArray) -> Topics:
    """Vocabulary and topics of the baseline's texts: of 20,000 of them, evenly spread, and their 5,000 first words.

    The same texts give the same topics.
    """
    texts = pc.utf8_trim_whitespace(pc.drop_null(_as_texts(column)))
    texts = texts.filter(pc.greater(pc.utf8_length(texts), 0))
    counts = vocabulary(texts, VOCABULARY)
    words, shared = tuple(counts), sum(n > 1 for n in counts.values())
    sample = texts.take(np.unique(np.linspace(0, max(len(texts) - 1, 0), min(len(texts), _SAMPLE)).astype(np.int64)))
    matrix, idf = _tfidf(list(map(split, blocks(sample))), words[: min(_TOPIC_WORDS, shared)])
    count = min(_TOPICS, matrix.shape[0] // _TEXTS_PER_TOPIC, int((idf > 0).sum()) // _WORDS_PER_TOPIC)
    if count <= 1:
        return Topics(words, shared, (), np.zeros((0, 1), dtype=np.float32))
    parts = _factors(matrix, count)
    weights = (parts / np.linalg.norm(parts, axis=1, keepdims=True)).T * idf[:, None]
    return Topics(words, shared, _names(words, weights), weights.astype(np.float32))


def _as_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(plain(column), pa.string())


def _counts(places: IntArray, offsets: IntArray, width: int) -> Any:  # noqa: ANN401  scipy ships no types
    """Texts x words: how often each text uses each of the first `width` words."""
    kept = (places >= 0) & (places < width)
    before = np.concatenate([[0], np.cumsum(kept)])
    ones = np.ones(int(before[-1]), dtype=np.float32)
    return sparse.csr_matrix((ones, places[kept], before[offsets]), shape=(len(offsets) - 1, width))


def _tfidf(texts: list[Words], words: tuple[str, ...]) -> tuple[Any, Float32Array]:
    """Rows of length one, of the texts that use a word of some weight; and the weight of each word, ln(n / used)."""
    known = pa.array(words, pa.string())
    counts = [_counts(found.places(known), found.offsets, len(words)) for found in texts]
    matrix = sparse.vstack(counts, format="csr") if counts else sparse.csr_matrix((0, len(words)), dtype=np.float32)
    matrix.sum_duplicates()
    used = np.maximum(np.bincount(matrix.indices, minlength=len(words)), 1)
    is_rare = used <= _MOST_COMMON * matrix.shape[0]
    idf = np.where(is_rare, np.log(max(matrix.shape[0], 1) / used), 0).astype(np.float32)
    matrix = matrix @ sparse.diags(idf)
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return (sparse.diags(1 / lengths[lengths > 0]) @ matrix[lengths > 0]).tocsr(), idf


def _factors(matrix: Any, count: int) -> Float32Array:  # noqa: ANN401  scipy ships no types
    """Topics x words; topics that came out empty are left out."""
    from sklearn.decomposition import NMF  # noqa: PLC0415  it takes a second to import
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415  same
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # noqa: PLC0415  as sklearn

    # The sums of one thread do not depend on how many there are.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly there is a topic too
        parts = NMF(count, init="nndsvda", random_state=0, max_iter=200, tol=1e-3).fit(matrix).components_
    return np.asarray(parts[parts.sum(axis=1) > 0], dtype=np.float32)


def _names(words: tuple[str, ...], weights: Float32Array) -> tuple[str, ...]:
    names: list[str] = []
    for column in weights.T:
        heaviest = np.argsort(-column, kind="stable")[:_NAMED_BY]
        name = "/".join(words[place][:_LONGEST_NAME] for place in heaviest)
        names.append(name if name not in names else f"{name} {len(names)}")
    return tuple(names)
