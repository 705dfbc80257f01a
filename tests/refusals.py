"""For each rule and each documented pass, a graph that looks like its case and is not: nothing may change."""

REFUSALS: dict[str, str] = {
    "fold_constants": """
graph () {
  %0: i64[1] = const [1000000]
  %1: f32[1000000] = ConstantOfShape(%0)
  return %1 as "y"
}""",
    "decompose": """
graph (%x: f32[1,1,4], %w: f32[1,1,2]) {
  %0: f32[1,1,9] = ConvTranspose(%x, %w) {dilations=(2,), strides=(2,)}
  return %0 as "y"
}""",
    "flatten_pixels": """
graph (%x: f32[1,32,5,7], %columns: f32[7]) {
  %w: f32[32,16,1,1] = const @w
  %vectors: f32[1,32,5,7] = Conv(%x, %w) {group=2}
  %one: f32[24,32,1,1] = const @one
  %whole: f32[1,24,5,7] = Conv(%x, %one)
  %few: f32[24,16,1,1] = const @few
  %strided: f32[1,24,3,4] = Conv(%x, %few) {group=2, strides=(2,2)}
  %windows: f32[24,16,1,3] = const @windows
  %wide: f32[1,24,5,5] = Conv(%x, %windows) {group=2}
  %added: f32[1,24,5,7] = Fused(%x, %few, %columns) {
    %conv: f32[1,24,5,7] = Conv(%x, %few) {group=2}
    %0: f32[1,24,5,7] = Add(%conv, %columns)
    yield %0
  }
  return %vectors, %whole, %strided, %wide, %added
}""",
    "fold_shapes": """
graph (%x: f32[batch,seq,4], %s: i64[2]) {
  %0: i64[3] = Shape(%x)
  %1: f32[?0,?1] = Reshape(%x, %s)
  return %0 as "shape", %1 as "y"
}""",
    "share_subexpressions": """
graph (%x: f32[4]) {
  %0: f32[] = const 0.0
  %1: f32[4] = Add(%x, %0)
  %2: f32[] = const -0.0
  %3: f32[4] = Add(%x, %2)
  %4: f32[4] = Sub(%1, %3)
  return %4 as "y"
}""",
    "inline_branch": """
graph (%c: bool[], %x: f32[4]) {
  %0: f32[4] = If(%c, %x) {
    then_branch = (%a: f32[4]) {
      %1: f32[4] = Neg(%a)
      yield %1
    }
    else_branch = (%a~2: f32[4]) {
      yield %a~2
    }
  }
  return %0 as "y"
}""",
    "constant_last": """
graph (%x: f32[2]) {
  %c: f32[2] = const [1.0, 2.0]
  %0: f32[2] = Div(%c, %x)
  %d: f32[2] = const [1.0, 2.0]
  %1: f32[2] = Add(%0, %d)
  return %1 as "y"
}""",
    "add_negative": """
graph (%x: u8[2]) {
  %c: u8[2] = const [1, 2]
  %0: u8[2] = Sub(%x, %c)
  return %0 as "y"
}""",
    "drop_cast": """
graph (%x: f32[2]) {
  %0: f64[2] = Cast(%x) {to=f64}
  return %0 as "y"
}""",
    "drop_identity": """
graph (%x: f32[2]) {
  %0: f32[2] = Neg(%x)
  return %0 as "y"
}""",
    "drop_twice": """
graph (%x: f32[2]) {
  %0: f32[2] = Neg(%x)
  %1: f32[2] = Neg(%0)
  return %0 as "once", %1 as "twice"
}""",
    "once": """
graph (%x: f32[2]) {
  %0: f32[2] = Relu(%x)
  %1: f32[2] = Relu(%0)
  %2: f32[2] = Add(%0, %1)
  %3: f32[2] = Abs(%2)
  %4: f32[2] = Sign(%3)
  return %4 as "y"
}""",
    "clip_once": """
graph (%x: f32[2], %low: f32[]) {
  %0: f32[2] = Clip(%x, %low)
  %1: f32[] = const 6.0
  %2: f32[2] = Clip(%0, _, %1)
  return %2 as "y"
}""",
    "drop_dropout": """
graph (%x: f32[2], %training: bool[]) {
  %0: f32[2], %0#1: bool[2] = Dropout(%x) {outputs=2}
  %1: f32[2] = Where(%0#1, %0, %x)
  %2: f32[] = const 0.5
  %3: f32[2] = Dropout(%1, %2, %training)
  return %3 as "y"
}""",
    "drop_neutral": """
graph (%x: f32[2]) {
  %0: f32[] = const 0.0
  %1: f32[2] = Add(%x, %0)
  %2: f32[2,1] = const [[1.0], [1.0]]
  %3: f32[2,2] = Mul(%1, %2)
  return %3 as "y"
}""",
    "drop_pad": """
graph (%x: f32[2]) {
  %0: i64[2] = const [0, 1]
  %1: f32[3] = Pad(%x, %0)
  return %1 as "y"
}""",
    "drop_slice": """
graph (%x: f32[2]) {
  %0: i64[1] = const [-1]
  %1: i64[1] = const [-9]
  %2: i64[1] = const [0]
  %3: i64[1] = const [-1]
  %4: f32[2] = Slice(%x, %0, %1, %2, %3)
  return %4 as "y"
}""",
    "drop_single": """
graph (%x: f32[2]) {
  %0: f32[4] = Concat(%x, %x) {axis=0}
  return %0 as "y"
}""",
    "drop_expand": """
graph (%x: f32[1,3]) {
  %0: i64[2] = const [2, 1]
  %1: f32[2,3] = Expand(%x, %0)
  return %1 as "y"
}""",
    "drop_tile": """
graph (%x: f32[1,3]) {
  %0: i64[2] = const [2, 1]
  %1: f32[2,3] = Tile(%x, %0)
  return %1 as "y"
}""",
    "drop_view": """
graph (%x: f32[n,4]) {
  %0: f32[1,4*n] = Flatten(%x) {axis=0}
  return %0 as "y"
}""",
    "merge_views": """
graph (%x: f32[n,m,4]) {
  %0: i64[1] = const [0]
  %1: f32[1,n,m,4] = Unsqueeze(%x, %0)
  %2: i64[1] = const [1]
  %3: f32[1,1,n,m,4] = Unsqueeze(%1, %2)
  return %3 as "y"
}""",
    "transpose_of_ones": """
graph (%x: f32[n,1,3]) {
  %0: f32[3,1,n] = Transpose(%x)
  return %0 as "y"
}""",
    "drop_transpose": """
graph (%x: f32[2,2]) {
  %0: f32[2,2] = Transpose(%x)
  return %0 as "y"
}""",
    "merge_transpose": """
graph (%x: f32[2,3,4]) {
  %0: f32[3,4,2] = Transpose(%x) {perm=(1,2,0)}
  %1: f32[3,4,2] = Neg(%0)
  %2: f32[3,2,4] = Transpose(%1) {perm=(0,2,1)}
  return %2 as "y"
}""",
    "batch_norm_after": """
graph (%x: f32[1,3,8,8], %w: f32[4,3,3,3]) {
  %0: f32[1,4,6,6] = Conv(%x, %w)
  %v: f32[4] = const @v
  %1: f32[1,4,6,6] = BatchNormalization(%0, %v, %v, %v, %v)
  %u: f32[4,3,3,3] = const @u
  %2: f32[1,4,6,6] = Conv(%x, %u)
  %3: f32[1,4,6,6] = BatchNormalization(%2, %v, %v, %v, %v)
  %4: f32[1,4,6,6] = Conv(%x, %u)
  %5: f32[1,4,6,6] = Add(%3, %4)
  return %1 as "y", %5 as "z"
}""",
    "batch_norm_before": """
graph (%x: f32[1,4,8,8]) {
  %v: f32[4] = const @v
  %0: f32[1,4,8,8] = BatchNormalization(%x, %v, %v, %v, %v)
  %w: f32[4,4,3,3] = const @w
  %1: f32[1,4,8,8] = Conv(%0, %w) {pads=(1,1,1,1)}
  return %1 as "y"
}""",
    "batch_norm_after_left": """
graph (%x: f32[3,4]) {
  %w: f32[4,3] = const @w
  %0: f32[4,4] = MatMul(%w, %x)
  %v: f32[4] = const @v
  %1: f32[4,4] = BatchNormalization(%0, %v, %v, %v, %v)
  return %1 as "y"
}""",
    "batch_norm_before_left": """
graph (%x: f32[2,3,4,8]) {
  %w: f32[3,4] = const @w
  %v: f32[3] = const @v
  %0: f32[2,3,4,8] = BatchNormalization(%x, %v, %v, %v, %v)
  %1: f32[2,3,3,8] = MatMul(%w, %0)
  return %1 as "y"
}""",
    "scale_after_left": """
graph (%x: f32[2,3,4]) {
  %w: f32[4,3] = const @w
  %0: f32[2,4,4] = MatMul(%w, %x)
  %k: f32[4] = const @k
  %1: f32[2,4,4] = Mul(%0, %k)
  return %1 as "y"
}""",
    "scale_before_left": """
graph (%x: f32[2,3,3]) {
  %w: f32[2,4,3] = const @w
  %k: f32[3,1] = const @k
  %0: f32[2,3,3] = Mul(%x, %k)
  %1: f32[2,4,3] = MatMul(%w, %0)
  return %1 as "y"
}""",
    "scale_after": """
graph (%x: f32[1,3,8,8]) {
  %w: f32[4,3,3,3] = const @w
  %0: f32[1,4,6,6] = Conv(%x, %w)
  %k: f32[6] = const @k
  %1: f32[1,4,6,6] = Mul(%0, %k)
  return %1 as "y"
}""",
    "offset_after": """
graph (%x: f32[1,3,8,8]) {
  %w: f32[4,3,3,3] = const @w
  %0: f32[1,4,6,6] = Conv(%x, %w)
  %c: f32[2,1,1,1] = const @c
  %1: f32[2,4,6,6] = Add(%0, %c)
  return %1 as "y"
}""",
    "scale_before": """
graph (%x: f32[1,3,8,8]) {
  %k: f32[3,1,1] = const @k
  %0: f32[1,3,8,8] = Mul(%x, %k)
  %w: f32[4,3,3,3] = const @w
  %1: f32[1,4,6,6] = Conv(%0, %w)
  %2: f32[1,4,6,6] = Conv(%x, %w)
  %3: f32[1,4,6,6] = Sub(%1, %2)
  return %3 as "y"
}""",
    "offset_before": """
graph (%x: f32[1,3,8,8]) {
  %c: f32[3,1,1] = const @c
  %0: f32[1,3,8,8] = Add(%x, %c)
  %w: f32[4,3,3,3] = const @w
  %1: f32[1,4,8,8] = Conv(%0, %w) {auto_pad="SAME_UPPER"}
  return %1 as "y"
}""",
    "add_to_product": """
graph (%x: f32[1,4], %c: f32[5,3]) {
  %w: f32[4,3] = const @w
  %0: f32[1,3] = MatMul(%x, %w)
  %1: f32[5,3] = Add(%0, %c)
  return %1 as "y"
}""",
    "transpose_left": """
graph (%x: f32[4,4]) {
  %0: f32[4,4] = Transpose(%x) {perm=(0,1)}
  %w: f32[4,3] = const @w
  %1: f32[4,3] = Gemm(%0, %w)
  return %1 as "y"
}""",
    "transpose_right": """
graph (%x: f32[4,4], %w: f32[4,4]) {
  %0: f32[4,4] = Transpose(%w)
  %1: f32[4,4] = Gemm(%x, %0)
  %2: f32[4,4] = Add(%1, %0)
  return %2 as "y"
}""",
    "pad_into_conv": """
graph (%x: f32[1,3,8,8]) {
  %0: i64[8] = const [0, 0, 1, 1, 0, 0, 1, 1]
  %1: f32[] = const 1.0
  %2: f32[1,3,10,10] = Pad(%x, %0, %1)
  %w: f32[4,3,3,3] = const @w
  %3: f32[1,4,8,8] = Conv(%2, %w)
  return %3 as "y"
}""",
    "pad_into_average": """
graph (%x: f32[1,3,8,8]) {
  %0: i64[8] = const [0, 0, 1, 1, 0, 0, 1, 1]
  %1: f32[1,3,10,10] = Pad(%x, %0)
  %2: f32[1,3,10,10] = AveragePool(%1) {kernel_shape=(3,3), pads=(1,1,1,1)}
  return %2 as "y"
}""",
    "pad_into_max": """
graph (%x: f32[1,3,8,8]) {
  %0: i64[8] = const [0, 0, 1, 1, 0, 0, 1, 1]
  %1: f32[1,3,10,10] = Pad(%x, %0)
  %2: f32[1,3,8,8] = MaxPool(%1) {kernel_shape=(3,3)}
  return %2 as "y"
}""",
    "fuse": """
graph (%x: f32[1,3,8,8]) {
  %w: f32[4,3,3,3] = const @w
  %0: f32[1,4,6,6] = Conv(%x, %w)
  %1: f32[1,4,1,1] = GlobalAveragePool(%0)
  %2: f32[1,4,6,6] = Sub(%0, %1)
  return %2 as "y"
}""",
    "counted_loop": """
graph (%c: bool[], %n: i64[], %x: f32[2]) {
  %0: i64[] = const 0
  %1: i64[], %1#1: f32[2] = Loop(_, %c, %0, %x, %n) {
    captured=1
    body = (%i: i64[], %going: bool[], %k: i64[], %a: f32[2], %m: i64[]) {
      %2: i64[] = const 1
      %3: i64[] = Add(%k, %2)
      %4: bool[] = Less(%3, %m)
      %5: f32[2] = Add(%a, %a)
      yield %4, %3, %5
    }
  }
  return %1#1 as "y"
}""",
    "stack_sequences": """
graph (%x: f32[2]) {
  %0: i64[] = const 3
  %1: seq(f32[...]) = SequenceEmpty()
  %2: seq(f32[...]) = Loop(%0, _, %1, %x) {
    captured=1
    body = (%i: i64[], %going: bool[], %s: seq(f32[...]), %a: f32[2]) {
      %3: seq(f32[...]) = SequenceInsert(%s, %a)
      yield %going, %3
    }
  }
  %4: f32[...] = ConcatFromSequence(%2) {axis=0}
  %5: i64[] = SequenceLength(%2)
  return %4 as "y", %5 as "length"
}""",
}
