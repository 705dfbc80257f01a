"""onnxruntime's tokeniser."""

from __future__ import annotations

import numpy as np
from conformance import Case

from graphc.ops.tokenizer import Tokenizer

TEXTS = np.array(["abc de, 1", "", "é x_y", "f"], object)
BLANK = np.array(["", "  "], object)


def case(id, x=TEXTS, **attributes):
    return Case(Tokenizer(**{"mincharnum": 1, "pad_value": "#", "mark": False, **attributes}), [x], id=id)


CASES = [
    case("separator", separators=(" ",)),
    case("separators", separators=("[ _]", ","), x=TEXTS.reshape(2, 2)),
    case("separator-mark", separators=(" ",), mark=True),
    case("separator-minimum", separators=(" ",), mincharnum=2),
    case("expression", tokenexp="[a-z]+"),
    case("expression-mark-minimum", tokenexp="[a-z]+", mark=True, mincharnum=2, x=TEXTS.reshape(2, 2)),
    case("longest", tokenexp="a|ab|[a-z]"),
    case("empty-matches", tokenexp="[a-z]*"),
    case("unicode", tokenexp=r"\\pL+"),
    case("characters", tokenexp="."),
    case("characters-mark", separators=("",), mark=True),
    case("no-token", separators=(" ",), mark=True, x=BLANK),
    case("no-character", tokenexp=".", mark=True, x=BLANK[:1]),
    Case(Tokenizer(1, "#", True, tokenexp="a"), [BLANK[:0]], id="no-text", oracle=lambda x: np.empty((0, 0), object)),
]
