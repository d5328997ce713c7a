//! A small pool of worker threads that stay awake between kernels.
//!
//! A kernel splits its work once, into tasks that are handed out in order; the caller works too.
//! Waking a sleeping thread costs tens of microseconds, a kernel call often less, so workers spin
//! for a short while before they sleep.
//!
//! A job is over when its tasks are, not when every worker has seen it: where other processes have
//! the cores, a worker may wait milliseconds for its turn, and a caller that waited with it would
//! be slower than one thread alone. So a task is claimed by one step of one counter, and a worker
//! that comes late finds the counter at 0 and nobody waiting for it.
//!
//! ```text
//! caller   job, unfinished = n, unclaimed = n, take part, wait for unfinished = 0
//! worker   wait for unclaimed > 0, take part
//! both     while (i = unclaimed--) > 0: task n - i;   unfinished -= tasks done
//! ```

#![expect(unsafe_code, reason = "tasks borrow from the caller's stack while it waits for them")]

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker looks for new work, and the caller for the end of what workers have begun,
/// before they sleep. Longer than the gap between two kernels of a model; beside other processes
/// every microsecond more is taken from somebody who has work (`docs/perf/LOG.md`, 2026-11-26).
const SPIN: Duration = Duration::from_micros(50);
/// The clock is read once in so many turns of a spin, about a microsecond.
const TURNS: usize = 32;

/// A handle to a pool of threads; clones share the pool. The last one to go ends the threads.
#[derive(Clone)]
pub struct Threads {
    pool: Arc<Pool>,
}

struct Pool {
    num_threads: usize,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a job runs: one job at a time.
    busy: Mutex<()>,
}

/// What the caller and the workers see.
struct Shared {
    /// Tasks that nobody has claimed yet; less than 0 after somebody looked in vain.
    unclaimed: AtomicIsize,
    /// Tasks that are not done yet, claimed or not.
    unfinished: AtomicUsize,
    job: JobCell,
    panicked: AtomicBool,
    /// The workers' beds: whether each sleeps, or is about to.
    asleep: Vec<AtomicBool>,
    stop: AtomicBool,
    /// Whether the caller sleeps, or is about to, until `unfinished` is 0.
    caller_asleep: AtomicBool,
    caller: Mutex<()>,
    finished: Condvar,
}

#[derive(Clone, Copy)]
struct Job {
    num_tasks: usize,
    task: TaskRef,
}

