//! Orders of clips and their results as files: a folder for each.
//!
//! ```text
//! FULGURITE_HOME/videos/ID/job.json      the order, and what became of it
//! FULGURITE_HOME/videos/ID/video.mp4     and the other files of `server::video::Part`
//! ```
//!
//! Each file is written beside its name and renamed. `job.json` comes last of an order and of a result,
//! so what it names is there; a folder without one is what is left of an order that was not taken, and
//! goes when the store is opened. `.lock` is held by the process whose jobs these are.

use server::video::{Content, Fill, Job, Part, Store};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use tensor::atomic::atomic_write;

/// The file about the job.
const JOB: &str = "job.json";

/// The file whose lock says that somebody has the folder.
const LOCK: &str = ".lock";

/// A folder of jobs, of this process alone.
#[derive(Debug)]
pub(crate) struct ClipStore {
    folder: PathBuf,
    /// Locked until this is dropped, or the process ends.
    _lock: File,
}

impl ClipStore {
    /// In the folder `home`, which need not be there.
    ///
    /// # Errors
    ///
    /// If another process has the jobs of this folder, or it cannot be written to.
    pub(crate) fn open(home: &Path) -> io::Result<Self> {
        let folder = home.join("videos");
        fs::create_dir_all(&folder)?;
        let path = folder.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message =
                    "another process makes them, expected another FULGURITE_HOME for each";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
            }
            // Some file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self { folder, _lock: lock })
    }

    /// The folder of a job; names are those that the server gives.
    fn job(&self, id: &str) -> io::Result<PathBuf> {
        match !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            true => Ok(self.folder.join(id)),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "no name of a job")),
        }
    }

    fn write(&self, id: &str, name: &str, fill: &mut Fill<'_>) -> io::Result<u64> {
        let folder = self.job(id)?;
        if !folder.is_dir() {
            fs::create_dir_all(&folder)?;
            // What is in it lasts once its own name does; not every file system can do that.
            if let Ok(folder) = File::open(&self.folder) {
                folder.sync_all().ok();
            }
        }
        let mut length = 0;
        atomic_write(&folder.join(name), |temp| {
            let mut file = BufWriter::new(File::create(temp)?);
            fill(&mut file)?;
            length = file.into_inner().map_err(io::IntoInnerError::into_error)?.metadata()?.len();
            Ok(())
        })?;
        Ok(length)
    }
}

