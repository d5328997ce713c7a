//! Sequences to steps to tokens: a state machine around one call.
