//! Operations: each checks shapes, calls its kernel and puts its derivative on the tape.

mod elementwise;
