//! Bytes held: each allocation counted once, however many memories share it.

use crate::model::Part;
use std::collections::HashMap;

/// Who holds a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A request that runs.
    Running,
    /// A snapshot that stays.
    Pinned,
    /// A snapshot that gives way.
    Usual,
}

/// What all memories hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    shared: HashMap<usize, Entry>,
    held: u64,
    /// Bytes of allocations of one memory alone: states.
    own: u64,
    by_running: u64,
    by_pinned: u64,
    only_usual: u64,
}

/// An allocation and how many memories of each owner hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    bytes: u64,
    owners: [u32; 3],
}

impl Ledger {
    /// Takes note of parts that `owner` holds from now on.
    pub(crate) fn add(&mut self, owner: Owner, parts: impl IntoIterator<Item = Part>) {
        for part in parts {
            match part {
                Part::Own(bytes) => {
                    self.own += bytes;
                    self.count(bytes, [0; 3], one(owner));
                }
                Part::Shared { address, bytes } => {
                    let entry =
                        self.shared.entry(address).or_insert(Entry { bytes, owners: [0; 3] });
                    debug_assert_eq!(entry.bytes, bytes, "the size of one allocation");
                    let (bytes, before) = (entry.bytes, entry.owners);
                    entry.owners[owner as usize] += 1;
                    let after = entry.owners;
                    self.count(bytes, before, after);
                }
            }
        }
    }

    /// Takes note of parts that `owner` held so far.
    ///
    /// # Panics
    ///
    /// If it did not.
    pub(crate) fn remove(&mut self, owner: Owner, parts: impl IntoIterator<Item = Part>) {
        for part in parts {
            match part {
                Part::Own(bytes) => {
                    self.own -= bytes;
                    self.count(bytes, one(owner), [0; 3]);
                }
                Part::Shared { address, .. } => {
                    let entry = self.shared.get_mut(&address).expect("a part that is held");
                    let (bytes, before) = (entry.bytes, entry.owners);
                    entry.owners[owner as usize] -= 1;
                    let after = entry.owners;
                    if after == [0; 3] {
                        self.shared.remove(&address);
                    }
                    self.count(bytes, before, after);
                }
            }
        }
    }

    /// So many bytes change hands.
    fn count(&mut self, bytes: u64, before: [u32; 3], after: [u32; 3]) {
        let change = |sum: &mut u64, is: &dyn Fn([u32; 3]) -> bool| match (is(before), is(after)) {
            (false, true) => *sum += bytes,
            (true, false) => *sum -= bytes,
            _ => {}
        };
        let [running, pinned, usual] =
            [Owner::Running, Owner::Pinned, Owner::Usual].map(|o| o as usize);
        change(&mut self.held, &|n| n != [0; 3]);
        change(&mut self.by_running, &|n| n[running] > 0);
        change(&mut self.by_pinned, &|n| n[pinned] > 0);
        change(&mut self.only_usual, &|n| n[running] == 0 && n[pinned] == 0 && n[usual] > 0);
    }

    /// All bytes.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// Bytes of what clones share, which grows with tokens: keys and values.
    pub(crate) fn kv(&self) -> u64 {
        self.held - self.own
    }

    /// Bytes that running requests hold, whoever else does.
    pub(crate) fn running(&self) -> u64 {
        self.by_running
    }

    /// Bytes that pinned snapshots hold, whoever else does.
    pub(crate) fn pinned(&self) -> u64 {
        self.by_pinned
    }

    /// Bytes that snapshots alone hold, which would be free without those that give way.
    pub(crate) fn evictable(&self) -> u64 {
        self.only_usual
    }

    /// Bytes that snapshots of both kinds hold and no running request does.
    pub(crate) fn snapshots(&self) -> u64 {
        self.held - self.by_running
    }

