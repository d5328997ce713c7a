//! Bytes in base64 (RFC 4648, 4), as files come in JSON.

/// The bytes that `text` stands for; white space is skipped, padding may be missing. `None` if it
/// is not base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count, mut padding) = (0u32, 0, 0);
    for letter in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        bits = bits << 6 | u32::from(value);
        count += 1;
        if count == 4 {
            bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
            (bits, count) = (0, 0);
        }
    }
    // What is left of the last group must be zero, and there are at most two padding letters.
    match (count, padding) {
        (0, 0) => Some(bytes),
        (2, 0 | 2) if bits & 0xF == 0 => {
            bytes.push((bits >> 4) as u8);
            Some(bytes)
        }
        (3, 0 | 1) if bits & 3 == 0 => {
            bytes.extend_from_slice(&((bits >> 2) as u16).to_be_bytes());
            Some(bytes)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn the_vectors_of_the_standard() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9v\nYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("Zg", "f"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        for wrong in ["Z", "Zg=", "Zh==", "Z===", "Zm9v====", "Zg==Zg==", "Zm9*", "é"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
        assert_eq!(decode("-_-_").as_deref(), Some(&[0xFB, 0xFF, 0xBF][..]));
    }
}
