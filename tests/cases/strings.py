"""Strings and n-grams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from conformance import Case

from graphc.ops import strings as op

R = "reference"


def strings(*texts: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    return np.array(texts, object).reshape(shape if shape is not None else (len(texts),))


words = strings("Monday", "tuesday", "WEDNESDAY", "thursday", "Äpfel", "tuesday")
stops = ("monday", "Tuesday", "tuesday")
NOTHING = strings(shape=(0,))
tokens = np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]], np.int64)
UNIGRAMS_AND_BIGRAMS = op.TfIdfVectorizer(
    max_gram_length=2,
    max_skip_count=5,
    min_gram_length=1,
    mode="TF",
    ngram_counts=(0, 4),
    ngram_indexes=(0, 1, 2, 3, 4, 5, 6),
    pool_int64s=(2, 3, 5, 4, 5, 6, 7, 8, 6, 7),
)
TRIGRAMS = op.TfIdfVectorizer(
    max_gram_length=3,
    max_skip_count=1,
    min_gram_length=1,
    mode="TF",
    ngram_counts=(0, 2, 4),
    ngram_indexes=(4, 0, 2, 3),
    pool_strings=("a", "b", "a", "b", "a", "b", "a"),
)
letters = strings(*"abaabbabab", shape=(2, 5))
WEIGHTS = (0.5, 2.0, 3.0, 0.25, 1.5, 4.0, 7.0)

PATTERNS = {
    "literal": "hello",
    "empty": "",
    "domain": r"(\W|^)[\w.\-]{0,25}@(yahoo|gmail)\.com(\W|$)",
    "alternation": "hel+o|x?y*|",
    "class": "[^a-g]*[[:digit:]]?",
    "escapes": r"\Qa.b\E|\x61\.\x{62}|\pL+",
    "flags": "(?i)HELLO(?s:.)?",
    "hostile": "(a*)*(a|a)*(a?){20}b",
}
EXPECTED = {
    "literal": [1, 0, 0, 0, 0, 0, 0],
    "empty": [0, 0, 0, 1, 0, 0, 0],
    "domain": [0, 0, 1, 0, 0, 0, 0],
    "alternation": [1, 0, 0, 1, 0, 0, 0],
    "class": [0, 1, 0, 1, 1, 0, 0],
    "escapes": [1, 0, 0, 0, 0, 1, 1],
    "flags": [1, 1, 0, 0, 0, 0, 0],
    "hostile": [0, 0, 0, 0, 0, 0, 0],
}
subjects = strings("hello", "HELLO\n", "account@gmail.com", "", "ü7", "a.b", "a" * 5000)

CASES = [
    # strings
    *(
        Case(op.StringConcat(), [a, b], oracle, id)
        for id, a, b, oracle in (
            ("plain", strings("ab", "ü"), strings("c", "日"), R),
            ("broadcast", strings("a", "b", shape=(2, 1)), strings("x", "", "z"), R),
            ("0-d", strings("a", shape=()), strings("b", shape=()), lambda a, b: strings("ab", shape=())),
            ("empty", strings(shape=(0, 2)), strings("a", "b"), lambda a, b: a),
        )
    ),
    *(
        Case(op.StringSplit(**fields), [x], R, id)
        for id, fields, x in (
            ("space", {}, strings("a b", "  c d  e ", "", "f")),
            ("delimiter", {"delimiter": "--"}, strings("a--b----c", "", "x", "--", shape=(2, 2))),
            ("empty-delimiter", {"delimiter": ""}, strings("hello world !", "a")),
            ("maxsplit", {"delimiter": "o", "maxsplit": 1}, strings("foo boo", "none", shape=(1, 2))),
            ("maxsplit-space", {"maxsplit": 2}, strings("a b  c   d", "x y")),
            ("nothing", {"delimiter": ","}, strings(shape=(3, 0))),
        )
    ),
    Case(op.StringSplit(), [strings("a b", shape=())],
         lambda x: (strings("a", "b"), np.array(2)), "0-d"),
    *(
        Case(op.StringNormalizer(stopwords=words_out, case_change_action=case, is_case_sensitive=sensitive),
             [words.reshape(shape)], lambda x, kept=kept, shape=shape: strings(*kept.split(), shape=shape),
             f"{case}-{sensitive}-{words_out is not None}-{len(shape)}d")
        for words_out, case, sensitive, shape, kept in (
            (None, "NONE", False, (-1,), "Monday tuesday WEDNESDAY thursday Äpfel tuesday"),
            (None, "UPPER", False, (1, -1), "MONDAY TUESDAY WEDNESDAY THURSDAY ÄPFEL TUESDAY"),
            (stops, "LOWER", True, (-1,), "monday wednesday thursday äpfel"),
            (stops, "NONE", True, (1, -1), "Monday WEDNESDAY thursday Äpfel"),
            (stops, "UPPER", True, (-1,), "MONDAY WEDNESDAY THURSDAY ÄPFEL"),
            (("x",), "LOWER", False, (-1,), "monday tuesday wednesday thursday äpfel tuesday"),
        )
    ),
    Case(op.StringNormalizer(stopwords=stops), [words], lambda x: strings("WEDNESDAY", "thursday", "Äpfel"), "folded"),
    Case(op.StringNormalizer(stopwords=stops), [words[:2].reshape(1, 2)], lambda x: strings("", shape=(1, 1)),
         "none-2d"),
    Case(op.StringNormalizer(stopwords=stops), [words[:2]], lambda x: strings(""), "none"),
    Case(op.StringNormalizer(), [NOTHING], lambda x: strings(""), "nothing"),
    # patterns
    *(
        Case(op.RegexFullMatch(pattern), [subjects], lambda x, id=id: np.array(EXPECTED[id], bool), id)
        for id, pattern in PATTERNS.items()
    ),
    Case(op.RegexFullMatch("a+"), [strings("aa", shape=())], lambda x: np.array(True), "0-d"),
    Case(op.RegexFullMatch("a+"), [strings(shape=(0, 2))], lambda x: np.zeros((0, 2), bool), "nothing"),
    Case(op.RegexFullMatch(r"www\.[\w.-]+\.\bcom\b"), [strings("www.google.com", "www.a.bcom", shape=(2, 1))], R,
         "reference"),
    # n-grams
    *(
        Case(replace(UNIGRAMS_AND_BIGRAMS, mode=mode, weights=weights, max_skip_count=skips, min_gram_length=least),
             [x], "onnxruntime", f"{mode}-{weights is not None}-{skips}-{least}-{x.ndim}d-{x.dtype}")
        for mode, weights in (("TF", None), ("TF", WEIGHTS), ("IDF", None), ("IDF", WEIGHTS), ("TFIDF", WEIGHTS))
        for skips, least, x in ((0, 1, tokens), (5, 1, tokens[1]), (2, 2, tokens.astype(np.int32)))
    ),
    Case(TRIGRAMS, [letters], "onnxruntime", "trigrams"),
    Case(TRIGRAMS, [letters[0]], "onnxruntime", "trigrams-1d"),
    Case(replace(TRIGRAMS, min_gram_length=3), [letters], "onnxruntime", "only-trigrams"),
    *(Case(replace(TRIGRAMS, mode=mode, weights=WEIGHTS[:4]), [letters], "onnxruntime", f"trigrams-{mode}")
      for mode in ("IDF", "TFIDF")),
    Case(TRIGRAMS, [NOTHING], lambda x: np.zeros(5, np.float32), "nothing"),
]  # fmt: skip
