//! Bytes in base64 (RFC 4648, 4), as files come in JSON.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

/// The bytes that `text` stands for; white space is skipped, padding may be missing, and the letters of
/// either alphabet are taken. `None` if it is not base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let letters = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    });
    let letters: Vec<u8> = letters.collect();
    match letters.ends_with(b"=") {
        true => BASE64_STANDARD.decode(letters).ok(),
        false => BASE64_STANDARD_NO_PAD.decode(letters).ok(),
    }
}

/// `bytes` with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
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
