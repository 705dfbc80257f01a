"""Code generation: loop nests to LLVM IR to machine code. The only importer of llvmlite."""
