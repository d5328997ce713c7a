//! Orders of clips and their results as files: a folder for each.
//!
//! ```text
//! FULGURITE_HOME/videos/ID/job.json      the order, and what became of it
//! FULGURITE_HOME/videos/ID/video.mp4     and the other files of `server::video::Part`
//! ```
//!
//! Each file is written beside its name and renamed. `job.json` comes last of an order and of a result,
//! so what it names is there; a folder without one is what is left of an order that was not taken.

use server::video::{Job, Part, Store};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tensor::atomic::atomic_write_bytes;

/// The file about the job.
const JOB: &str = "job.json";

/// A folder of jobs.
#[derive(Debug)]
pub(crate) struct ClipStore {
    folder: PathBuf,
}

impl ClipStore {
    /// In the folder `home`, which need not be there.
    pub(crate) fn new(home: &Path) -> Self {
        Self { folder: home.join("videos") }
    }

    /// The folder of a job; names are those that the server gives.
    fn job(&self, id: &str) -> io::Result<PathBuf> {
        match !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            true => Ok(self.folder.join(id)),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "no name of a job")),
        }
    }

    fn write(&self, id: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.job(id)?;
        fs::create_dir_all(&folder)?;
        atomic_write_bytes(&folder.join(name), bytes)
    }
}

impl Store for ClipStore {
    fn load(&self) -> io::Result<Vec<Job>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut jobs = Vec::new();
        for entry in entries {
            let folder = entry?.path();
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
                // What is left of an order that was not taken.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!("`{}` is left alone: {error}", folder.join(JOB).display());
                }
            }
        }
        Ok(jobs)
    }

    fn save(&self, job: &Job) -> io::Result<()> {
        self.write(&job.id, JOB, &serde_json::to_vec(job).map_err(io::Error::other)?)
    }

    fn put(&self, id: &str, part: Part, bytes: &[u8]) -> io::Result<()> {
        self.write(id, part.file(), bytes)
    }

    fn get(&self, id: &str, part: Part) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.job(id)?.join(part.file())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => bytes.map(Some),
        }
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

    #[test]
    fn jobs_come_back_whole() {
        let home = tempfile::tempdir().unwrap();
        let store = ClipStore::new(home.path());
        assert!(store.load().unwrap().is_empty());
        let facts = Facts {
            width: 64,
            height: 48,
            frames: 9,
            rate: 6.0,
            flagged: vec![3],
            repaired: vec![],
        };
        let jobs = [
            job("video_0", 0, State::Queued),
            job("video_1", 1, State::Completed { facts }),
            job("video_2", 2, State::Failed { message: "no memory".to_owned() }),
        ];
        jobs.iter().for_each(|job| store.save(job).unwrap());
        store.put("video_1", Part::Video, b"mp4").unwrap();
        // What is left of an order that was not taken, and what is damaged or of somebody else.
        store.put("video_3", Part::First, b"png").unwrap();
        for (name, text) in [("video_4", "{"), ("video_5", "{}")] {
            fs::create_dir(home.path().join("videos").join(name)).unwrap();
            fs::write(home.path().join("videos").join(name).join(JOB), text).unwrap();
        }
        let again = ClipStore::new(home.path());
        let mut loaded = again.load().unwrap();
        loaded.sort_by_key(|job| job.number);
        assert_eq!(loaded, jobs);
        assert_eq!(again.get("video_1", Part::Video).unwrap().as_deref(), Some(&b"mp4"[..]));
        assert_eq!(again.get("video_1", Part::Gif).unwrap(), None);
        again.delete("video_1").unwrap();
        again.delete("video_1").unwrap();
        assert_eq!(again.get("video_1", Part::Video).unwrap(), None);
        assert_eq!(again.load().unwrap().len(), 2);
        for id in ["", "..", "a/b", "/etc"] {
            assert!(again.delete(id).is_err() && again.get(id, Part::Video).is_err(), "{id}");
        }
    }
}
