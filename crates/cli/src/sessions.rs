//! Sessions as files: one for each, in a folder of the user's.
//!
//! ```text
//! FULGURITE_HOME/sessions/local/NAME.safetensors      of `run`, `chat` and a server without keys
//! FULGURITE_HOME/sessions/CLIENT/NAME.safetensors     of the clients of one key
//! ```
//!
//! A file is what `models::sequence` writes, with an entry of metadata about the session. It is written
//! beside the old one and renamed, so there is always a whole one. Whoever changes a session, here or in
//! another process, holds one of the folder's locks from reading what it was to the renaming, so that no
//! change is lost: see [`Locks`]. The last points of a sequence are
//! kept, each the end of an answer, so that going back does not mean reading all of it again.

mod locks;

use locks::Locks;
use models::{Cache, Config, ContentRows, sequence};
use serde::{Deserialize, Serialize};
use server::Client;
use server::backend::Point;
use server::sessions::{Export, NewSession, Notes, Saved, SessionError, SessionInfo, Sessions};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};
use tensor::{Checkpoint, sealed};

/// The entry of a file's metadata that is about the session.
const ABOUT: &str = "fulgurite.session";
/// Points of a sequence that are kept.
const POINTS: usize = 8;
/// How files' names end.
const ENDING: &str = ".safetensors";
/// Who asks on this machine, without a key.
pub(crate) const LOCAL: Client = Client(0);

/// A folder of sessions.
#[derive(Debug)]
pub(crate) struct FileSessions {
    folder: PathBuf,
    /// The model that they are of; without one they can be looked at and copied.
    config: Option<Config>,
    /// One of them that is read while the model is.
    ahead: Mutex<Option<Ahead>>,
}

/// A session of the user's that is being read before it is asked for.
#[derive(Debug)]
struct Ahead {
    name: String,
    /// When the file was written, and its length.
    stamp: (SystemTime, u64),
    session: JoinHandle<Result<Whole, SessionError>>,
}

/// All of a session.
#[derive(Debug)]
struct Whole {
    about: About,
    bytes: u64,
    /// What the model says of it.
    saved: Result<sequence::SavedSequence, SessionError>,
}

/// What a file says of its session.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct About {
    created: u64,
    updated: u64,
    expires: Option<u64>,
    parent: Option<String>,
    label: Option<String>,
    model: String,
    fingerprint: String,
    tokens: u64,
    messages: u64,
    /// What was said, in the server's own form.
    said: String,
}

/// Where sessions and other things that last are: `FULGURITE_HOME`, or the place that the system has
/// for them.
pub(crate) fn home() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(home) = set("FULGURITE_HOME") {
        return home.into();
    }
    let state = set("XDG_STATE_HOME").or_else(|| set("LOCALAPPDATA")).map(PathBuf::from);
    let user = || set("HOME").map(|home| Path::new(&home).join(".local/state"));
    state.or_else(user).unwrap_or_default().join("fulgurite")
}

impl FileSessions {
    /// The user's sessions, of the model of `config` if any is gone on with.
    pub(crate) fn new(config: Option<Config>) -> Self {
        Self { folder: home().join("sessions"), config, ahead: Mutex::new(None) }
    }

    /// Begins to read session `name` of this machine's user: who has a model to load meanwhile need not
    /// wait for it afterwards.
    pub(crate) fn read_ahead(self: &Arc<Self>, name: &str) {
        let Ok(stamp) = stamp(&self.path(LOCAL, name)) else { return };
        let (sessions, name) = (Arc::clone(self), name.to_owned());
        let session = {
            let name = name.clone();
            thread::spawn(move || sessions.whole(LOCAL, &name))
        };
        *lock(&self.ahead) = Some(Ahead { name, stamp, session });
    }

    /// What was [read ahead](Self::read_ahead), once, if the file is still the same.
    fn take_ahead(&self, client: Client, name: &str) -> Option<Result<Whole, SessionError>> {
        let Ahead { stamp: then, session, .. } =
            lock(&self.ahead).take_if(|ahead| client == LOCAL && ahead.name == name)?;
        let session = session.join().ok()?;
        (stamp(&self.path(client, name)).ok()? == then).then_some(session)
    }

    /// All of a session, from its file.
    fn whole(&self, client: Client, name: &str) -> Result<Whole, SessionError> {
        let (file, about) = self.look(client, name)?;
        Ok(Whole { about, bytes: file.file_bytes(), saved: self.read(&file, name) })
    }

