//! Model architectures: config, weights, caches, forward.
