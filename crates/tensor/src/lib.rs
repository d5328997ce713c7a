//! Tensors with an optional tape, and the files that hold them.
