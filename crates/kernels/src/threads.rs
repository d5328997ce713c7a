//! A small pool of worker threads that stay awake between kernels.
//!
//! A kernel splits its work once, into tasks that are handed out in order; the caller works too.
//! Waking a sleeping thread costs tens of microseconds, a kernel call often less, so workers spin
//! for a short while before they sleep.

#![expect(unsafe_code, reason = "tasks borrow from the caller's stack while it waits for them")]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker looks for new work before it sleeps: longer than the gap between two kernels
/// of a model, shorter than a person notices.
const SPIN: Duration = Duration::from_micros(200);

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
    /// Counts jobs; a worker that sees a new number takes part in the job.
    generation: AtomicU64,
    job: Mutex<Job>,
    wake: Condvar,
    /// Workers that have not yet left the current job.
    running: AtomicUsize,
    next_task: AtomicUsize,
    panicked: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    generation: u64,
    stop: bool,
    num_tasks: usize,
    task: Option<TaskRef>,
}

/// A borrowed task whose lifetime the pool guards.
#[derive(Clone, Copy)]
struct TaskRef(*const (dyn Fn(usize) + Sync + 'static));

// SAFETY: the pointee is `Sync`, and `Threads::run` keeps it alive until every worker left the job.
unsafe impl Send for TaskRef {}

impl Threads {
    /// A pool of `num_threads`, the caller of [`run`](Self::run) included.
    ///
    /// # Panics
    ///
    /// If `num_threads` is 0 or the system refuses a thread.
    pub fn new(num_threads: usize) -> Self {
        assert!(num_threads > 0, "a pool needs at least one thread");
        let job = Job { generation: 0, stop: false, num_tasks: 0, task: None };
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            job: Mutex::new(job),
            wake: Condvar::new(),
            running: AtomicUsize::new(0),
            next_task: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        });
        let workers = (1..num_threads)
            .map(|i| {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new().name(format!("kernel-{i}"));
                builder.spawn(move || shared.work()).expect("the system refuses a thread")
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
        // SAFETY: only the lifetime changes; the loop below waits until no worker can use it.
        let task = TaskRef(unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize) + Sync + '_),
                *const (dyn Fn(usize) + Sync + 'static),
            >(task)
        });
        shared.next_task.store(0, Ordering::Relaxed);
        shared.running.store(self.pool.workers.len(), Ordering::Relaxed);
        {
            let mut job = shared.job.lock().unwrap_or_else(PoisonError::into_inner);
            job.generation += 1;
            job.num_tasks = num_tasks;
            job.task = Some(task);
            shared.generation.store(job.generation, Ordering::Release);
            shared.wake.notify_all();
        }
        shared.take_part(task, num_tasks);
        let mut spins = 0u32;
        while shared.running.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < 1000 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
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
    fn work(&self) {
        let mut seen = 0;
        loop {
            let deadline = Instant::now() + SPIN;
            while self.generation.load(Ordering::Acquire) == seen && Instant::now() < deadline {
                std::hint::spin_loop();
            }
            let job = {
                let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
                while job.generation == seen && !job.stop {
                    job = self.wake.wait(job).unwrap_or_else(PoisonError::into_inner);
                }
                *job
            };
            if job.stop {
                return;
            }
            seen = job.generation;
            if let Some(task) = job.task {
                self.take_part(task, job.num_tasks);
            }
            self.running.fetch_sub(1, Ordering::Release);
        }
    }

    fn take_part(&self, task: TaskRef, num_tasks: usize) {
        // SAFETY: `Threads::run` does not return before this function has, in every thread.
        let task = unsafe { &*task.0 };
        loop {
            let i = self.next_task.fetch_add(1, Ordering::Relaxed);
            if i >= num_tasks {
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| task(i))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let mut job = self.shared.job.lock().unwrap_or_else(PoisonError::into_inner);
            job.stop = true;
            // A new number ends the spinning; `stop` is looked at first.
            self.shared.generation.fetch_add(1, Ordering::Release);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
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
}
