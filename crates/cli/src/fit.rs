//! Whether a request fits in memory: said, with the arithmetic, before anything is read.

use crate::model::Place;
use indicatif::HumanBytes;
use models::weights::{self, Policy};
use models::{Config, LayerType};
use std::path::{Path, PathBuf};
use tensor::{Checkpoint, Device, KvType, PAGE_TOKENS};

/// A request that is too large.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoesNotFit {
    /// More than the machine holds.
    #[error(
        "{tokens} tokens need {} of KV, {} of state, {} for what is read at once and {} of weights, \
         {} together, and {} of memory are free: expected fewer tokens",
        HumanBytes(need.kv), HumanBytes(need.state), HumanBytes(need.chunk),
        HumanBytes(need.weights), HumanBytes(need.total()), HumanBytes(*free)
    )]
    Memory { tokens: usize, need: Need, free: u64 },
    /// More than the machine that is planned for holds.
    #[error(
        "{context} tokens need {} of memory and {} are free: expected fewer tokens, smaller weights \
         (`--weights`) or more memory",
        HumanBytes(*need), HumanBytes(*free)
    )]
    Plan { need: u64, free: u64, context: usize },
    /// More than the machine holds, for all conversations of a server.
    #[error(
        "--memory asks for {} beside {} of weights and of what is read at once, and {} are free: \
         expected less",
        HumanBytes(*memory), HumanBytes(*beside), HumanBytes(*free)
    )]
    Room { memory: u64, beside: u64, free: u64 },
    /// A context that the model does not have.
    #[error("--context {context} is above {most}, expected at most that, the model's context")]
    Context { context: usize, most: usize },
    /// A clip that takes more than the machine holds.
    #[error(transparent)]
    Clip(video::Error),
    /// More than the model's context.
    #[error(
        "up to `{}` the files have more than {most} bytes, expected at most that for the model's \
         context",
        path.display()
    )]
    Files { path: PathBuf, most: u64 },
}

/// The memory that a request takes beside what the program holds already, the prompt's ids among
/// that; in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// The weights as they are multiplied.
    pub(crate) weights: u64,
    /// What the sequence leaves in the softmax layers.
    pub(crate) kv: u64,
    /// What it leaves in the lightning layers.
    pub(crate) state: u64,
    /// Intermediate results of the tokens that are read at once.
    pub(crate) chunk: u64,
    /// What the system adds: see [`slack`].
    pub(crate) slack: u64,
    /// The weights as the file has them: mapped, and given up by the system when it needs room.
    pub(crate) mapped: u64,
    /// Whether they stay mapped, as part of the program.
    pub(crate) stays: bool,
}

impl Need {
    /// For `tokens` of one sequence, read `chunk` at a time and kept as `kv`, by the model of
    /// `checkpoint` at `place`.
    pub(crate) fn of(
        place: &Place,
        checkpoint: &Checkpoint,
        device: &Device,
        policy: Option<Policy>,
        kv: KvType,
        [tokens, chunk]: [usize; 2],
    ) -> anyhow::Result<Self> {
        let config = place.config()?;
        Ok(Self {
            weights: weights::loaded_bytes(&config, checkpoint, device, policy)?.total,
            kv: config.kv_bytes(tokens, kv),
            state: config.state_bytes(),
            chunk: config.chunk_bytes(chunk),
            slack: slack(&config, tokens, 1),
            mapped: checkpoint.total_bytes() as u64,
            stays: matches!(place, Place::Embedded),
        })
    }

