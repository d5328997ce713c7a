//! Whether a request fits in memory: said, with the arithmetic, before anything is read.

use indicatif::HumanBytes;
use models::Config;

/// A sequence that needs more memory than there is.
#[derive(Debug, thiserror::Error)]
#[error(
    "{tokens} tokens need {} of KV and {} of state, {} together, and {} of memory are free: \
     ask about a shorter text",
    HumanBytes(*kv), HumanBytes(*state), HumanBytes(kv + state), HumanBytes(*free)
)]
pub(crate) struct TooLarge {
    tokens: usize,
    kv: u64,
    state: u64,
    free: u64,
}

/// Checks that what `tokens` of one sequence leave behind fits in the free memory, where the
/// system tells how much that is.
pub(crate) fn check(config: &Config, tokens: usize) -> Result<(), TooLarge> {
    let (kv, state) = (config.kv_bytes(tokens), config.state_bytes());
    match free_bytes() {
        Some(free) if kv + state > free => Err(TooLarge { tokens, kv, state, free }),
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
