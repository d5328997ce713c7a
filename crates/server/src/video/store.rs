//! Where jobs are kept.

use super::{Job, Part};
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek, Write};
use std::sync::{Mutex, PoisonError};

/// A store of jobs and their files. All calls may take as long as a disk does; what was written survives
/// whatever happens to the process, whole or not at all.
///
/// Names of jobs are made of letters, digits and `_`.
pub trait Store: std::fmt::Debug + Send + Sync {
    /// All jobs.
    ///
    /// # Errors
    ///
    /// If the store fails.
    fn load(&self) -> io::Result<Vec<Job>>;

    /// Keeps a job in place of what was there of it.
    ///
    /// # Errors
    ///
    /// If the store fails; then what was there is still there.
    fn save(&self, job: &Job) -> io::Result<()>;

    /// Keeps what `fill` writes as a file of the job `id`: how many bytes it has.
    ///
    /// # Errors
    ///
    /// If the store or `fill` fails; then what was there is still there.
    fn put(&self, id: &str, part: Part, fill: &mut Fill<'_>) -> io::Result<u64>;

    /// A file of the job `id`, if there is one. It can be read to its end even if it is deleted meanwhile.
    ///
    /// # Errors
    ///
    /// If the store fails.
    fn open(&self, id: &str, part: Part) -> io::Result<Option<Content>>;

    /// Forgets a job and its files, if they are there.
    ///
    /// # Errors
    ///
    /// If the store fails.
    fn delete(&self, id: &str) -> io::Result<()>;
}

/// Where a file is written, from its start.
pub trait Sink: Write + Seek {}

impl<T: Write + Seek> Sink for T {}

/// Writes a file.
pub type Fill<'a> = dyn FnMut(&mut dyn Sink) -> io::Result<()> + 'a;

/// A file that is read piece by piece.
pub struct Content {
    /// How many bytes there are.
    pub length: u64,
    /// The bytes.
    pub bytes: Box<dyn Read + Send>,
}

impl Content {
    /// All of it.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read(mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.bytes.read_to_end(&mut all)?;
        Ok(all)
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("length", &self.length).finish_non_exhaustive()
    }
}

/// A store that lasts as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    jobs: Mutex<BTreeMap<String, Job>>,
    files: Mutex<BTreeMap<(String, Part), Vec<u8>>>,
}

impl Store for MemoryStore {
    fn load(&self) -> io::Result<Vec<Job>> {
        Ok(lock(&self.jobs).values().cloned().collect())
    }

    fn save(&self, job: &Job) -> io::Result<()> {
        lock(&self.jobs).insert(job.id.clone(), job.clone());
        Ok(())
    }

    fn put(&self, id: &str, part: Part, fill: &mut Fill<'_>) -> io::Result<u64> {
        let mut file = Cursor::new(Vec::new());
        fill(&mut file)?;
        let bytes = file.into_inner();
        let length = bytes.len() as u64;
        lock(&self.files).insert((id.to_owned(), part), bytes);
        Ok(length)
    }

    fn open(&self, id: &str, part: Part) -> io::Result<Option<Content>> {
        let bytes = lock(&self.files).get(&(id.to_owned(), part)).cloned();
        Ok(bytes.map(|bytes| Content {
            length: bytes.len() as u64,
            bytes: Box::new(Cursor::new(bytes)),
        }))
    }

    fn delete(&self, id: &str) -> io::Result<()> {
        lock(&self.jobs).remove(id);
        lock(&self.files).retain(|(job, _), _| job != id);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