impl Store for ClipStore {
    fn load(&self) -> io::Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let folder = entry?.path();
            if !folder.is_dir() {
                continue;
            }
            let job = match fs::read(folder.join(JOB)) {
                Ok(bytes) => serde_json::from_slice::<Job>(&bytes).map_err(io::Error::other),
                Err(error) => Err(error),
            };
            match job {
                Ok(job) if folder.file_name().is_some_and(|name| name == &job.id[..]) => {
                    jobs.push(job);
                }
                Ok(_) => {
                    tracing::warn!("`{}` is of another job; it is left alone", folder.display());
                }
                // What is left of an order that was not taken, or of a clip that was deleted.
                Err(error) if error.kind() == io::ErrorKind::NotFound => forget_rest(&folder),
                Err(error) => {
                    tracing::warn!("`{}` is left alone: {error}", folder.join(JOB).display());
                }
            }
        }
        Ok(jobs)
    }

    fn save(&self, job: &Job) -> io::Result<()> {
        let bytes = serde_json::to_vec(job).map_err(io::Error::other)?;
        self.write(&job.id, JOB, &mut |out| out.write_all(&bytes)).map(|_| ())
    }

    fn put(&self, id: &str, part: Part, fill: &mut Fill<'_>) -> io::Result<u64> {
        self.write(id, part.file(), fill)
    }

    fn open(&self, id: &str, part: Part) -> io::Result<Option<Content>> {
        let file = match File::open(self.job(id)?.join(part.file())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        Ok(Some(Content { length: file.metadata()?.len(), bytes: Box::new(file) }))
    }

    fn delete(&self, id: &str) -> io::Result<()> {
        let folder = self.job(id)?;
        // First what makes it a job, so that half a folder is none.
        for result in [fs::remove_file(folder.join(JOB)), fs::remove_dir_all(&folder)] {
            match result {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Removes a folder without a job, if there is nothing in it but what a job has.
fn forget_rest(folder: &Path) {
    let is_ours = |name: &str| {
        Part::ALL.iter().any(|part| part.file() == name)
            || (name.starts_with(".new-") && name.ends_with(".tmp"))
    };
    let names = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
    });
    let removed = match names {
        Ok(names) if names.iter().all(|name| name.to_str().is_some_and(is_ours)) => {
            fs::remove_dir_all(folder)
        }
        Ok(_) => Err(io::Error::other("it has no `job.json`, and other files")),
        Err(error) => Err(error),
    };
    if let Err(error) = removed {
        tracing::warn!("`{}` is left alone: {error}", folder.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use server::video::{Facts, Order, State};

    fn job(id: &str, number: u64, state: State) -> Job {
        let order = Order {
            prompt: "a red circle".to_owned(),
            seed: 7,
            eta: Some(0.25),
            ..Order::default()
        };
        let model = "nano-video".to_owned();
        Job { id: id.to_owned(), client: 3, number, model, order, state, created: 5, ended: None }
    }

    fn put(store: &ClipStore, id: &str, part: Part, bytes: &[u8]) {
        let length = store.put(id, part, &mut |out| out.write_all(bytes)).unwrap();
        assert_eq!(length, bytes.len() as u64);
    }

    fn get(store: &ClipStore, id: &str, part: Part) -> Option<Vec<u8>> {
        let content = store.open(id, part).unwrap()?;
        let length = content.length;
        let bytes = content.read().unwrap();
        assert_eq!(length, bytes.len() as u64);
        Some(bytes)
    }

    #[test]
    fn jobs_come_back_whole() {
        let home = tempfile::tempdir().unwrap();
        let store = ClipStore::open(home.path()).unwrap();
        assert!(store.load().unwrap().is_empty());
        let facts = Facts {
            width: 64,
            height: 48,
            frames: 9,
            rate: 6.0,
            bytes: 3,
            flagged: vec![3],
            repaired: vec![],
        };
        let jobs = [
            job("video_0", 0, State::Queued),
            job("video_1", 1, State::Completed { facts }),
            job("video_2", 2, State::Failed { message: "no memory".to_owned() }),
        ];
        jobs.iter().for_each(|job| store.save(job).unwrap());
        put(&store, "video_1", Part::Video, b"mp4");
        // What is left of an order that was not taken, and what is damaged or of somebody else.
        put(&store, "video_3", Part::First, b"png");
        let videos = home.path().join("videos");
        for (name, file, text) in
            [("video_4", JOB, "{"), ("video_5", JOB, "{}"), ("video_6", "thesis.txt", "x")]
        {
            fs::create_dir(videos.join(name)).unwrap();
            fs::write(videos.join(name).join(file), text).unwrap();
        }
        fs::write(videos.join("video_3/.new-abc.tmp"), "half").unwrap();
        drop(store);
        let again = ClipStore::open(home.path()).unwrap();
        let mut loaded = again.load().unwrap();
        loaded.sort_by_key(|job| job.number);
        assert_eq!(loaded, jobs);
        assert!(!videos.join("video_3").exists());
        assert!(["video_4", "video_5", "video_6"].iter().all(|name| videos.join(name).exists()));
        assert_eq!(get(&again, "video_1", Part::Video).as_deref(), Some(&b"mp4"[..]));
        assert_eq!(get(&again, "video_1", Part::Gif), None);
        let full = again.put("video_1", Part::Video, &mut |out| {
            out.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(get(&again, "video_1", Part::Video).as_deref(), Some(&b"mp4"[..]));
        again.delete("video_1").unwrap();
        again.delete("video_1").unwrap();
        assert_eq!(get(&again, "video_1", Part::Video), None);
        assert_eq!(again.load().unwrap().len(), 2);
        for id in ["", "..", "a/b", "/etc"] {
            assert!(again.delete(id).is_err() && again.open(id, Part::Video).is_err(), "{id}");
        }
    }

    #[test]
    fn a_folder_has_one_process() {
        let home = tempfile::tempdir().unwrap();
        let store = ClipStore::open(home.path()).unwrap();
        let error = ClipStore::open(home.path()).unwrap_err();
        assert!(error.to_string().contains("FULGURITE_HOME"), "{error}");
        drop(store);
        ClipStore::open(home.path()).unwrap();
    }
}
