//! The unit of AMX: tiles of 16 rows of 64 bytes, `C += A B` with 16 x 16 sums of 32 products.
//!
//! ```text
//! tmm0 tmm1      tmm4        sums of 32 rows and 32 columns, two tiles of A,
//! tmm2 tmm3      tmm5        tmm6 tmm7: two of B
//! ```
//!
//! See `matmul::amx` for why they are assembly and what holds while a [`Tiles`] lives.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, unused_imports, reason = "nobody can have the token elsewhere")
)]

use super::{Line, STEP, TILE_ROWS, WIDTH, avx512};
use crate::cpu::AmxBf16;
#[cfg(target_arch = "x86_64")]
use crate::matmul::amx::{Shaped, tile_chains};

/// Tiles of this thread are in use.
pub(crate) struct Tiles {
    #[cfg(target_arch = "x86_64")]
    _shaped: Shaped,
}

/// Sums of a part that are to be added up: `to = add + sums`, rows of 32. Whoever makes one promises
/// that `rows` rows of all three exist as long as they are pending, and that nobody else uses those
/// of `to`; these may be those of `add`.
pub(super) struct Pending {
    /// Rows that follow each other.
    pub(super) sums: *const f32,
    /// Rows `add_stride` elements apart.
    pub(super) add: *mut f32,
    pub(super) add_stride: usize,
    /// Rows `to_stride` elements apart.
    pub(super) to: *mut f32,
    pub(super) to_stride: usize,
    pub(super) rows: usize,
}

impl Pending {
    pub(super) fn none() -> Self {
        let nothing = std::ptr::null_mut();
        Self { sums: nothing, add: nothing, add_stride: 0, to: nothing, to_stride: 0, rows: 0 }
    }

    /// The same where only `columns` of each row exist.
    ///
    /// # Safety
    ///
    /// * What it names is there.
    pub(super) unsafe fn finish_edge(&mut self, columns: usize) {
        for i in 0..self.rows {
            for j in 0..columns {
                // SAFETY: row `i` and column `j` of each.
                unsafe {
                    let sum =
                        *self.sums.add(i * WIDTH + j) + *self.add.add(i * self.add_stride + j);
                    *self.to.add(i * self.to_stride + j) = sum;
                }
            }
        }
        self.rows = 0;
    }