/// A borrowed task whose lifetime the pool guards.
#[derive(Clone, Copy)]
struct TaskRef(*const (dyn Fn(usize) + Sync + 'static));

/// The job, written by the caller while no task is claimed, read by whoever has claimed one.
struct JobCell(UnsafeCell<Job>);

// SAFETY: the pointee of the task is `Sync`, so it may be called from any thread. The cell is
// written in `Threads::run` only, before tasks can be claimed and after all claimed before were
// done, and read in `Shared::take_part` only, with a claimed task that is not done.
unsafe impl Send for JobCell {}
// SAFETY: as above.
unsafe impl Sync for JobCell {}

impl Threads {
    /// A pool of `num_threads`, the caller of [`run`](Self::run) included.
    ///
    /// # Panics
    ///
    /// If `num_threads` is 0 or the system refuses a thread.
    pub fn new(num_threads: usize) -> Self {
        assert!(num_threads > 0, "a pool needs at least one thread");
        let nothing: &'static (dyn Fn(usize) + Sync) = &|_| ();
        let shared = Arc::new(Shared {
            unclaimed: AtomicIsize::new(0),
            unfinished: AtomicUsize::new(0),
            job: JobCell(UnsafeCell::new(Job { num_tasks: 0, task: TaskRef(nothing) })),
            panicked: AtomicBool::new(false),
            asleep: (1..num_threads).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            caller_asleep: AtomicBool::new(false),
            caller: Mutex::new(()),
            finished: Condvar::new(),
        });
        let workers = (1..num_threads)
            .map(|i| {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new().name(format!("kernel-{i}"));
                builder.spawn(move || shared.work(i - 1)).expect("the system refuses a thread")
            })
            .collect();
        Self { pool: Arc::new(Pool { num_threads, shared, workers, busy: Mutex::new(()) }) }
    }

    /// Number of threads, the caller included.
    pub fn num_threads(&self) -> usize {
        self.pool.num_threads
    }

    /// Calls `task(i)` for every `i` in `0..num_tasks`, each once, and returns when all are done.
    ///
    /// Tasks start in order and must not call `run` on the same pool.
    ///
    /// # Panics
    ///
    /// If a task panics.
    pub fn run(&self, num_tasks: usize, task: impl Fn(usize) + Sync) {
        if self.pool.workers.is_empty() || num_tasks <= 1 {
            (0..num_tasks).for_each(task);
            return;
        }
        let _busy = self.pool.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.pool.shared;
        let task: &(dyn Fn(usize) + Sync) = &task;
        // SAFETY: only the lifetime changes. Who calls the task has claimed a number of it and not
        // yet taken it off `unfinished`, and `wait` below returns when that is 0; nothing between
        // here and there panics, since `take_part` catches what tasks throw.
        let task = TaskRef(unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize) + Sync + '_),
                *const (dyn Fn(usize) + Sync + 'static),
            >(task)
        });
        let unclaimed = num_tasks.try_into().expect("fewer tasks than addresses");
        // SAFETY: nobody reads the cell. The job before is over: its tasks are done, as its `wait`
        // saw; and no task of this one can be claimed before `unclaimed` is stored.
        unsafe { *shared.job.0.get() = Job { num_tasks, task } };
        shared.unfinished.store(num_tasks, Ordering::Relaxed);
        shared.unclaimed.store(unclaimed, Ordering::Release);
        shared.wake(self.pool.workers.iter().take(num_tasks - 1));
        shared.take_part();
        shared.wait();
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a task of the pool panicked");
    }

    /// Splits `data` into consecutive pieces of `piece` elements (the last may be shorter) and
    /// calls `task(i, piece_i)` for each.
    ///
    /// # Panics
    ///
    /// If `piece` is 0 or a task panics.
    pub fn for_each_chunk<T: Send>(
        &self,
        data: &mut [T],
        piece: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        assert!(piece > 0, "pieces of 0 elements");
        let len = data.len();
        let base = SharedMut(data.as_mut_ptr());
        self.run(len.div_ceil(piece), |i| {
            let start = i * piece;
            let n = piece.min(len - start);
            // SAFETY: pieces of different `i` do not overlap and lie within `data`, which is
            // borrowed mutably for as long as `run` takes.
            let chunk = unsafe { std::slice::from_raw_parts_mut(base.at(start), n) };
            task(i, chunk);
        });
    }

    /// Rows per task when `num_rows` rows are split evenly, a few tasks per thread so that a slow
    /// thread does not hold up the others, and never fewer than `min_rows`.
    pub fn rows_per_task(&self, num_rows: usize, min_rows: usize) -> usize {
        let tasks = if self.num_threads() == 1 { 1 } else { 4 * self.num_threads() };
        num_rows.div_ceil(tasks).max(min_rows).max(1)
    }
}

impl Shared {
    /// What worker `i` does until the pool ends.
    fn work(&self, i: usize) {
        let has_work = || self.unclaimed.load(Ordering::Relaxed) > 0;
        let stops = || self.stop.load(Ordering::Relaxed);
        while !stops() {
            if !spin_until(|| has_work() || stops()) {
                let asleep = &self.asleep[i];
                asleep.store(true, Ordering::Relaxed);
                // Either `wake` sees the store above, or this thread sees the work.
                fence(Ordering::SeqCst);
                while asleep.load(Ordering::Relaxed) && !has_work() && !stops() {
                    std::thread::park();
                }
                asleep.store(false, Ordering::Relaxed);
            }
            self.take_part();
        }
    }

    /// Wakes those of the first workers that sleep, after work was laid out for them.
    fn wake<'a>(&self, workers: impl Iterator<Item = &'a JoinHandle<()>>) {
        fence(Ordering::SeqCst);
        for (worker, asleep) in workers.zip(&self.asleep) {
            if asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::Relaxed) {
                worker.thread().unpark();
            }
        }
    }

    /// Claims tasks and does them until there are none.
    fn take_part(&self) {
        let mut done = 0;
        loop {
            let unclaimed = self.unclaimed.fetch_sub(1, Ordering::Acquire);
            let Ok(unclaimed @ 1..) = usize::try_from(unclaimed) else { break };
            // SAFETY: the task just claimed is in `unfinished` until this function takes it off, so
            // the job is not over and not written; that it was written before is what the counter
            // says, which the caller released and this thread acquired.
            let Job { num_tasks, task } = unsafe { *self.job.0.get() };
            // SAFETY: `Threads::run` does not return, and the pointee lives, while a claimed task is
            // in `unfinished`.
            let task = unsafe { &*task.0 };
            if catch_unwind(AssertUnwindSafe(|| task(num_tasks - unclaimed))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            done += 1;
        }
        // From here on the job and its task may be gone.
        let last = done > 0 && self.unfinished.fetch_sub(done, Ordering::SeqCst) == done;
        if last && self.caller_asleep.load(Ordering::SeqCst) {
            // With the lock, the caller is either before its look at `unfinished` or asleep.
            drop(self.caller.lock().unwrap_or_else(PoisonError::into_inner));
            self.finished.notify_all();
        }
    }

    /// Returns when all tasks are done; none is unclaimed. A worker that is done with its part
    /// soon is worth a spin; one that the system has put aside gets this thread's core.
    fn wait(&self) {
        if spin_until(|| self.unfinished.load(Ordering::Acquire) == 0) {
            return;
        }
        // Either the last worker sees this store, or this thread sees its work done.
        self.caller_asleep.store(true, Ordering::SeqCst);
        let mut asleep = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        while self.unfinished.load(Ordering::SeqCst) != 0 {
            asleep = self.finished.wait(asleep).unwrap_or_else(PoisonError::into_inner);
        }
        drop(asleep);
        self.caller_asleep.store(false, Ordering::Relaxed);
    }
}

