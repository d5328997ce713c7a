//! The tiles of AMX: eight registers of at most 16 rows of 64 bytes, in the shapes that a thread
//! gives them.
//!
//! Their instructions have no stable intrinsics, so they are assembly. The compiler does not use
//! tiles: their shape is set while a [`Shaped`] lives, and their contents never outlive a block of
//! assembly.

use crate::cpu::AmxTile;
use std::marker::PhantomData;

/// Tiles of this thread are in use; they are given back to their initial state at the end, or
/// every switch of threads would save 8 KiB.
pub(super) struct Shaped {
    /// Bound to the thread.
    _thread: PhantomData<*const ()>,
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shaped {
    /// Tiles with so many rows of so many bytes, from `tmm0` on.
    ///
    /// # Panics
    ///
    /// If there are more than 8, or one has none or more than 16 rows, or none or more than 64
    /// bytes in a row.
    pub(super) fn new(_: AmxTile, tiles: &[(u8, u16)]) -> Self {
        assert!(tiles.len() <= 8, "{} tiles", tiles.len());
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        for (i, tile) in tiles.iter().enumerate() {
            let fits = (1..=16).contains(&tile.0) && (1..=64).contains(&tile.1);
            assert!(fits, "a tile of {} rows of {} bytes", tile.0, tile.1);
            (rows[i], row_bytes[i]) = *tile;
        }
        let shape = Shape { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows };
        // SAFETY: the token proves that tiles may be used; the shape is 64 bytes that palette 1
        // allows.
        unsafe {
            std::arch::asm!(
                "ldtilecfg [{shape}]",
                shape = in(reg) &raw const shape,
                options(nostack, preserves_flags, readonly),
            );
        }
        Self { _thread: PhantomData }
    }
}

impl Drop for Shaped {
    fn drop(&mut self) {
        // SAFETY: whoever has a `Shaped` may use tiles, and none has contents that are needed.
        unsafe { std::arch::asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
    }
}

/// `$steps` rounds of `$product`, an instruction that multiplies tiles, on four chains of tiles whose
/// 16 lines are `$line`: the limit of a unit. Zeros would take less power, and the clock would be
/// faster than it ever is.
macro_rules! tile_chains {
    ($product:literal, $line:expr, $steps:expr) => {{
        let (lines, steps): (_, usize) = ([$line; 16], $steps);
        if steps > 0 {
            // SAFETY: 16 lines of 64 bytes are read, and tiles are declared as overwritten.
            unsafe {
                std::arch::asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "tileloadd tmm4, [{lines} + {line}]",
                    "tileloadd tmm5, [{lines} + {line}]",
                    "tileloadd tmm6, [{lines} + {line}]",
                    "tileloadd tmm7, [{lines} + {line}]",
                    "2:",
                    concat!($product, " tmm0, tmm4, tmm6"),
                    concat!($product, " tmm1, tmm4, tmm7"),
                    concat!($product, " tmm2, tmm5, tmm6"),
                    concat!($product, " tmm3, tmm5, tmm7"),
                    "dec {steps}",
                    "jnz 2b",
                    lines = in(reg) lines.as_ptr(),
                    line = in(reg) 64usize,
                    steps = inout(reg) steps => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly),
                );
            }
        }
    }};
}

pub(super) use tile_chains;