    /// What must be free.
    pub(crate) fn total(&self) -> u64 {
        let parts = [self.weights, self.kv, self.state, self.chunk, self.slack];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    /// The most that the process will have held, if it holds `held` now.
    pub(crate) fn peak(&self, held: u64) -> u64 {
        // While weights are loaded both forms are there, and nothing else yet.
        let loading = self.weights.saturating_add(self.mapped);
        let reading = self.total().saturating_add(if self.stays { self.mapped } else { 0 });
        held.saturating_add(loading.max(reading))
    }

    /// Checks that this fits in the free memory, where the system tells how much that is.
    pub(crate) fn check(self, tokens: usize) -> Result<(), DoesNotFit> {
        match free_bytes() {
            Some(free) if self.total() > free => {
                Err(DoesNotFit::Memory { tokens, need: self, free })
            }
            _ => Ok(()),
        }
    }
}

/// Code and tables of the program that are first touched while it reads (3.4 to 4.5 MB were measured).
const PROGRAM: u64 = 4 << 20;
/// What a page of keys and values is rounded up by at most: large ones are taken from the system, which
/// gives whole pages of memory.
const BESIDE_PAGE: u64 = 4096;

/// What `sequences` of `tokens` each take beside what they hold: among that the ids that an answer is
/// written behind.
pub(crate) fn slack(config: &Config, tokens: usize, sequences: usize) -> u64 {
    let each = |bytes: u64| bytes.saturating_mul(sequences as u64);
    let pages = tokens.div_ceil(PAGE_TOKENS) as u64;
    let beside = pages.saturating_mul(BESIDE_PAGE);
    let beside = each(beside.saturating_mul(config.count(LayerType::FullAttention)));
    PROGRAM.saturating_add(beside).saturating_add(each(ids_bytes(tokens)))
}

/// Ids of tokens, once.
pub(crate) fn ids_bytes(tokens: usize) -> u64 {
    (tokens as u64).saturating_mul(size_of::<u32>() as u64)
}

/// Most bytes of files that can fit in the context: no known token is longer on average.
const BYTES_PER_TOKEN: u64 = 64;

/// The most bytes worth reading for a model of `config`; of byte-level ones each is a token.
pub(crate) fn most_bytes(config: &Config, byte_level: bool) -> u64 {
    let per_token = if byte_level { 1 } else { BYTES_PER_TOKEN };
    (config.max_position_embeddings as u64).saturating_mul(per_token)
}

/// Memory that can be had without pushing others out: of the machine, and of the group of processes
/// that this one is in where that has a limit.
pub(crate) fn free_bytes() -> Option<u64> {
    let machine = kib_in("/proc/meminfo", "MemAvailable:");
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    machine.into_iter().chain(free_in_groups(&groups, Path::new("/sys/fs/cgroup"))).min()
}

/// What the control groups of a process, as the system lists them, leave of their limits, each and those
/// above it; `root` is where they are mounted.
fn free_in_groups(groups: &str, root: &Path) -> Option<u64> {
    let number =
        |path: PathBuf| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    let free = groups.lines().filter_map(|line| {
        // `0::/path` of version 2, `4:memory:/path` of version 1.
        let mut fields = line.splitn(3, ':').skip(1);
        let (base, names) = match fields.next()? {
            "" => (root.to_owned(), ["memory.max", "memory.current"]),
            "memory" => (root.join("memory"), ["memory.limit_in_bytes", "memory.usage_in_bytes"]),
            _ => return None,
        };
        let group = Path::new(fields.next()?.trim_start_matches('/'));
        let free = group.ancestors().filter_map(|group| {
            // `max`, which is no number, is no limit.
            let [limit, held] = names.map(|name| number(base.join(group).join(name)));
            let cached = cached_bytes(&base.join(group).join("memory.stat"));
            Some(limit?.saturating_sub(held?.saturating_sub(cached)))
        });
        free.min()
    });
    free.min()
}

/// Pages of files that a group holds and that the system takes back when it needs room.
fn cached_bytes(stat: &Path) -> u64 {
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    let field = |name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let total = field("total_inactive_file ").or_else(|| field("inactive_file "));
    total.unwrap_or(0)
}

/// The memory that this process holds, where the system tells.
pub(crate) fn rss_bytes() -> Option<u64> {
    kib_in("/proc/self/status", "VmRSS:")
}

/// The same of the process with the number `id`.
pub(crate) fn rss_bytes_of(id: u32) -> Option<u64> {
    kib_in(&format!("/proc/{id}/status"), "VmRSS:")
}

/// The most memory this process has held, since [`forget_peak_rss`] if that was called, where the
/// system tells.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    kib_in("/proc/self/status", "VmHWM:")
}

/// Begins the record of [`peak_rss_bytes`] anew, where the system lets us: elsewhere it goes on and
/// is the most of a longer time.
pub(crate) fn forget_peak_rss() {
    // proc(5): writing 5 to this file resets the peak resident set size.
    _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The bytes behind `field` in a file of the kernel, whose lines give kB.
fn kib_in(path: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::free_in_groups;
    use std::fs;
    use std::path::Path;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    /// Of both versions; the tightest limit counts, and what files hold can be taken back.
    #[test]
    fn limits_of_groups_count() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(&root.join("a"), &[("memory.max", "1000\n"), ("memory.current", "600\n")]);
        let inner = [
            ("memory.max", "max\n"),
            ("memory.current", "500\n"),
            ("memory.stat", "anon 400\ninactive_file 100\n"),
        ];
        write(&root.join("a/b"), &inner);
        assert_eq!(free_in_groups("0::/a/b\n", root), Some(400));
        fs::write(root.join("a/b/memory.max"), "700").unwrap();
        assert_eq!(free_in_groups("0::/a/b\n", root), Some(300));
        let old = [("memory.limit_in_bytes", "900"), ("memory.usage_in_bytes", "950")];
        write(&root.join("memory/c"), &old);
        assert_eq!(free_in_groups("9:cpu:/c\n4:memory:/c\n", root), Some(0));
        assert_eq!(free_in_groups("0::/nowhere\n", root), None);
        assert_eq!(free_in_groups("", root), None);
    }
}
