"""The pipelines O0, O1 and O2: one list each, one reason for each pass."""

from __future__ import annotations

from collections.abc import Callable

from graphc.frozen import Frozen
from graphc.ir import Graph
from graphc.passes.canonicalize import canonicalize
from graphc.passes.count_trips import count_trips
from graphc.passes.eliminate import eliminate
from graphc.passes.fold_affine import fold_affine
from graphc.passes.fold_batch_norm import fold_batch_norm
from graphc.passes.fold_constants import fold_constants
from graphc.passes.fold_pad import fold_pad
from graphc.passes.fold_shapes import fold_shapes
from graphc.passes.form_gemm import form_gemm
from graphc.passes.fuse import fuse
from graphc.passes.inline_branches import inline_branches
from graphc.passes.merge_reshapes import merge_reshapes
from graphc.passes.merge_transposes import merge_transposes
from graphc.passes.share_subexpressions import share_subexpressions
from graphc.passes.stack_sequences import stack_sequences

Pass = Callable[[Graph], Graph]


class Step(Frozen):
    """One pass of a pipeline and the reason why it stands there."""

    run: Pass
    reason: str


O0: tuple[Step, ...] = ()

O1: tuple[Step, ...] = (
    Step(
        fold_shapes, "exported models compute shapes that inference knows; as constants they open the way for the rest"
    ),
    Step(fold_constants, "rules look at constants, not at what computes them"),
    Step(inline_branches, "a condition that was folded decides its If; what it holds is then seen by all passes"),
    Step(count_trips, "how often a loop runs, and the shapes that follow from it, is then known before it runs"),
    Step(stack_sequences, "compiled backends have tensors, no sequences"),
    Step(eliminate, "no-ops stand between the nodes that later rules want side by side"),
    Step(merge_transposes, "inverse transposes cancel"),
    Step(merge_reshapes, "also the transposes that are reshapes"),
    Step(canonicalize, "constants on the right: the rules below are written for that side only"),
    Step(form_gemm, "a bias inside Gemm takes part in the folds below"),
    Step(fold_pad, "a convolution with padding of its own is one node less"),
    Step(fold_affine, "a bias added after a convolution stands between it and its batch normalisation"),
    Step(fold_batch_norm, "an affine function of channels is free inside a convolution or product"),
    Step(fold_affine, "and so is what stood behind the batch normalisation"),
    Step(fold_constants, "the rules above wrote their constants as graph code"),
    Step(share_subexpressions, "last, since the passes before make equal nodes"),
)

O2: tuple[Step, ...] = (
    *O1,
    Step(fuse, "element-wise nodes cost a trip through memory each; after all folding, which matches single nodes"),
)

PIPELINES: dict[int, tuple[Step, ...]] = {0: O0, 1: O1, 2: O2}
