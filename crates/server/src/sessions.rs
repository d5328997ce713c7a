//! Conversations that last, as the routes need them: what a store of them must do, and one in
//! memory.

use crate::auth::Client;
use crate::backend::Point;
use engine::ContentRows;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

/// A store of sessions. Each belongs to a client and has a name; others cannot see it. Names are made
/// of 1 to 128 letters, digits, `.`, `_` and `-` and begin with none of the signs, see [`check_name`];
/// stores may rely on it.
///
/// All calls may take as long as a disk does.
pub trait Sessions: std::fmt::Debug + Send + Sync {
    /// All sessions of a client by name, expired ones left out.
    ///
    /// # Errors
    ///
    /// If the store fails.
    fn list(&self, client: Client) -> Result<Vec<SessionInfo>, SessionError>;

    /// One session.
    ///
    /// # Errors
    ///
    /// If it is not there, or the store fails.
    fn show(&self, client: Client, name: &str) -> Result<SessionInfo, SessionError>;

    /// What is needed to go on with a session.
    ///
    /// # Errors
    ///
    /// If it is not there, is of another model than the one with `fingerprint`, or the store fails.
    fn load(&self, client: Client, name: &str, fingerprint: &str) -> Result<Saved, SessionError>;

    /// Keeps a session under a name, in place of what was there. When this returns, the session
    /// survives whatever happens to the process.
    ///
    /// # Errors
    ///
    /// If the store fails; then what was there before is still there.
    fn save(
        &self,
        client: Client,
        name: &str,
        new: NewSession,
    ) -> Result<SessionInfo, SessionError>;

    /// Keeps a session under a second name, as a child of the first.
    ///
    /// # Errors
    ///
    /// If the first is not there, the second is, or the store fails.
    fn fork(
        &self,
        client: Client,
        name: &str,
        to: &str,
        label: Option<String>,
    ) -> Result<SessionInfo, SessionError>;

    /// What was kept of a session beside its tokens.
    ///
    /// # Errors
    ///
    /// If it is not there, or the store fails.
    fn notes(&self, client: Client, name: &str) -> Result<Notes, SessionError>;

    /// Gives a session another line for people.
    ///
    /// # Errors
    ///
    /// If it is not there, or the store fails.
    fn label(&self, client: Client, name: &str, label: &str) -> Result<SessionInfo, SessionError>;

    /// Forgets all but the first `tokens` tokens and gives the session other `notes`.
    ///
    /// # Errors
    ///
    /// If it is not there, is shorter, or the store fails.
    fn cut(
        &self,
        client: Client,
        name: &str,
        tokens: u64,
        notes: Notes,
    ) -> Result<SessionInfo, SessionError>;

    /// The session as a file that another machine can import.
    ///
    /// # Errors
    ///
    /// If it is not there, or the store fails.
    fn export(&self, client: Client, name: &str) -> Result<Export, SessionError>;

    /// Keeps a session that was exported.
    ///
    /// # Errors
    ///
    /// If the name is taken, the bytes are no session, or the store fails.
    fn import(&self, client: Client, name: &str, bytes: &[u8])
    -> Result<SessionInfo, SessionError>;

    /// Forgets a session.
    ///
    /// # Errors
    ///
    /// If it is not there, or the store fails.
    fn delete(&self, client: Client, name: &str) -> Result<(), SessionError>;
}

/// A session as a file.
pub struct Export {
    /// Its bytes.
    pub reader: Box<dyn Read + Send>,
    /// How many.
    pub bytes: u64,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// What is told of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its name.
    pub name: String,
    /// Tokens read and written.
    pub tokens: u64,
    /// Messages said; 0 if they are not known.
    pub messages: u64,
    /// Bytes it takes.
    pub bytes: u64,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970.
    pub updated: u64,
    /// When it may be forgotten, in seconds since 1970.
    pub expires: Option<u64>,
    /// The session that it was forked from.
    pub parent: Option<String>,
    /// A line for people.
    pub label: Option<String>,
    /// The model's name.
    pub model: String,
}

/// What the server knows of a session beside its tokens, and the store need not look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// How many messages were said.
    pub messages: u64,
    /// The messages, in a form of the server's; empty if only tokens are known.
    pub bytes: Vec<u8>,
}

