//! Whether a request fits in memory: said, with the arithmetic, before anything is read.

use indicatif::HumanBytes;
use models::Config;
use std::path::PathBuf;

/// A request that is too large.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoesNotFit {
    /// More than the machine holds.
    #[error(
        "{tokens} tokens need {} of KV and {} of state, {} together, and {} of memory are free: \
         ask about a shorter text",
        HumanBytes(*kv), HumanBytes(*state), HumanBytes(kv.saturating_add(*state)), HumanBytes(*free)
    )]
    Memory { tokens: usize, kv: u64, state: u64, free: u64 },
    /// More than the model's context.
    #[error(
        "up to `{}` the files have more than {most} bytes, expected at most that for the model's \
         context",
        path.display()
    )]
    Files { path: PathBuf, most: u64 },
}

/// Most bytes of files that can fit in the context: no known token is longer on average.
const BYTES_PER_TOKEN: u64 = 64;

/// The most bytes worth reading for a model of `config`; of byte-level ones each is a token.
pub(crate) fn most_bytes(config: &Config, byte_level: bool) -> u64 {
    let per_token = if byte_level { 1 } else { BYTES_PER_TOKEN };
    (config.max_position_embeddings as u64).saturating_mul(per_token)
}

/// Checks that what `tokens` of one sequence leave behind fits in the free memory, where the
/// system tells how much that is.
pub(crate) fn check(config: &Config, tokens: usize) -> Result<(), DoesNotFit> {
    let (kv, state) = (config.kv_bytes(tokens), config.state_bytes());
    match free_bytes() {
        Some(free) if kv.saturating_add(state) > free => {
            Err(DoesNotFit::Memory { tokens, kv, state, free })
        }
        _ => Ok(()),
    }
}

/// Memory that can be had without pushing others out.
fn free_bytes() -> Option<u64> {
    kib_in("/proc/meminfo", "MemAvailable:")
}

/// The most memory this process has held, where the system tells.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    kib_in("/proc/self/status", "VmHWM:")
}

/// The bytes behind `field` in a file of the kernel, whose lines give kB.
fn kib_in(path: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