    fn folder(&self, Client(client): Client) -> PathBuf {
        match Client(client) {
            LOCAL => self.folder.join("local"),
            _ => self.folder.join(format!("{client:016x}")),
        }
    }

    /// The file of a session; names are checked by whoever asks.
    fn path(&self, client: Client, name: &str) -> PathBuf {
        self.folder(client).join(format!("{name}{ENDING}"))
    }

    /// Names and files of a client, and what the files say or why they cannot be read, by name.
    pub(crate) fn entries(
        &self,
        client: Client,
    ) -> io::Result<Vec<(String, Result<SessionInfo, SessionError>)>> {
        let entries = match fs::read_dir(self.folder(client)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let names = names.filter_map(|name| Some(name.strip_suffix(ENDING)?.to_owned()));
        let mut names: Vec<String> = names.filter(|n| server::sessions::check_name(n)).collect();
        names.sort();
        let info = |name: String| {
            let info = self.show(client, &name);
            (name, info)
        };
        Ok(names.into_iter().map(info).collect())
    }

    /// Waits until nobody else changes these sessions of a client, or makes them.
    fn lock(&self, client: Client, names: &[&str]) -> io::Result<Locks> {
        let folder = self.folder(client);
        fs::create_dir_all(&folder)?;
        Locks::of(&folder, names)
    }

    /// A session's file and what it says of it, the rest not read. The file is opened once: what is done
    /// with it is done with that of which this was said, whatever takes its place meanwhile.
    fn look(&self, client: Client, name: &str) -> Result<(Checkpoint, About), SessionError> {
        let path = self.path(client, name);
        let file = Checkpoint::open(&path).map_err(|error| of_tensor(error, name))?;
        let about = about(&file)?;
        if about.has_expired() {
            self.take_away(client, name);
            return Err(SessionError::NotFound(name.to_owned()));
        }
        Ok((file, about))
    }

    /// Deletes a session that has expired, unless somebody is changing it, which may be making it anew.
    fn take_away(&self, client: Client, name: &str) {
        let path = self.path(client, name);
        let Some(_lock) = Locks::at_once(&self.folder(client), name) else { return };
        if has_expired(&path) {
            _ = fs::remove_file(&path);
        }
    }

    /// The path of a session that is to be, for who holds its lock. One that has expired makes place.
    fn free_path(&self, client: Client, name: &str) -> Result<PathBuf, SessionError> {
        let path = self.path(client, name);
        if !path.exists() {
            return Ok(path);
        }
        if !has_expired(&path) {
            return Err(SessionError::Exists(name.to_owned()));
        }
        fs::remove_file(&path)?;
        Ok(path)
    }

    /// Keeps a session that was exported to a file.
    pub(crate) fn import_file(
        &self,
        client: Client,
        name: &str,
        file: &Path,
    ) -> Result<SessionInfo, SessionError> {
        let _lock = self.lock(client, &[name])?;
        let to = self.free_path(client, name)?;
        let file = Checkpoint::open(file).map_err(|error| match error {
            tensor::Error::Io { source, .. } => SessionError::Io(source),
            other => SessionError::Invalid(unnamed(other)),
        })?;
        sealed::check(&file).map_err(|error| SessionError::Invalid(unnamed(error)))?;
        if !sequence::is_sequence(&file) {
            return Err(SessionError::Invalid("they hold no sequence".to_owned()));
        }
        // Whose child it was there says nothing here.
        let about = About { parent: None, ..about(&file)? };
        copy(&file, &to, name, &about)
    }

    /// Gives a session another name.
    pub(crate) fn rename(&self, client: Client, name: &str, to: &str) -> Result<(), SessionError> {
        let _lock = self.lock(client, &[name, to])?;
        self.look(client, name)?;
        Ok(fs::rename(self.path(client, name), self.free_path(client, to)?)?)
    }

    fn config(&self) -> Result<&Config, SessionError> {
        self.config.as_ref().ok_or(SessionError::Unsupported("gone on with"))
    }

    /// All of a session whose file is open.
    fn read(&self, file: &Checkpoint, name: &str) -> Result<sequence::SavedSequence, SessionError> {
        sequence::read(file, self.config()?).map_err(|error| match error {
            models::Error::Tensor(error) => of_tensor(error, name),
            other => SessionError::Invalid(other.to_string()),
        })
    }

    fn write(
        &self,
        client: Client,
        name: &str,
        tokens: &[u32],
        points: &[&Cache],
        content: &[ContentRows],
        about: &About,
    ) -> Result<SessionInfo, SessionError> {
        fs::create_dir_all(self.folder(client))?;
        let path = self.path(client, name);
        let notes = BTreeMap::from([(ABOUT.to_owned(), noted(about))]);
        sequence::save(&path, tokens, points, content, &notes).map_err(|error| match error {
            models::Error::Tensor(error) => of_tensor(error, name),
            other => SessionError::Invalid(other.to_string()),
        })?;
        Ok(info(name, about, fs::metadata(&path)?.len()))
    }
}

impl Sessions for FileSessions {
    fn list(&self, client: Client) -> Result<Vec<SessionInfo>, SessionError> {
        Ok(self.entries(client)?.into_iter().filter_map(|(_, info)| info.ok()).collect())
    }