/// What is needed to go on.
#[derive(Clone, Debug)]
pub struct Saved {
    /// All tokens.
    pub tokens: Arc<[u32]>,
    /// Points along these tokens that can be gone on from, shortest first.
    pub points: Vec<Point>,
    /// Pictures and sounds among the tokens that can be read again.
    pub content: Vec<ContentRows>,
    /// What was said.
    pub notes: Notes,
    /// What is told of it.
    pub info: SessionInfo,
}

/// What is to be kept.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// All tokens.
    pub tokens: Arc<[u32]>,
    /// Points along these tokens that can be gone on from, shortest first.
    pub points: Vec<Point>,
    /// Pictures and sounds among the tokens, those whose rows are known, in ascending order. What no point
    /// has behind it is kept.
    pub content: Vec<ContentRows>,
    /// What was said.
    pub notes: Notes,
    /// A line for people; what was there stays if not set.
    pub label: Option<String>,
    /// The session that it was forked from; what was there stays if not set.
    pub parent: Option<String>,
    /// When it may be forgotten, in seconds since 1970.
    pub expires: Option<u64>,
    /// The model's name.
    pub model: String,
    /// Program and weights in a word: memories fit no other.
    pub fingerprint: String,
}

/// What can go wrong with a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It is not there.
    #[error("there is no session `{0}`")]
    NotFound(String),
    /// It is there already.
    #[error("there is a session `{0}` already")]
    Exists(String),
    /// It has fewer tokens.
    #[error("the session has {tokens} tokens, expected at least {wanted}")]
    Shorter {
        /// Tokens.
        tokens: u64,
        /// More tokens.
        wanted: u64,
    },
    /// It is of another model.
    #[error("the session is of the model `{found}`, expected `{expected}`")]
    OtherModel {
        /// Its model.
        found: String,
        /// The one that is served.
        expected: String,
    },
    /// Bytes that are no session.
    #[error("these bytes are not a session: {0}")]
    Invalid(String),
    /// This store cannot do it.
    #[error("sessions cannot be {0} here")]
    Unsupported(&'static str),
    /// The disk is full, or worse.
    #[error("the store of sessions fails: {0}")]
    Io(#[from] std::io::Error),
}

/// Whether `name` may be the name of a session.
pub fn check_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&name.len())
        && name.bytes().all(inner)
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

/// Sessions that last as long as the process.
#[derive(Debug, Default)]
pub struct MemorySessions(Mutex<BTreeMap<(Client, String), (Saved, String)>>);

impl MemorySessions {
    fn with<R>(
        &self,
        work: impl FnOnce(&mut BTreeMap<(Client, String), (Saved, String)>) -> R,
    ) -> R {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = crate::app::now();
        sessions.retain(|_, (saved, _)| saved.info.expires.is_none_or(|expires| expires > now));
        work(&mut sessions)
    }
}

fn not_found(name: &str) -> SessionError {
    SessionError::NotFound(name.to_owned())
}

impl Sessions for MemorySessions {
    fn list(&self, client: Client) -> Result<Vec<SessionInfo>, SessionError> {
        let of_client = |sessions: &mut BTreeMap<(Client, String), (Saved, String)>| {
            let own = sessions.iter().filter(|((owner, _), _)| *owner == client);
            own.map(|(_, (saved, _))| saved.info.clone()).collect()
        };
        Ok(self.with(of_client))
    }

    fn show(&self, client: Client, name: &str) -> Result<SessionInfo, SessionError> {
        let key = (client, name.to_owned());
        let found = self.with(|sessions| sessions.get(&key).map(|(saved, _)| saved.info.clone()));
        found.ok_or_else(|| not_found(name))
    }

    fn load(&self, client: Client, name: &str, fingerprint: &str) -> Result<Saved, SessionError> {
        let found = self.with(|sessions| sessions.get(&(client, name.to_owned())).cloned());
        let (saved, found) = found.ok_or_else(|| not_found(name))?;
        if found != fingerprint {
            return Err(SessionError::OtherModel { found, expected: fingerprint.to_owned() });
        }
        Ok(saved)
    }

