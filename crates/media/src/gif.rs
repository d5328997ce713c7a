//! Whether a GIF is an animation, without decoding it.

/// Whether there is a second picture in the file: blocks are passed over, nothing is decoded.
/// (GIF89a specification, W3C.)
pub(crate) fn has_several_pictures(bytes: &[u8]) -> bool {
    count_pictures(bytes).is_none_or(|pictures| pictures > 1)
}

/// Pictures, at most 2; `None` of a file that ends too early, but has one at least.
fn count_pictures(bytes: &[u8]) -> Option<usize> {
    // Signature, size of the canvas, flags, background, aspect.
    let colors = color_table(*bytes.get(10)?);
    let mut at = 13 + colors;
    let mut pictures = 0;
    while pictures < 2 {
        match bytes.get(at) {
            // An extension: a label, then sub-blocks.
            Some(0x21) => at = after_sub_blocks(bytes, at + 2)?,
            // A picture: place and size, flags, colors, the length of codes, then sub-blocks.
            Some(0x2c) => {
                pictures += 1;
                let colors = color_table(*bytes.get(at + 9)?);
                match after_sub_blocks(bytes, at + 11 + colors) {
                    Some(next) => at = next,
                    None => break,
                }
            }
            // The trailer, or something else.
            _ => break,
        }
    }
    Some(pictures)
}

/// Bytes of the table of colors that `flags` announce.
fn color_table(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Where the sub-blocks that begin `at` end.
fn after_sub_blocks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            len => at += 1 + usize::from(len),
        }
    }
}
