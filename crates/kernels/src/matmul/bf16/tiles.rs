//! The unit of AMX: tiles of 16 rows of 64 bytes, `C += A B` with 16 x 16 sums of 32 products.
//!
//! ```text
//! tmm0 tmm1      tmm4        sums of 32 rows and 32 columns, two tiles of A,
//! tmm2 tmm3      tmm5        tmm6 tmm7: two of B
//! ```
//!
//! The instructions have no stable intrinsics, so they are assembly. The compiler does not use
//! tiles: their shape is set while a [`Tiles`] lives, and their contents never outlive a block of
//! assembly.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, unused_imports, reason = "nobody can have the token elsewhere")
)]

use super::Task;
use crate::cpu::AmxBf16;
use std::marker::PhantomData;

/// Tiles of this thread are in use; they are given back to their initial state at the end, or
/// every switch of threads would save 8 KiB.
pub(crate) struct Tiles {
    /// Bound to the thread.
    _thread: PhantomData<*const ()>,
}

/// What `ldtilecfg` reads: palette 1 has eight tiles of at most 16 rows of 64 bytes.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

#[cfg(target_arch = "x86_64")]
impl Tiles {
    /// Tiles of A and C with `rows` rows.
    ///
    /// # Panics
    ///
    /// If `rows` is 0 or above 16.
    pub(crate) fn new(_: AmxBf16, rows: usize) -> Self {
        assert!((1..=16).contains(&rows), "{rows} rows in a tile");
        let (mut row_bytes, mut num_rows) = ([0; 16], [0; 16]);
        row_bytes[..8].fill(64);
        num_rows[..6].fill(rows as u8);
        num_rows[6..8].fill(16);
        let shape =
            Shape { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows: num_rows };
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

    /// See [`super::chains`]; for tiles of 16 rows.
    pub(super) fn chains(&self, steps: usize) {
        if steps == 0 {
            return;
        }
        // Zeros would take less power, and the clock would be faster than it ever is.
        let halves = [super::Line([0x3F00; super::STEP]); super::TILE_ROWS];
        // SAFETY: 16 lines are read, and tiles are declared as overwritten.
        unsafe {
            std::arch::asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "tileloadd tmm4, [{halves} + {line}]",
                "tileloadd tmm5, [{halves} + {line}]",
                "tileloadd tmm6, [{halves} + {line}]",
                "tileloadd tmm7, [{halves} + {line}]",
                "2:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "dec {steps}",
                "jnz 2b",
                halves = in(reg) halves.as_ptr(),
                line = in(reg) 64usize,
                steps = inout(reg) steps => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly),
            );
        }
    }

    /// See [`Task`].
    ///
    /// # Safety
    ///
    /// * `task.rows` is what [`Tiles::new`] was given, and 16 if there is a second tile.
    /// * `task.from` and `task.to` have that many rows of 32 elements that nobody else uses, or 32
    ///   rows if there is a second tile.
    pub(super) unsafe fn multiply(&self, task: Task<'_>) {
        let steps = task.b.len() / super::STEP;
        assert!(steps > 0 && task.a.len() == 16 * steps, "lines of A and B");
        let (from, from_stride) = match task.from {
            Some(place) => (place.data.cast_const(), 4 * place.stride),
            None => (std::ptr::null(), 0),
        };
        let (to, to_stride) = (task.to.data, 4 * task.to.stride);
        if let Some(below) = task.below {
            assert!(below.len() == 16 * steps, "lines of A");
            // SAFETY: 16 lines of both tiles of A and 32 of B are read in each of `steps` steps,
            // which the assertions show to exist; 2 x 16 rows of 32 sums are read and written at
            // places that the caller vouches for. Tiles are declared as overwritten.
            unsafe {
                std::arch::asm!(
                    "test {from}, {from}",
                    "jz 2f",
                    "tileloadd tmm0, [{from} + {from_stride}]",
                    "tileloadd tmm1, [{from} + {from_stride} + 64]",
                    "tileloadd tmm2, [{from2} + {from_stride}]",
                    "tileloadd tmm3, [{from2} + {from_stride} + 64]",
                    "jmp 3f",
                    "2:",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "3:",
                    "tileloadd tmm6, [{b} + 2*{line}]",
                    "tileloadd tmm4, [{a} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{a2} + {line}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tileloadd tmm7, [{b} + 2*{line} + 64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a}, 1024",
                    "add {a2}, 1024",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 3b",
                    "tilestored [{to} + {to_stride}], tmm0",
                    "tilestored [{to} + {to_stride} + 64], tmm1",
                    "tilestored [{to2} + {to_stride}], tmm2",
                    "tilestored [{to2} + {to_stride} + 64], tmm3",
                    from = in(reg) from,
                    from2 = in(reg) from.wrapping_byte_add(16 * from_stride),
                    from_stride = in(reg) from_stride,
                    to = in(reg) to,
                    to2 = in(reg) to.wrapping_byte_add(16 * to_stride),
                    to_stride = in(reg) to_stride,
                    a = inout(reg) task.a.as_ptr() => _,
                    a2 = inout(reg) below.as_ptr() => _,
                    b = inout(reg) task.b.as_ptr() => _,
                    line = in(reg) 64usize,
                    steps = inout(reg) steps => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        } else {
            // SAFETY: as above, with one tile of A and the rows that tiles have.
            unsafe {
                std::arch::asm!(
                    "test {from}, {from}",
                    "jz 2f",
                    "tileloadd tmm0, [{from} + {from_stride}]",
                    "tileloadd tmm1, [{from} + {from_stride} + 64]",
                    "jmp 3f",
                    "2:",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "3:",
                    // All 32 lines, 16 KiB ahead, as in `avx512`.
                    ".irp line, 0,64,128,192,256,320,384,448,512,576,640,704,768,832,896,960",
                    "prefetcht1 [{b} + 16384 + \\line]",
                    "prefetcht1 [{b} + 17408 + \\line]",
                    ".endr",
                    "tileloadd tmm4, [{a} + {line}]",
                    "tileloadd tmm6, [{b} + 2*{line}]",
                    "tileloadd tmm7, [{b} + 2*{line} + 64]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "add {a}, 1024",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 3b",
                    "tilestored [{to} + {to_stride}], tmm0",
                    "tilestored [{to} + {to_stride} + 64], tmm1",
                    from = in(reg) from,
                    from_stride = in(reg) from_stride,
                    to = in(reg) to,
                    to_stride = in(reg) to_stride,
                    a = inout(reg) task.a.as_ptr() => _,
                    b = inout(reg) task.b.as_ptr() => _,
                    line = in(reg) 64usize,
                    steps = inout(reg) steps => _,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: whoever has a `Tiles` may use tiles, and none has contents that are needed.
        unsafe { std::arch::asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Tiles {
    /// There is no such unit here, as nobody can have the token.
    pub(crate) fn new(_: AmxBf16, _: usize) -> Self {
        unreachable!("a unit of x86")
    }

    /// As for [`Tiles::new`].
    pub(super) fn chains(&self, _: usize) {
        unreachable!("a unit of x86")
    }

    /// As for [`Tiles::new`].
    ///
    /// # Safety
    ///
    /// None needed.
    pub(super) unsafe fn multiply(&self, _: Task<'_>) {
        unreachable!("a unit of x86")
    }
}