    fn save(
        &self,
        client: Client,
        name: &str,
        new: NewSession,
    ) -> Result<SessionInfo, SessionError> {
        let now = crate::app::now();
        self.with(|sessions| {
            let old = sessions.get(&(client, name.to_owned())).map(|(saved, _)| &saved.info);
            let info = SessionInfo {
                name: name.to_owned(),
                tokens: new.tokens.len() as u64,
                messages: new.notes.messages,
                bytes: (new.tokens.len() * 4 + new.notes.bytes.len()) as u64,
                created: old.map_or(now, |old| old.created),
                updated: now,
                expires: new.expires,
                parent: new.parent.or_else(|| old?.parent.clone()),
                label: new.label.or_else(|| old?.label.clone()),
                model: new.model,
            };
            let NewSession { tokens, points, content, notes, fingerprint, .. } = new;
            let saved = Saved { tokens, points, content, notes, info: info.clone() };
            sessions.insert((client, name.to_owned()), (saved, fingerprint));
            Ok(info)
        })
    }

    fn fork(
        &self,
        client: Client,
        name: &str,
        to: &str,
        label: Option<String>,
    ) -> Result<SessionInfo, SessionError> {
        self.with(|sessions| {
            let found = sessions.get(&(client, name.to_owned())).cloned();
            let (mut saved, fingerprint) = found.ok_or_else(|| not_found(name))?;
            let key = (client, to.to_owned());
            if sessions.contains_key(&key) {
                return Err(SessionError::Exists(to.to_owned()));
            }
            let now = crate::app::now();
            saved.info = SessionInfo {
                name: to.to_owned(),
                parent: Some(name.to_owned()),
                label,
                created: now,
                updated: now,
                ..saved.info
            };
            let info = saved.info.clone();
            sessions.insert(key, (saved, fingerprint));
            Ok(info)
        })
    }

    fn cut(
        &self,
        client: Client,
        name: &str,
        tokens: u64,
        notes: Notes,
    ) -> Result<SessionInfo, SessionError> {
        self.with(|sessions| {
            let found = sessions.get_mut(&(client, name.to_owned()));
            let (saved, _) = found.ok_or_else(|| not_found(name))?;
            let length = saved.tokens.len() as u64;
            let cut = usize::try_from(tokens).ok().and_then(|n| saved.tokens.get(..n));
            let shorter = SessionError::Shorter { tokens: length, wanted: tokens };
            saved.tokens = cut.ok_or(shorter)?.into();
            saved.points.retain(|point| point.tokens.len() <= saved.tokens.len());
            saved.info.tokens = tokens;
            saved.info.messages = notes.messages;
            saved.info.updated = crate::app::now();
            saved.notes = notes;
            Ok(saved.info.clone())
        })
    }

    fn notes(&self, client: Client, name: &str) -> Result<Notes, SessionError> {
        let key = (client, name.to_owned());
        let found = self.with(|sessions| sessions.get(&key).map(|(saved, _)| saved.notes.clone()));
        found.ok_or_else(|| not_found(name))
    }

    fn label(&self, client: Client, name: &str, label: &str) -> Result<SessionInfo, SessionError> {
        self.with(|sessions| {
            let found = sessions.get_mut(&(client, name.to_owned()));
            let (saved, _) = found.ok_or_else(|| not_found(name))?;
            saved.info.label = Some(label.to_owned());
            Ok(saved.info.clone())
        })
    }

    fn export(&self, _client: Client, _name: &str) -> Result<Export, SessionError> {
        Err(SessionError::Unsupported("exported"))
    }

    fn import(&self, _: Client, _: &str, _: &[u8]) -> Result<SessionInfo, SessionError> {
        Err(SessionError::Unsupported("imported"))
    }

    fn delete(&self, client: Client, name: &str) -> Result<(), SessionError> {
        let removed = self.with(|sessions| sessions.remove(&(client, name.to_owned())));
        removed.map(drop).ok_or_else(|| not_found(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_files() {
        for good in ["a", "A-1_b.c", "7", &"x".repeat(128)] {
            assert!(check_name(good), "{good}");
        }
        for wrong in ["", ".", "..", "../x", "a/b", "-x", "_x", "a b", "é", "a\0", &"x".repeat(129)]
        {
            assert!(!check_name(wrong), "{wrong}");
        }
    }
}
