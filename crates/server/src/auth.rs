//! API keys: who may ask, and whose memory they share.

use crate::error::{Error, Kind};
use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// Who asks: clients with one key share prefixes and sessions, others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client(pub u64);

/// The keys that are let in; none of them: everybody is.
#[derive(Clone, Default)]
pub struct Keys(Vec<[u8; 32]>);

/// Keys are secrets.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// A list of keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file that cannot be read.
    #[error("cannot read the key file `{path}`: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that lets nobody in.
    #[error("the key file `{0}` holds no keys, expected one a line")]
    NoKeys(String),
    /// A key that no header can carry.
    #[error("a key is empty or has characters that are not visible ASCII")]
    Unusable,
}

impl Keys {
    /// The keys given one by one and those in `file`, one a line, `#` begins a comment.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has no keys, or a key cannot be sent.
    pub fn new(keys: &[String], file: Option<&Path>) -> Result<Self, KeysError> {
        let mut all = keys.to_vec();
        if let Some(file) = file {
            let path = file.display().to_string();
            let text = std::fs::read_to_string(file)
                .map_err(|source| KeysError::Io { path: path.clone(), source })?;
            let lines = text.lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            let before = all.len();
            all.extend(lines.map(str::to_owned));
            if all.len() == before {
                return Err(KeysError::NoKeys(path));
            }
        }
        if all.iter().any(|key| key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(KeysError::Unusable);
        }
        Ok(Self(all.iter().map(|key| digest(key.as_bytes())).collect()))
    }

    /// Whether everybody is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who asks with `headers`: `Authorization: Bearer KEY` or `x-api-key: KEY`.
    ///
    /// # Errors
    ///
    /// If there are keys and none of them is given.
    pub fn client(&self, headers: &HeaderMap) -> Result<Client, Error> {
        if self.is_empty() {
            return Ok(Client(0));
        }
        let denied = |message: &str| Err(Error::new(Kind::Unauthorized, message));
        let Some(key) = given(headers) else {
            return denied("no API key: expected `authorization: Bearer KEY` or `x-api-key: KEY`");
        };
        // Digests of all keys are compared whole, so that time says nothing of how much is right.
        let given = digest(key);
        let mut found = None;
        for key in &self.0 {
            let differs = key.iter().zip(&given).fold(0, |all, (a, b)| all | (a ^ b));
            if std::hint::black_box(differs) == 0 {
                found = Some(key);
            }
        }
        match found {
            Some(&[a, b, c, d, e, f, g, h, ..]) => {
                Ok(Client(u64::from_le_bytes([a, b, c, d, e, f, g, h])))
            }
            None => denied("the API key is not known"),
        }
    }
}

fn given(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = value.as_bytes();
        let (scheme, key) = value.split_at_checked(7)?;
        return scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii());
    }
    headers.get("x-api-key").map(|value| value.as_bytes().trim_ascii())
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn client(name: &'static str, value: &str) -> Result<Client, Error> {
        let keys = Keys::new(&["one-key".to_owned(), "two-key".to_owned()], None).unwrap();
        let value = HeaderValue::from_str(value).unwrap();
        keys.client(&HeaderMap::from_iter([(HeaderName::from_static(name), value)]))
    }

    #[test]
    fn only_whole_keys_are_let_in() {
        let one = client("authorization", "Bearer one-key").unwrap();
        assert_eq!(client("authorization", "bearer one-key").unwrap(), one);
        assert_eq!(client("x-api-key", "one-key").unwrap(), one);
        assert_ne!(client("x-api-key", "two-key").unwrap(), one);
        for (name, value) in [
            ("authorization", "one-key"),
            ("authorization", "Basic one-key"),
            ("authorization", "Bearer"),
            ("authorization", "Bearer one-ke"),
            ("authorization", "Bearer one-key2"),
            ("x-api-key", ""),
            ("x-key", "one-key"),
        ] {
            let error = client(name, value).unwrap_err();
            assert_eq!(error.kind, Kind::Unauthorized, "{name}: {value}");
        }
    }

    #[test]
    fn key_files_have_one_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, "# team\none-key\n\n  two-key\n").unwrap();
        assert_eq!(Keys::new(&[], Some(&path)).unwrap().0.len(), 2);
        std::fs::write(&path, "# nobody\n").unwrap();
        let error = Keys::new(&["x".to_owned()], Some(&path)).unwrap_err();
        assert!(error.to_string().contains("holds no keys"), "{error}");
        assert!(Keys::new(&["a b".to_owned()], None).is_err());
        assert!(Keys::new(&[], None).unwrap().is_empty());
    }
}