    /// Bytes that are copied until every one of some running memories has changed its own of `parts`,
    /// those of all of them: whoever is the last to hold an allocation changes it where it is. With
    /// `usual` snapshots that give way hold what they do, without they count as gone.
    pub(crate) fn copied(&self, parts: impl IntoIterator<Item = Part>, usual: bool) -> u64 {
        let mut changed: HashMap<usize, (u64, u32)> = HashMap::new();
        for part in parts {
            if let Part::Shared { address, bytes } = part
                && self.holders(address, usual) > 1
            {
                changed.entry(address).or_insert((bytes, 0)).1 += 1;
            }
        }
        let copies = |(address, (bytes, writers))| {
            let others = self.holders(address, usual) > writers;
            bytes * u64::from(if others { writers } else { writers - 1 })
        };
        changed.into_iter().map(copies).sum()
    }

    /// How many hold an allocation.
    fn holders(&self, address: usize, usual: bool) -> u32 {
        let [running, pinned, others] =
            self.shared.get(&address).map_or([0; 3], |entry| entry.owners);
        running + pinned + if usual { others } else { 0 }
    }
}

fn one(owner: Owner) -> [u32; 3] {
    let mut owners = [0; 3];
    owners[owner as usize] = 1;
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(address: usize, bytes: u64) -> Part {
        Part::Shared { address, bytes }
    }

    fn sums(ledger: &Ledger) -> [u64; 4] {
        [ledger.held(), ledger.running(), ledger.pinned(), ledger.evictable()]
    }

    #[test]
    fn what_is_shared_counts_once_and_for_the_strongest() {
        let mut ledger = Ledger::default();
        ledger.add(Owner::Usual, [shared(1, 10), shared(2, 20), Part::Own(5)]);
        assert_eq!(sums(&ledger), [35, 0, 0, 35]);
        ledger.add(Owner::Running, [shared(1, 10), Part::Own(7)]);
        assert_eq!(sums(&ledger), [42, 17, 0, 25]);
        ledger.add(Owner::Pinned, [shared(1, 10), shared(2, 20)]);
        assert_eq!(sums(&ledger), [42, 17, 30, 5]);
        assert_eq!((ledger.snapshots(), ledger.kv()), (25, 30));
        ledger.remove(Owner::Usual, [shared(1, 10), shared(2, 20), Part::Own(5)]);
        assert_eq!(sums(&ledger), [37, 17, 30, 0]);
        ledger.remove(Owner::Running, [shared(1, 10), Part::Own(7)]);
        ledger.remove(Owner::Pinned, [shared(1, 10), shared(2, 20)]);
        assert_eq!(ledger, Ledger::default());
    }

    #[test]
    fn whoever_is_last_copies_nothing() {
        let mut ledger = Ledger::default();
        let page = || [shared(1, 10), Part::Own(5)];
        let pages = |n| std::iter::repeat_n(page(), n).flatten();
        let copied = |ledger: &Ledger, n| [true, false].map(|usual| ledger.copied(pages(n), usual));
        ledger.add(Owner::Running, page());
        assert_eq!(copied(&ledger, 1), [0, 0]);
        // Two forks: one of them copies. Or one, and another that does not change it.
        ledger.add(Owner::Running, page());
        assert_eq!([copied(&ledger, 2), copied(&ledger, 1)], [[10, 10], [10, 10]]);
        // A snapshot that gives way: both copy while it is there.
        ledger.add(Owner::Usual, page());
        assert_eq!(copied(&ledger, 2), [20, 10]);
        ledger.remove(Owner::Running, page());
        assert_eq!(copied(&ledger, 1), [10, 0]);
        ledger.add(Owner::Pinned, page());
        assert_eq!(copied(&ledger, 1), [10, 10]);
        assert_eq!(copied(&ledger, 0), [0, 0]);
    }

    #[test]
    fn a_memory_may_hold_a_part_twice() {
        let mut ledger = Ledger::default();
        ledger.add(Owner::Running, [shared(1, 10), shared(1, 10)]);
        assert_eq!(ledger.held(), 10);
        ledger.remove(Owner::Running, [shared(1, 10)]);
        assert_eq!(ledger.held(), 10);
        ledger.remove(Owner::Running, [shared(1, 10)]);
        assert_eq!(ledger.held(), 0);
    }
}