    fn show(&self, client: Client, name: &str) -> Result<SessionInfo, SessionError> {
        let (file, about) = self.look(client, name)?;
        Ok(info(name, &about, file.file_bytes()))
    }

    fn load(&self, client: Client, name: &str, fingerprint: &str) -> Result<Saved, SessionError> {
        let whole = match self.take_ahead(client, name) {
            Some(whole) => whole?,
            None => self.whole(client, name)?,
        };
        let Whole { about, bytes, saved } = whole;
        if about.fingerprint != fingerprint {
            return Err(SessionError::OtherModel {
                found: about.model,
                expected: "the one that is loaded, with the same weights and keys".to_owned(),
            });
        }
        let saved = saved?;
        let tokens: Arc<[u32]> = saved.tokens.into();
        let point = |cache: Cache| Point {
            tokens: tokens[..cache.tokens()].into(),
            memory: Arc::new(cache),
        };
        let points = saved.points.into_iter().map(point).collect();
        let info = info(name, &about, bytes);
        Ok(Saved { tokens, points, content: saved.content, notes: notes(about), info })
    }

    fn save(
        &self,
        client: Client,
        name: &str,
        new: NewSession,
    ) -> Result<SessionInfo, SessionError> {
        let _lock = self.lock(client, &[name])?;
        // One that is damaged is as good as none: it is replaced.
        let old = self.look(client, name).ok().map(|(_, about)| about);
        let (created, parent, label) = match old {
            Some(old) => (old.created, old.parent, old.label),
            None => (now(), None, None),
        };
        let about = About {
            created,
            updated: now(),
            expires: new.expires,
            parent: new.parent.or(parent),
            label: new.label.or(label),
            model: new.model,
            fingerprint: new.fingerprint,
            tokens: new.tokens.len() as u64,
            messages: new.notes.messages,
            said: String::from_utf8(new.notes.bytes)
                .map_err(|error| SessionError::Invalid(error.to_string()))?,
        };
        let caches = new.points.iter().filter_map(|point| point.memory.downcast_ref::<Cache>());
        let points: Vec<&Cache> = caches.collect();
        let kept = &points[points.len().saturating_sub(POINTS)..];
        self.write(client, name, &new.tokens, kept, &new.content, &about)
    }

    fn fork(
        &self,
        client: Client,
        name: &str,
        to: &str,
        label: Option<String>,
    ) -> Result<SessionInfo, SessionError> {
        let _lock = self.lock(client, &[name, to])?;
        let (file, about) = self.look(client, name)?;
        let target = self.free_path(client, to)?;
        check(&file, name)?;
        let (parent, time) = (Some(name.to_owned()), now());
        let about = About { parent, label, created: time, updated: time, ..about };
        copy(&file, &target, to, &about)
    }

    fn notes(&self, client: Client, name: &str) -> Result<Notes, SessionError> {
        Ok(notes(self.look(client, name)?.1))
    }

    fn label(&self, client: Client, name: &str, label: &str) -> Result<SessionInfo, SessionError> {
        let _lock = self.lock(client, &[name])?;
        let (file, about) = self.look(client, name)?;
        check(&file, name)?;
        let label = Some(label.to_owned()).filter(|label| !label.is_empty());
        copy(&file, &self.path(client, name), name, &About { label, ..about })
    }