/// Looks for `condition` for the time of [`SPIN`]; whether it came true.
fn spin_until(condition: impl Fn() -> bool) -> bool {
    let mut deadline = None;
    loop {
        for _ in 0..TURNS {
            if condition() {
                return true;
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        if now >= *deadline.get_or_insert(now + SPIN) {
            return false;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            // Who is not asleep yet will not fall asleep: the first `park` returns at once.
            worker.thread().unpark();
            // A worker catches the panics of its tasks, so it has nothing to report.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({})", self.num_threads())
    }
}

/// A pointer that tasks share; each writes to its own part.
pub(crate) struct SharedMut<T>(pub(crate) *mut T);

// SAFETY: whoever uses the pointer keeps the parts of different threads apart.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    /// The address of element `i`; a method, so that closures capture the wrapper.
    pub(crate) fn at(&self, i: usize) -> *mut T {
        self.0.wrapping_add(i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for num_threads in [1, 2, 5] {
            let threads = Threads::new(num_threads);
            for num_tasks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> =
                    (0..num_tasks).map(|_| AtomicUsize::new(0)).collect();
                threads.run(num_tasks, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn chunks_cover_the_data() {
        let threads = Threads::new(3);
        for (len, piece) in [(0, 1), (1, 4), (10, 3), (12, 4)] {
            let mut data = vec![0usize; len];
            threads.for_each_chunk(&mut data, piece, |i, chunk| chunk.fill(i + 1));
            let want: Vec<usize> = (0..len).map(|i| i / piece + 1).collect();
            assert_eq!(data, want);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let threads = Threads::new(2);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            threads.run(8, |i| assert_ne!(i, 3, "task three"));
        }));
        assert!(failed.is_err());
        let sum = AtomicUsize::new(0);
        threads.run(8, |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 28);
    }

    #[test]
    fn callers_on_different_threads_take_turns() {
        let threads = Threads::new(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let sum = AtomicUsize::new(0);
                        threads.run(10, |i| {
                            sum.fetch_add(i, Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 45);
                    }
                });
            }
        });
    }

    /// Jobs of all lengths, some of them over before a worker wakes, some that panic, from several
    /// callers on more threads than cores: each task runs once, within its job, and is seen done.
    #[test]
    fn any_job_is_done_when_run_returns() {
        let threads = Threads::new(4);
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let threads = threads.clone();
                scope.spawn(move || {
                    let mut rng = crate::Rng(seed);
                    for job in 0..2000 {
                        let num_tasks = rng.below(if job % 50 == 0 { 500 } else { 9 });
                        let fails = (job % 97 == 0).then(|| rng.below(num_tasks.max(1)));
                        if job % 200 == 0 {
                            // Long enough for everybody to fall asleep.
                            std::thread::sleep(4 * SPIN);
                        }
                        // Plain memory of this job only: a late task would write to freed memory.
                        let mut counts = vec![0u32; num_tasks];
                        let ran = catch_unwind(AssertUnwindSafe(|| {
                            threads.for_each_chunk(&mut counts, 1, |i, count| {
                                count[0] += 1;
                                if i % 3 == 2 {
                                    std::thread::yield_now();
                                }
                                assert_ne!(Some(i), fails, "as it should");
                            });
                        }));
                        let failed = fails.is_some_and(|i| i < num_tasks);
                        assert_eq!(ran.is_err(), failed, "job {job}");
                        // A panic on one thread does not keep the others from their tasks, but a
                        // job on the caller's thread alone ends there.
                        let until = if failed && num_tasks == 1 { 0 } else { num_tasks };
                        assert!(counts[..until].iter().all(|&count| count == 1), "job {job}");
                    }
                });
            }
        });
    }

    /// A worker in a long task holds up its own job; the sleeping caller is woken when it is done.
    #[test]
    fn a_caller_that_fell_asleep_is_woken() {
        let threads = Threads::new(2);
        let done = AtomicUsize::new(0);
        for _ in 0..20 {
            done.store(0, Ordering::Relaxed);
            threads.run(2, |_| {
                // Whoever is first waits for the other: both threads are needed.
                done.fetch_add(1, Ordering::SeqCst);
                while done.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
                if std::thread::current().name() == Some("kernel-1") {
                    std::thread::sleep(4 * SPIN);
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
            assert_eq!(done.load(Ordering::SeqCst), 4);
        }
    }

    /// Pools that end while their workers spin, sleep or are on their way to either.
    #[test]
    fn a_pool_ends_at_any_time() {
        for i in 0..50 {
            let threads = Threads::new(3);
            if i % 2 == 0 {
                threads.run(5, |_| ());
            }
            std::thread::sleep(SPIN / 10 * (i % 20));
        }
    }
}
