//! The characters that stand for bytes in byte-level BPE (GPT-2): printable ones of Latin-1 for
//! themselves, and for the others those from U+0100 on.

/// A character for each byte.
pub(super) const CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let (mut byte, mut others) = (0u32, 0u32);
    while byte < 256 {
        let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printable { byte } else { 0x100 + others };
        others += !printable as u32;
        chars[byte as usize] = match char::from_u32(code) {
            Some(char) => char,
            None => panic!("not a character"),
        };
        byte += 1;
    }
    chars
};