    fn cut(
        &self,
        client: Client,
        name: &str,
        tokens: u64,
        notes: Notes,
    ) -> Result<SessionInfo, SessionError> {
        let _lock = self.lock(client, &[name])?;
        let (file, mut about) = self.look(client, name)?;
        let saved = self.read(&file, name)?;
        let length = saved.tokens.len();
        let Some(left) = usize::try_from(tokens).ok().and_then(|n| saved.tokens.get(..n)) else {
            return Err(SessionError::Shorter { tokens: length as u64, wanted: tokens });
        };
        let points: Vec<&Cache> =
            saved.points.iter().filter(|point| point.tokens() <= left.len()).collect();
        about.tokens = tokens;
        about.updated = now();
        about.messages = notes.messages;
        about.said = String::from_utf8(notes.bytes)
            .map_err(|error| SessionError::Invalid(error.to_string()))?;
        let whole = |content: &ContentRows| content.span().end <= left.len();
        let content: Vec<_> = saved.content.iter().filter(|c| whole(c)).cloned().collect();
        self.write(client, name, left, &points, &content, &about)
    }

    fn export(&self, client: Client, name: &str) -> Result<Export, SessionError> {
        self.look(client, name)?;
        let file = File::open(self.path(client, name))?;
        let bytes = file.metadata()?.len();
        Ok(Export { reader: Box::new(file), bytes })
    }

    fn import(
        &self,
        client: Client,
        name: &str,
        bytes: &[u8],
    ) -> Result<SessionInfo, SessionError> {
        fs::create_dir_all(self.folder(client))?;
        let mut temp = tempfile::Builder::new()
            .prefix(".import-")
            .suffix(ENDING)
            .tempfile_in(self.folder(client))?;
        temp.write_all(bytes)?;
        temp.flush()?;
        self.import_file(client, name, temp.path())
    }

    fn delete(&self, client: Client, name: &str) -> Result<(), SessionError> {
        let _lock = self.lock(client, &[name])?;
        match fs::remove_file(self.path(client, name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SessionError::NotFound(name.to_owned()))
            }
            other => Ok(other?),
        }
    }
}

impl About {
    fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= now())
    }
}

/// When a file was written, and its length: another one in its place has others.
fn stamp(path: &Path) -> io::Result<(SystemTime, u64)> {
    let found = fs::metadata(path)?;
    Ok((found.modified()?, found.len()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there is a session at `path`, and its time is over.
fn has_expired(path: &Path) -> bool {
    let found = Checkpoint::open(path).ok().and_then(|file| about(&file).ok());
    found.is_some_and(|about| about.has_expired())
}

/// What a file says of its session.
fn about(file: &Checkpoint) -> Result<About, SessionError> {
    let invalid = |reason: &str| {
        let path = file.path().file_name().unwrap_or_default().display();
        SessionError::Invalid(format!("`{path}` {reason}"))
    };
    let text = file.notes().get(ABOUT).ok_or_else(|| invalid("holds no session"))?;
    serde_json::from_str(text).map_err(|error| invalid(&format!("is of another kind: {error}")))
}

/// Whether the file of session `name` is as it was written.
fn check(file: &Checkpoint, name: &str) -> Result<(), SessionError> {
    sealed::check(file).map_err(|error| of_tensor(error, name))
}

/// Writes a session's file, which was checked, to `to` as session `name` with another account of it.
fn copy(
    file: &Checkpoint,
    to: &Path,
    name: &str,
    about: &About,
) -> Result<SessionInfo, SessionError> {
    let mut notes = file.notes().clone();
    notes.insert(ABOUT.to_owned(), noted(about));
    sealed::rewrite(file, to, &notes).map_err(|error| of_tensor(error, name))?;
    Ok(info(name, about, fs::metadata(to)?.len()))
}

fn noted(about: &About) -> String {
    serde_json::json!(about).to_string()
}

fn notes(about: About) -> Notes {
    Notes { messages: about.messages, bytes: about.said.into_bytes() }
}

fn info(name: &str, about: &About, bytes: u64) -> SessionInfo {
    SessionInfo {
        name: name.to_owned(),
        tokens: about.tokens,
        messages: about.messages,
        bytes,
        created: about.created,
        updated: about.updated,
        expires: about.expires,
        parent: about.parent.clone(),
        label: about.label.clone(),
        model: about.model.clone(),
    }
}

/// What is wrong with the file of session `name`.
fn of_tensor(error: tensor::Error, name: &str) -> SessionError {
    match error {
        tensor::Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            SessionError::NotFound(name.to_owned())
        }
        tensor::Error::Io { source, .. } => SessionError::Io(source),
        other => SessionError::Invalid(format!("`{name}`, {}", unnamed(other))),
    }
}

/// The reason without the path, which is nothing to clients.
fn unnamed(error: tensor::Error) -> String {
    match error {
        tensor::Error::Format { reason, .. } => reason,
        other => other.to_string(),
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests;
