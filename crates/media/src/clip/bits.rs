//! Bits from the most significant on, and numbers as H.264 writes them (ITU-T H.264, 9.1).

/// Bits that become bytes.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are still free.
    free: u32,
}

impl BitWriter {
    /// The lowest `count` bits of `value`.
    pub(super) fn bits(&mut self, value: u32, count: u32) {
        for i in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> i & 1) as u8) << self.free;
            }
        }
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.bits(value.into(), 1);
    }

    /// `ue(v)`: as many zeros as `value + 1` has bits after its first, then that number.
    pub(super) fn unsigned(&mut self, value: u32) {
        let length = (value + 1).ilog2();
        self.bits(0, length);
        self.bits(value + 1, length + 1);
    }

    /// Zeros up to the next byte.
    pub(super) fn align(&mut self) {
        self.free = 0;
    }

    /// Whole bytes.
    ///
    /// # Panics
    ///
    /// Inside a byte.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        assert_eq!(self.free, 0, "bytes begin at a byte");
        self.bytes.extend_from_slice(bytes);
    }

    /// A one, and zeros up to the next byte: what ends a unit.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.flag(true);
        self.bytes
    }
}

/// Bits of bytes; all of its methods give `None` after the end.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        Some(self.bits(1)? == 1)
    }

    /// `ue(v)`, below 2^31.
    pub(super) fn unsigned(&mut self) -> Option<u32> {
        let mut length = 0;
        while !self.flag()? {
            length += 1;
            if length > 30 {
                return None;
            }
        }
        Some((1 << length | self.bits(length)?) - 1)
    }

    /// Passes over bits up to the next byte; `None` if one of them is set.
    pub(super) fn align(&mut self) -> Option<()> {
        let rest = (8 - self.at % 8) % 8;
        (self.bits(rest as u32)? == 0).then_some(())
    }

    /// Whole bytes, where a byte begins.
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        debug_assert_eq!(self.at % 8, 0);
        let start = self.at / 8;
        let bytes = self.bytes.get(start..start.checked_add(count)?)?;
        self.at += count * 8;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first codes of table 9-2 of the specification.
    #[test]
    fn numbers_are_as_specified() {
        for (value, code) in [(0, "1"), (1, "010"), (2, "011"), (3, "00100"), (6, "00111")] {
            let mut writer = BitWriter::default();
            writer.unsigned(value);
            writer.align();
            let want = u8::from_str_radix(code, 2).unwrap() << (8 - code.len());
            assert_eq!(writer.bytes, [want], "{value}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let values = [0, 1, 2, 25, 254, 255, 256, 65_535, (1 << 31) - 2];
        let mut writer = BitWriter::default();
        values.iter().for_each(|&value| writer.unsigned(value));
        writer.bits(5, 3);
        writer.align();
        writer.bytes(b"ab");
        let bytes = writer.finish();
        let mut reader = BitReader::new(&bytes);
        values.iter().for_each(|&value| assert_eq!(reader.unsigned(), Some(value)));
        assert_eq!(reader.bits(3), Some(5));
        assert_eq!(reader.align(), Some(()));
        assert_eq!(reader.bytes(2), Some(&b"ab"[..]));
        assert_eq!((reader.flag(), reader.align(), reader.flag()), (Some(true), Some(()), None));
        assert_eq!(BitReader::new(&[0; 9]).unsigned(), None);
    }
}