    /// Adds up the rows that are left.
    ///
    /// # Safety
    ///
    /// * What it names is there.
    pub(super) unsafe fn finish(&mut self, token: AmxBf16) {
        if self.rows > 0 {
            // SAFETY: the caller's promise, passed on.
            unsafe { avx512::add_rows(token.avx512(), self) };
            self.rows = 0;
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Tiles {
    /// Tiles of A and C with `rows` rows.
    ///
    /// # Panics
    ///
    /// If `rows` is 0 or above 16.
    pub(crate) fn new(token: AmxBf16, rows: usize) -> Self {
        assert!((1..=16).contains(&rows), "{rows} rows in a tile");
        let (rows, whole) = ((rows as u8, 64), (16, 64));
        let shapes = [rows, rows, rows, rows, rows, rows, whole, whole];
        Self { _shaped: Shaped::new(token.tiles(), &shapes) }
    }

    /// See [`super::chains`]; for tiles of 16 rows.
    pub(super) fn chains(&self, steps: usize) {
        tile_chains!("tdpbf16ps", Line([0x3F00; STEP]), steps);
    }

    /// Two tiles of A times a part of a panel, from zero: `[32, 32]` sums to `to`. Meanwhile two rows
    /// per step of what is `pending` go where they belong, and about as much as `ahead` is asked
    /// for.
    ///
    /// # Safety
    ///
    /// * Tiles have 16 rows.
    /// * `to` is 4 KiB that nobody else uses, and not what `pending` reads.
    /// * What `pending` names is there, see [`Pending`].
    pub(super) unsafe fn pair(
        &self,
        a: [&[Line]; 2],
        b: &[Line],
        to: *mut f32,
        pending: &mut Pending,
        ahead: &[Line],
    ) {
        let steps = b.len() / STEP;
        let lines = steps * TILE_ROWS;
        assert!(steps > 0 && a[0].len() == lines && a[1].len() == lines, "lines of A and B");
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match ahead.len().div_ceil(steps) {
                0 => pair::<0>(a, b, to, pending, ahead),
                1..=2 => pair::<2>(a, b, to, pending, ahead),
                3..=4 => pair::<4>(a, b, to, pending, ahead),
                5..=8 => pair::<8>(a, b, to, pending, ahead),
                _ => pair::<16>(a, b, to, pending, ahead),
            }
        }
    }

    /// One tile of A times a part of a panel that is read once, from zero: sums of as many rows as
    /// tiles have, 32 each, to `to`.
    ///
    /// # Safety
    ///
    /// * `to` has as many rows of 128 bytes, which nobody else uses.
    pub(super) unsafe fn single(&self, a: &[Line], b: &[Line], to: *mut f32) {
        let steps = b.len() / STEP;
        assert!(steps > 0 && a.len() == steps * TILE_ROWS, "lines of A and B");
        // SAFETY: as for `pair`; a prefetch may be of any address.
        unsafe {
            std::arch::asm!(
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
                "tilestored [{to} + 2*{line}], tmm0",
                "tilestored [{to} + 2*{line} + 64], tmm1",
                a = inout(reg) a.as_ptr() => _,
                b = inout(reg) b.as_ptr() => _,
                to = in(reg) to,
                line = in(reg) 64usize,
                steps = inout(reg) steps => _,
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

/// [`Tiles::pair`] with `AHEAD` lines asked for in each step: all of them in a burst would hold up
/// what follows.
///
/// # Safety
///
/// * As there; both tiles of A have as many steps as B, at least one.
#[cfg(target_arch = "x86_64")]
unsafe fn pair<const AHEAD: usize>(
    a: [&[Line]; 2],
    b: &[Line],
    to: *mut f32,
    pending: &mut Pending,
    ahead: &[Line],
) {
    let steps = b.len() / STEP;
    let busy = steps.min(pending.rows / 2);
    // SAFETY: 16 lines of both tiles of A and 32 of B are read in each of `steps` steps; two rows of
    // `pending`, of which there are as many left, in each of `busy` steps; `to` is written, 2 x 16
    // rows of 128 bytes. A prefetch may be of any address. Tiles are declared as overwritten.
    unsafe {
        std::arch::asm!(
            ".macro ask_for",
            ".set line_ahead, 0",
            ".rept {count}",
            "prefetcht1 [{ahead} + line_ahead]",
            ".set line_ahead, line_ahead + 64",
            ".endr",
            "add {ahead}, 64 * {count}",
            ".endm",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {busy}, {busy}",
            "jz 3f",
            "2:",
            "tileloaddt1 tmm6, [{b} + 2*{line}]",
            "tileloadd tmm4, [{a} + {line}]",
            "vmovups zmm0, [{sums}]",
            "vmovups zmm1, [{sums} + 64]",
            "vaddps zmm0, zmm0, [{add}]",
            "vaddps zmm1, zmm1, [{add} + 64]",
            "vmovups [{out}], zmm0",
            "vmovups [{out} + 64], zmm1",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a2} + {line}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {add}, {add_stride}",
            "add {out}, {out_stride}",
            "vmovups zmm0, [{sums} + 128]",
            "vmovups zmm1, [{sums} + 192]",
            "vaddps zmm0, zmm0, [{add}]",
            "vaddps zmm1, zmm1, [{add} + 64]",
            "vmovups [{out}], zmm0",
            "vmovups [{out} + 64], zmm1",
            "tileloaddt1 tmm7, [{b} + 2*{line} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "ask_for",
            "add {add}, {add_stride}",
            "add {out}, {out_stride}",
            "add {sums}, 256",
            "add {a}, 1024",
            "add {a2}, 1024",
            "add {b}, 2048",
            "dec {steps}",
            "dec {busy}",
            "jnz 2b",
            "3:",
            "test {steps}, {steps}",
            "jz 5f",
            "4:",
            "tileloaddt1 tmm6, [{b} + 2*{line}]",
            "tileloadd tmm4, [{a} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a2} + {line}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloaddt1 tmm7, [{b} + 2*{line} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "ask_for",
            "add {a}, 1024",
            "add {a2}, 1024",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 4b",
            "5:",
            "tilestored [{to} + 2*{line}], tmm0",
            "tilestored [{to} + 2*{line} + 64], tmm1",
            "tilestored [{to} + 2*{line} + 2048], tmm2",
            "tilestored [{to} + 2*{line} + 2112], tmm3",
            ".purgem ask_for",
            count = const AHEAD,
            ahead = inout(reg) ahead.as_ptr() => _,
            a = inout(reg) a[0].as_ptr() => _,
            a2 = inout(reg) a[1].as_ptr() => _,
            b = inout(reg) b.as_ptr() => _,
            to = in(reg) to,
            line = in(reg) 64usize,
            steps = inout(reg) steps => _,
            busy = inout(reg) busy => _,
            sums = inout(reg) pending.sums,
            add = inout(reg) pending.add,
            add_stride = in(reg) 4 * pending.add_stride,
            out = inout(reg) pending.to,
            out_stride = in(reg) 4 * pending.to_stride,
            out("zmm0") _, out("zmm1") _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
    pending.rows -= 2 * busy;
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
    pub(super) unsafe fn pair(
        &self,
        _: [&[Line]; 2],
        _: &[Line],
        _: *mut f32,
        _: &mut Pending,
        _: &[Line],
    ) {
        unreachable!("a unit of x86")
    }

    /// As for [`Tiles::new`].
    ///
    /// # Safety
    ///
    /// None needed.
    pub(super) unsafe fn single(&self, _: &[Line], _: &[Line], _: *mut f32) {
        unreachable!("a unit of x86")
    }
}
