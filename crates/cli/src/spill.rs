//! Snapshots that gave way in memory, as files: a prompt that comes again is not read again.
//!
//! One folder, which one server holds at a time. Files are those of sessions (`models::sequence`), so
//! what comes back is checked, and mapped rather than copied. A thread writes and opens them; the
//! engine's only looks at a list. What goes wrong costs nobody more than reading again.

use crate::failure::Misuse;
use anyhow::Context as _;
use engine::{Load, Namespace, Snapshot, Tier};
use models::{Cache, Config, sequence};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Fewer tokens are read again sooner than a disk is asked.
const LEAST_TOKENS: usize = 512;
/// Snapshots and questions that wait for the disk; others are let go of, and asked again. What waits is in
/// memory that nobody counts.
const QUEUE: usize = 4;
/// Opened files that may wait to be fetched: who asked for one may be gone.
const OPENED: usize = 4;
const BEGINNING: &str = "snapshot-";
const ENDING: &str = ".safetensors";

/// The longest that the end of a program waits for files to be deleted.
const LONGEST_END: Duration = Duration::from_secs(3);

/// Files of snapshots; their thread deletes them once this is dropped.
pub(crate) struct Spill {
    list: Arc<Mutex<List>>,
    orders: SyncSender<Order>,
}

/// For whoever ends the program.
pub(crate) struct Ended(Receiver<()>);

/// What the thread is to do.
enum Order {
    Write(Namespace, Snapshot<Cache>),
    Open(u64),
}

/// What there is.
#[derive(Default)]
struct List {
    /// By number, the oldest first.
    entries: BTreeMap<u64, Entry>,
    bytes: u64,
    /// Counts uses.
    clock: u64,
}

struct Entry {
    namespace: Namespace,
    tokens: Arc<[u32]>,
    bytes: u64,
    /// When it was last used.
    used: u64,
    state: State,
}

enum State {
    Kept,
    /// To be opened.
    Asked,
    Opened(Cache),
}

/// The thread's part.
struct Writer {
    folder: PathBuf,
    most_bytes: u64,
    config: Config,
    list: Arc<Mutex<List>>,
    next: u64,
    /// Whether a failure was told: disks that are full stay so for a while.
    told: bool,
    _lock: File,
    _ended: Sender<()>,
}

impl Spill {
    /// In `folder`, which is made if it is not there, at most `most_bytes` of snapshots of the model of
    /// `config`. What an earlier server left there goes.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, or another server uses it.
    pub(crate) fn new(
        folder: &Path,
        most_bytes: u64,
        config: Config,
    ) -> anyhow::Result<(Self, Ended)> {
        if folder.exists() && !folder.is_dir() {
            let path = folder.display();
            return Err(Misuse(format!("--spill `{path}` is a file, expected a folder")).into());
        }
        let cannot = || format!("cannot spill to `{}`", folder.display());
        // What was said is nobody else's.
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(folder).with_context(cannot)?;
        let path = folder.join(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(path);
        let lock = lock.with_context(cannot)?;
        if lock.try_lock().is_err() {
            let path = folder.display();
            let message = format!(
                "--spill `{path}` is in use by another server, expected a folder for this one"
            );
            return Err(Misuse(message).into());
        }
        clear(folder).with_context(cannot)?;
        let list = Arc::<Mutex<List>>::default();
        let (orders, receiver) = sync_channel(QUEUE);
        let (ended, end) = mpsc::channel();
        let (folder, of_writer) = (folder.to_owned(), Arc::clone(&list));
        let writer = Writer {
            folder,
            most_bytes,
            config,
            list: of_writer,
            next: 0,
            told: false,
            _lock: lock,
            _ended: ended,
        };
        let thread = std::thread::Builder::new().name("spill".to_owned());
        thread.spawn(move || writer.run(&receiver)).with_context(cannot)?;
        Ok((Self { list, orders }, Ended(end)))
    }
}

impl Ended {
    /// Waits until the files are gone, for a while.
    pub(crate) fn wait(&self) {
        // Nothing is ever sent.
        _ = self.0.recv_timeout(LONGEST_END);
    }
}

impl Tier<Cache> for Spill {
    fn put(&mut self, namespace: Namespace, snapshot: Snapshot<Cache>) {
        if snapshot.tokens.len() >= LEAST_TOKENS
            && !locked(&self.list).is_covered(namespace, &snapshot.tokens)
        {
            // While the disk is busy it is let go of.
            _ = self.orders.try_send(Order::Write(namespace, snapshot));
        }
    }

    fn find(&mut self, namespace: Namespace, tokens: &[u32]) -> usize {
        locked(&self.list).longest(namespace, tokens).map_or(0, |(_, length)| length)
    }

