//! Data, loss, optimizer, checkpoint, evaluation, the training loop.
