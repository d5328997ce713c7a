//! Regular expressions of ECMA-262, as JSON schemas have them, in the dialect of the library.
//!
//! The two share most of their syntax; what they read differently is written out or refused.

/// Line ends of ECMA-262, which `.` does not match.
const LINE_ENDS: &str = r"\n\r\u{2028}\u{2029}";
/// White space of ECMA-262.
const SPACE: &str = r"\t\n\x0B\x0C\r \u{A0}\u{1680}\u{2000}-\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}";

/// `pattern` in the library's dialect.
///
/// # Errors
///
/// If it has something that the library does not know; what.
pub(super) fn translated(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut in_class = false;
    let mut rest = pattern;
    let refused = |what: &str| Err(format!("has `{what}`, which is not supported"));
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        match next {
            '\\' => {
                let Some(letter) = after.chars().next() else { return refused("\\") };
                match letter {
                    's' if in_class => out.push_str(SPACE),
                    's' => out.push_str(&format!("[{SPACE}]")),
                    'S' if !in_class => out.push_str(&format!("[^{SPACE}]")),
                    'd' | 'D' | 'w' | 'W' | 't' | 'n' | 'r' | 'f' | 'v' | 'x' | 'u' | 'p' | 'P' => {
                        out.extend(['\\', letter]);
                    }
                    // With a backslash they are ends of words there.
                    '<' | '>' => out.push(letter),
                    _ if letter.is_ascii_punctuation() => out.extend(['\\', letter]),
                    _ => return refused(&format!("\\{letter}")),
                }
                rest = &after[letter.len_utf8()..];
                continue;
            }
            '.' if !in_class => out.push_str(&format!("[^{LINE_ENDS}]")),
            '(' if !in_class => {
                let named = after.starts_with("?<")
                    && after[2..].starts_with(|c: char| c.is_alphabetic() || c == '_');
                if after.starts_with('?') && !after.starts_with("?:") && !named {
                    return refused(&rest.chars().take(4).collect::<String>());
                }
                out.push(next);
            }
            '[' if !in_class => {
                in_class = true;
                out.push(next);
                if let Some(negated) = after.strip_prefix('^') {
                    out.push('^');
                    rest = negated;
                    if rest.starts_with(']') {
                        return refused("[^]");
                    }
                    continue;
                }
                if after.starts_with(']') {
                    return refused("[]");
                }
            }
            ']' => {
                if !in_class {
                    out.push('\\');
                }
                in_class = false;
                out.push(next);
            }
            // They begin operations on sets there.
            '[' | '&' | '~' => out.extend(['\\', next]),
            '-' if in_class && after.starts_with('-') => return refused("--"),
            _ => out.push(next),
        }
        rest = after;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_written_out() {
        for (pattern, expected) in [
            (r"^a\.b$", r"^a\.b$"),
            (r"a.", r"a[^\n\r\u{2028}\u{2029}]"),
            (r"[.\]]", r"[.\]]"),
            (r"[a[b]]", r"[a\[b]\]"),
            (r"[^&&]", r"[^\&\&]"),
            (r"\<\>", "<>"),
            (r"(?:\d|\w)\/", r"(?:\d|\w)\/"),
            (r"(?<year>\d)", r"(?<year>\d)"),
        ] {
            assert_eq!(translated(pattern).unwrap(), expected, "{pattern}");
        }
        for pattern in
            [r"\b", r"\1", r"(?=a)", r"(?i)", r"(?<=a)", "[]", "[^]", r"[\S]", "[a--b]", "\\"]
        {
            translated(pattern).unwrap_err();
        }
    }
}