    fn load(&mut self, namespace: Namespace, tokens: &[u32]) -> Load<Cache> {
        let mut list = locked(&self.list);
        list.clock += 1;
        let (clock, found) = (list.clock, list.longest(namespace, tokens));
        let Some((number, _)) = found.filter(|(_, length)| *length == tokens.len()) else {
            return Load::Failed;
        };
        let Some(entry) = list.entries.get_mut(&number) else { return Load::Failed };
        entry.used = clock;
        match &entry.state {
            State::Opened(memory) => {
                let (tokens, memory) = (Arc::clone(&entry.tokens), memory.clone());
                entry.state = State::Kept;
                Load::Ready(Snapshot { tokens, memory })
            }
            State::Asked => Load::Pending,
            State::Kept => {
                if self.orders.try_send(Order::Open(number)).is_ok() {
                    entry.state = State::Asked;
                }
                Load::Pending
            }
        }
    }
}

impl List {
    /// The longest one whose tokens are the first of `tokens`: its number and length.
    fn longest(&self, namespace: Namespace, tokens: &[u32]) -> Option<(u64, usize)> {
        let own = self.entries.iter().filter(|(_, entry)| entry.namespace == namespace);
        let along = own.filter(|(_, entry)| tokens.starts_with(&entry.tokens));
        along.map(|(&number, entry)| (number, entry.tokens.len())).max_by_key(|(_, length)| *length)
    }

    /// Whether what is kept saves seven eighths of what `tokens` would: points along one long text are many, and
    /// each takes a file of its own.
    fn is_covered(&self, namespace: Namespace, tokens: &[u32]) -> bool {
        let kept = self.longest(namespace, tokens);
        kept.is_some_and(|(_, length)| 8 * length > 7 * tokens.len())
    }
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Write(namespace, snapshot) => self.write(namespace, &snapshot),
                Order::Open(number) => self.open(number),
            }
        }
        _ = clear(&self.folder);
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{BEGINNING}{number}{ENDING}"))
    }

    fn write(&mut self, namespace: Namespace, Snapshot { tokens, memory }: &Snapshot<Cache>) {
        let expected = memory.kv_bytes() + memory.state_bytes() + 4 * tokens.len();
        if locked(&self.list).is_covered(namespace, tokens) || !self.make_room(expected as u64) {
            return;
        }
        let number = self.next;
        self.next += 1;
        let path = self.path(number);
        let written = sequence::save(&path, tokens, &[memory], &[], &BTreeMap::new());
        let bytes = written
            .map_err(|error| error.to_string())
            .and_then(|()| Ok(fs::metadata(&path).map_err(|error| error.to_string())?.len()));
        match bytes {
            Ok(bytes) => {
                let mut list = locked(&self.list);
                list.clock += 1;
                list.bytes += bytes;
                let (tokens, used) = (Arc::clone(tokens), list.clock);
                let entry = Entry { namespace, tokens, bytes, used, state: State::Kept };
                list.entries.insert(number, entry);
                self.told = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!("a snapshot is let go of: {error}");
                }
            }
        }
    }

    fn open(&self, number: u64) {
        let opened = sequence::open(&self.path(number), &self.config);
        let point = match opened {
            Ok(mut saved) => saved.points.pop(),
            Err(error) => {
                tracing::warn!("a snapshot is read again: {error}");
                None
            }
        };
        let mut list = locked(&self.list);
        let Some(entry) = list.entries.get_mut(&number) else { return };
        let point = point.filter(|point| point.tokens() == entry.tokens.len());
        let Some(point) = point else {
            drop(list);
            return self.remove(number);
        };
        entry.state = State::Opened(point);
        let opened = list.entries.values_mut().filter(|e| matches!(e.state, State::Opened(_)));
        let mut opened: Vec<&mut Entry> = opened.collect();
        opened.sort_by_key(|entry| entry.used);
        let most = opened.len().saturating_sub(OPENED);
        opened.into_iter().take(most).for_each(|entry| entry.state = State::Kept);
    }

    /// Lets go of those that were not used for longest until `bytes` more fit; whether they do.
    fn make_room(&self, bytes: u64) -> bool {
        if bytes > self.most_bytes {
            return false;
        }
        loop {
            let list = locked(&self.list);
            if list.bytes + bytes <= self.most_bytes {
                return true;
            }
            let oldest = list.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some((&number, _)) = oldest else { return false };
            drop(list);
            self.remove(number);
        }
    }

    fn remove(&self, number: u64) {
        let mut list = locked(&self.list);
        if let Some(entry) = list.entries.remove(&number) {
            list.bytes -= entry.bytes;
        }
        drop(list);
        _ = fs::remove_file(self.path(number));
    }
}

fn locked(list: &Mutex<List>) -> MutexGuard<'_, List> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes files of snapshots, and what a crash left half written, and nothing else.
fn clear(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let between =
            |beginning: &str, ending: &str| name.starts_with(beginning) && name.ends_with(ending);
        if between(BEGINNING, ENDING) || between(".new-", ".tmp") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
