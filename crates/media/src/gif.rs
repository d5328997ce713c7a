//! What the blocks of a GIF are, without decoding its pictures: whether it is an animation, and its
//! comment.

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

/// The first comment before the first picture.
pub(crate) fn comment(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut at = 13 + color_table(*bytes.get(10)?);
    while *bytes.get(at)? == 0x21 {
        let end = after_sub_blocks(bytes, at + 2)?;
        if *bytes.get(at + 1)? == 0xfe {
            let mut text = Vec::with_capacity(end - at);
            let mut block = at + 2;
            while block + 1 < end {
                let next = block + 1 + usize::from(bytes[block]);
                text.extend_from_slice(&bytes[block + 1..next]);
                block = next;
            }
            return Some(text);
        }
        at = end;
    }
    None
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
