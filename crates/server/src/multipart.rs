//! Bodies of forms (`multipart/form-data`, RFC 7578): texts and files, put as JSON, so that the same
//! request means the same either way.

use crate::error::Error;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

/// Most fields of a form, and most bytes of the lines above one.
const MAX_FIELDS: usize = 64;
const MAX_HEADER_BYTES: usize = 8 << 10;

/// The boundary that a `content-type` names, if it is a form's.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let named = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    let boundary = named.trim().trim_matches('"');
    // RFC 2046, 5.1.1.
    (1..=70).contains(&boundary.len()).then(|| boundary.to_owned())
}

/// The fields of a form as an object: texts as they are, files as `data:` addresses.
///
/// # Errors
///
/// If it is no form, a field has no name or comes twice, or a text is not UTF-8.
pub(crate) fn to_json(body: &[u8], boundary: &str) -> Result<Value, Error> {
    let wrong = |what: &str| Error::invalid("body", format!("the form {what}"));
    let mark = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    // What is before the first mark is nothing.
    let start = match body.starts_with(mark.as_bytes()) {
        true => mark.len(),
        false => {
            find(body, between.as_bytes()).ok_or_else(|| wrong("has no boundary"))? + between.len()
        }
    };
    let mut rest = &body[start..];
    let mut fields = Map::new();
    loop {
        // The last mark has two more signs; after the others a line ends.
        if rest.starts_with(b"--") {
            return Ok(Value::Object(fields));
        }
        let part = rest.trim_ascii_start_line().ok_or_else(|| wrong("has a damaged boundary"))?;
        let end =
            find(part, between.as_bytes()).ok_or_else(|| wrong("ends before its boundary"))?;
        let (name, value) = field(&part[..end]).map_err(wrong)?;
        if fields.len() == MAX_FIELDS {
            return Err(wrong(&format!("has more than {MAX_FIELDS} fields")));
        }
        // Lists in forms repeat a field or add brackets; there are none here.
        if fields.contains_key(&name) {
            let name: String = name.chars().take(100).collect();
            return Err(Error::invalid(name.clone(), format!("the form has `{name}` twice")));
        }
        fields.insert(name, value);
        rest = &part[end + between.len()..];
    }
}

/// Name and value of a part.
fn field(part: &[u8]) -> Result<(String, Value), &'static str> {
    let (head, value) = match part.strip_prefix(b"\r\n") {
        Some(value) => (&[][..], value),
        None => {
            let end = find(&part[..part.len().min(MAX_HEADER_BYTES)], b"\r\n\r\n");
            let end = end.ok_or("has a field without an empty line before its value")?;
            (&part[..end], &part[end + 4..])
        }
    };
    let head = std::str::from_utf8(head).map_err(|_| "has a field whose head is not UTF-8")?;
    let (mut disposition, mut kind) = ("", "application/octet-stream");
    for line in head.split("\r\n") {
        if let Some((name, value)) = line.split_once(':') {
            match name.trim().to_ascii_lowercase().as_str() {
                "content-disposition" => disposition = value,
                "content-type" => kind = value.trim(),
                _ => {}
            }
        }
    }
    let name = parameter(disposition, "name").ok_or("has a field without a name")?;
    let value = match parameter(disposition, "filename") {
        Some(_) => format!("data:{kind};base64,{}", BASE64_STANDARD.encode(value)),
        None => std::str::from_utf8(value).map_err(|_| "has a text that is not UTF-8")?.to_owned(),
    };
    Ok((name, Value::String(value)))
}

/// The parameter `name` of a `content-disposition`; browsers write `"` as `%22`.
fn parameter(disposition: &str, name: &str) -> Option<String> {
    let mut rest = disposition;
    loop {
        rest = rest.split_once(';')?.1;
        let (found, value) = rest.trim_start().split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                rest = after;
                value
            }
            None => {
                rest = value;
                value.split(';').next().unwrap_or("").trim()
            }
        };
        if found.trim().eq_ignore_ascii_case(name) {
            return Some(value.replace("%22", "\""));
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

trait Lines {
    /// What is after spaces and the end of a line.
    fn trim_ascii_start_line(&self) -> Option<&[u8]>;
}

impl Lines for [u8] {
    fn trim_ascii_start_line(&self) -> Option<&[u8]> {
        let spaces = self.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
        self[spaces..].strip_prefix(b"\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(body: &str) -> Result<Value, String> {
        to_json(body.as_bytes(), "XX").map_err(|error| error.message)
    }

    #[test]
    fn content_types_name_their_boundary() {
        for (kind, want) in [
            ("multipart/form-data; boundary=XX", Some("XX")),
            ("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=XX", None),
            ("application/json", None),
        ] {
            assert_eq!(boundary(kind).as_deref(), want, "{kind}");
        }
    }

    #[test]
    fn forms_are_objects() {
        let body = "preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na red\r\n \
                    circle\r\n--XX \r\ncontent-disposition: form-data; name=\"input_reference\"; \
                    filename=\"a;b.png\"\r\nContent-Type: image/png\r\n\r\n\0PNG\r\n--XX\r\n\
                    Content-Disposition: form-data; name=seed\r\n\r\n7\r\n--XX--\r\n";
        let want = json!({
            "prompt": "a red\r\n circle",
            "input_reference": "data:image/png;base64,AFBORw==",
            "seed": "7",
        });
        assert_eq!(read(body), Ok(want));
        assert_eq!(read("--XX--"), Ok(json!({})));
    }

    #[test]
    fn damaged_forms_are_refused() {
        let head = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n";
        for (body, want) in [
            ("".to_owned(), "the form has no boundary"),
            ("--XX".to_owned(), "the form has a damaged boundary"),
            (format!("{head}b"), "the form ends before its boundary"),
            (
                format!("{head}b\r\n--XX\r\n{}--XX--", &head[6..]),
                "the form has a field without an empty line before its value",
            ),
            (format!("{head}b\r\n{head}c\r\n--XX--"), "the form has `a` twice"),
            ("--XX\r\n\r\nb\r\n--XX--".to_owned(), "the form has a field without a name"),
            (
                "--XX\r\nb\r\n--XX--".to_owned(),
                "the form has a field without an empty line before its value",
            ),
        ] {
            assert_eq!(read(&body), Err(want.to_owned()), "{body:?}");
        }
        assert!(
            to_json(
                b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--XX--",
                "XX"
            )
            .is_err()
        );
        let many: String = (0..65)
            .map(|i| format!("{}\r\n", head.replace("\"a\"", &format!("\"{i}\""))))
            .collect();
        assert!(read(&format!("{many}--XX--")).is_err());
    }

    proptest! {
        #[test]
        fn any_form_is_read_or_refused(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "--XX", "\r\n", "--", "\r\n--XX", "content-disposition: form-data", "; name=", "\"a\"",
                "; filename=x", "\r\n\r\n", ":", "=", ";", "\"", "b", "\0", "é",
            ]), 0..40),
        ) {
            if let Err(message) = read(&pieces.concat()) {
                prop_assert!(message.len() < 200, "{}", message);
            }
        }
    }
}
