//! Locks of sessions, among threads and processes.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// Locks of sessions of one folder, held until this is dropped.
///
/// A name has one of a few files, `.lock-0` to `.lock-f`, which stay: a file of its own could not be
/// deleted without somebody waiting for what is no longer there. Names that share a lock wait for each
/// other.
#[derive(Debug)]
pub(super) struct Locks {
    _files: Vec<File>,
}

impl Locks {
    /// Waits for them.
    pub(super) fn of(folder: &Path, names: &[&str]) -> io::Result<Self> {
        // In one order, and each once, so that nobody waits for who waits for them.
        let numbers: BTreeSet<u8> = names.iter().map(|name| Self::number(name)).collect();
        let lock = |number| {
            let file = Self::file(folder, number)?;
            match file.lock() {
                // Some file systems have no locks.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
                locked => locked.map(|()| file),
            }
        };
        Ok(Self { _files: numbers.into_iter().map(lock).collect::<io::Result<_>>()? })
    }

    /// That of `name`, if nobody holds it.
    pub(super) fn at_once(folder: &Path, name: &str) -> Option<Self> {
        let file = Self::file(folder, Self::number(name)).ok()?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(_) => return None,
        }
        Some(Self { _files: vec![file] })
    }

    fn file(folder: &Path, number: u8) -> io::Result<File> {
        let path = folder.join(format!(".lock-{number:x}"));
        File::options().create(true).truncate(false).write(true).open(path)
    }

    fn number(name: &str) -> u8 {
        // FNV-1a, in four bits.
        let hash = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        (name.bytes().fold(0x811C_9DC5, hash) >> 28) as u8
    }
}
