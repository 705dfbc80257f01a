"""graphc: a graph compiler and inference runtime for neural networks."""
