//! Bodies of forms (`multipart/form-data`, RFC 7578): texts and files, put as JSON, so that the same
//! request means the same either way.

use crate::error::Error;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyDataStream, Full};
use multer::{Field, Multipart};
use serde_json::{Map, Value};

/// Most fields of a form.
const MAX_FIELDS: usize = 64;

/// The boundary that a `content-type` names, if it is a form's.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let boundary = multer::parse_boundary(content_type).ok()?;
    // RFC 2046, 5.1.1.
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

/// The fields of a form as an object: texts as they are, files as `data:` addresses. Waits for nothing,
/// since all of `body` is there.
///
/// # Errors
///
/// If it is no form, a field has no name or comes twice, or a text is not UTF-8.
pub(crate) async fn to_json(body: Bytes, boundary: String) -> Result<Map<String, Value>, Error> {
    let damaged = |error| wrong(&format!("is damaged: {error}"));
    let mut form = Multipart::new(BodyDataStream::new(Full::new(body)), boundary);
    let mut fields = Map::new();
    while let Some(field) = form.next_field().await.map_err(damaged)? {
        let name = field.name().ok_or_else(|| wrong("has a field without a name"))?.to_owned();
        if fields.len() == MAX_FIELDS {
            return Err(wrong(&format!("has more than {MAX_FIELDS} fields")));
        }
        // Lists in forms repeat a field or add brackets; there are none here.
        if fields.contains_key(&name) {
            let name: String = name.chars().take(100).collect();
            return Err(Error::invalid(name.clone(), format!("the form has `{name}` twice")));
        }
        fields.insert(name, Value::String(text(field).await?));
    }
    Ok(fields)
}

async fn text(field: Field<'_>) -> Result<String, Error> {
    let is_file = field.file_name().is_some();
    let kind = field.content_type().map_or("application/octet-stream", |kind| kind.essence_str());
    let mut text = match is_file {
        true => format!("data:{kind};base64,"),
        false => String::new(),
    };
    let bytes = field.bytes().await.map_err(|error| wrong(&format!("is damaged: {error}")))?;
    match is_file {
        true => BASE64_STANDARD.encode_string(bytes, &mut text),
        false => text.push_str(
            std::str::from_utf8(&bytes).map_err(|_| wrong("has a text that is not UTF-8"))?,
        ),
    }
    Ok(text)
}

fn wrong(what: &str) -> Error {
    Error::invalid("body", format!("the form {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(body: &[u8]) -> Result<Value, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = Bytes::copy_from_slice(body);
        let fields = runtime.block_on(to_json(body, "XX".to_owned()));
        fields.map(Value::Object).map_err(|error| error.message)
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
        assert_eq!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))), None);
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
        assert_eq!(read(body.as_bytes()), Ok(want));
        assert_eq!(read(b"--XX--"), Ok(json!({})));
    }

    #[test]
    fn damaged_forms_are_refused() {
        let head = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n";
        let unnamed = "--XX\r\nContent-Type: text/plain\r\n\r\nb\r\n--XX--";
        for (body, want) in [
            (String::new(), "the form is damaged: incomplete multipart stream"),
            ("--XX".to_owned(), "the form is damaged: incomplete multipart stream"),
            (format!("{head}b"), "the form is damaged: field \"a\" received with incomplete data"),
            (format!("{head}b\r\n{head}c\r\n--XX--"), "the form has `a` twice"),
            (unnamed.to_owned(), "the form has a field without a name"),
            ("--XX\r\nb\r\n--XX--".to_owned(), "the form is damaged: incomplete multipart stream"),
        ] {
            assert_eq!(read(body.as_bytes()), Err(want.to_owned()), "{body:?}");
        }
        let bytes = [head.as_bytes(), b"\xff\r\n--XX--"].concat();
        assert_eq!(read(&bytes), Err("the form has a text that is not UTF-8".to_owned()));
        let many: String = (0..65)
            .map(|i| format!("{}\r\n", head.replace("\"a\"", &format!("\"{i}\""))))
            .collect();
        let many = read(format!("{many}--XX--").as_bytes());
        assert_eq!(many, Err("the form has more than 64 fields".to_owned()));
    }

    proptest! {
        #[test]
        fn any_form_is_read_or_refused(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "--XX", "\r\n", "--", "\r\n--XX", "content-disposition: form-data", "; name=", "\"a\"",
                "; filename=x", "\r\n\r\n", ":", "=", ";", "\"", "b", "\0", "é",
            ]), 0..40),
        ) {
            if let Err(message) = read(pieces.concat().as_bytes()) {
                prop_assert!(message.len() < 400, "{}", message);
            }
        }
    }
}
