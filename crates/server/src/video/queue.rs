//! The line of jobs: one is made at a time, on a thread of its own, the oldest first.

use super::{Failed, Job, Made, Maker, Order, Part, Pictures, Progress, State, Store};
use crate::app::now;
use crate::auth::Client;
use crate::error::{Error, Kind};
use bytes::Bytes;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many jobs there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Jobs that wait, of all clients; others are refused.
    pub waiting: usize,
    /// Of one client.
    pub waiting_of_client: usize,
    /// Jobs of a client that are kept after their end; older ones are forgotten.
    pub kept: usize,
}

impl Default for Limits {
    /// 64 that wait, 16 of a client, 100 kept.
    fn default() -> Self {
        Self { waiting: 64, waiting_of_client: 16, kept: 100 }
    }
}

/// When to try again after the line was full, if nothing is known of how long a clip takes.
const RETRY: Duration = Duration::from_secs(30);

/// The line.
#[derive(Debug)]
pub struct Queue {
    maker: Arc<dyn Maker>,
    store: Arc<dyn Store>,
    limits: Limits,
    inner: Mutex<Inner>,
    /// There is something to do, or all is over.
    wake: Condvar,
}

#[derive(Debug)]
struct Inner {
    /// By number.
    jobs: Vec<Job>,
    next: u64,
    running: Option<Running>,
    is_stopped: bool,
}

/// The job that is being made.
#[derive(Debug)]
struct Running {
    id: String,
    began: Instant,
    step: usize,
    steps: usize,
    preview: Option<Bytes>,
    is_ended: bool,
}

/// A job and how far it is.
#[derive(Clone, Debug)]
pub struct View {
    /// The job.
    pub job: Job,
    /// From 0 to 100.
    pub progress: u32,
    /// Seconds until it is there, once that can be told.
    pub seconds_left: Option<f64>,
    /// Whether there is a picture of how far it is.
    pub has_preview: bool,
}

impl Queue {
    /// A line with the jobs that `store` has, and its thread. Jobs that were being made when the process
    /// ended are made again.
    ///
    /// # Errors
    ///
    /// If the store fails, or there is no thread.
    pub fn start(
        maker: Arc<dyn Maker>,
        store: Arc<dyn Store>,
        limits: Limits,
    ) -> io::Result<Arc<Self>> {
        let mut jobs = store.load()?;
        jobs.sort_by_key(|job| job.number);
        for job in &mut jobs {
            if job.state == State::Running {
                job.state = State::Queued;
            }
        }
        let next = jobs.last().map_or(0, |job| job.number + 1);
        let inner = Mutex::new(Inner { jobs, next, running: None, is_stopped: false });
        let queue = Arc::new(Self { maker, store, limits, inner, wake: Condvar::new() });
        let worker = Arc::clone(&queue);
        std::thread::Builder::new().name("video".to_owned()).spawn(move || worker.work())?;
        Ok(queue)
    }

    /// What makes the clips.
    pub fn maker(&self) -> &dyn Maker {
        &*self.maker
    }

    /// Ends what is being made, which is made again by the next process, and takes no more.
    pub fn stop(&self) {
        let mut inner = self.lock();
        inner.is_stopped = true;
        if let Some(running) = &mut inner.running {
            running.is_ended = true;
        }
        drop(inner);
        self.wake.notify_all();
    }

    /// Takes an order under the name `id`.
    pub(crate) fn submit(
        &self,
        client: Client,
        id: &str,
        order: Order,
        pictures: &Pictures,
    ) -> Result<View, Error> {
        let order = self
            .maker
            .check(order, pictures)
            .map_err(|refused| Error::invalid(refused.field, refused.message))?;
        self.check_room(client)?;
        let files = [
            (Part::First, &pictures.first),
            (Part::Last, &pictures.last),
            (Part::Subject, &pictures.subject),
        ];
        let keep = |job: &Job| {
            for (part, bytes) in files {
                if let Some(bytes) = bytes {
                    self.store.put(id, part, bytes)?;
                }
            }
            // Last, so that an order that is there is there with its pictures.
            self.store.save(job)
        };
        let mut job = Job {
            id: id.to_owned(),
            client: client.0,
            number: 0,
            model: self.maker.name().to_owned(),
            order,
            state: State::Queued,
            created: now(),
            ended: None,
        };
        {
            let mut inner = self.lock();
            job.number = inner.next;
            inner.next += 1;
        }
        if let Err(error) = keep(&job) {
            self.forget(id);
            return Err(store_error(error));
        }
        let mut inner = self.lock();
        let at = inner.jobs.partition_point(|other| other.number < job.number);
        inner.jobs.insert(at, job.clone());
        drop(inner);
        self.wake.notify_all();
        Ok(View { job, progress: 0, seconds_left: None, has_preview: false })
    }

    fn check_room(&self, client: Client) -> Result<(), Error> {
        let inner = self.lock();
        if inner.is_stopped {
            let error = Error::new(Kind::Unavailable, "the server is about to stop");
            return Err(error.retry_after(RETRY));
        }
        let open = inner.jobs.iter().filter(|job| job.is_open());
        let (all, own) = open
            .fold((0, 0), |(all, own), job| (all + 1, own + usize::from(job.client == client.0)));
        let Limits { waiting, waiting_of_client, .. } = self.limits;
        if all < waiting && own < waiting_of_client {
            return Ok(());
        }
        let message = match own < waiting_of_client {
            true => format!("{all} clips wait to be made, expected at most {waiting}"),
            false => {
                format!("{own} of your clips wait to be made, expected at most {waiting_of_client}")
            }
        };
        Err(Error::new(Kind::Busy, message).retry_after(RETRY))
    }

    /// The jobs of a client, oldest first.
    pub(crate) fn list(&self, client: Client) -> Vec<View> {
        let inner = self.lock();
        inner.jobs.iter().filter(|job| job.client == client.0).map(|job| inner.view(job)).collect()
    }

    /// One of them.
    pub(crate) fn show(&self, client: Client, id: &str) -> Result<View, Error> {
        let inner = self.lock();
        Ok(inner.view(inner.find(client, id)?))
    }

    /// A file of what was made.
    pub(crate) fn part(&self, client: Client, id: &str, part: Part) -> Result<Vec<u8>, Error> {
        let state = self.lock().find(client, id)?.state.clone();
        match state {
            State::Completed { .. } => {}
            State::Failed { message } => {
                return Err(Error::new(Kind::NotFound, format!("there is no clip: {message}")));
            }
            State::Queued | State::Running => {
                return Err(Error::new(Kind::NotFound, "the clip is not completed yet"));
            }
        }
        let bytes = self.store.get(id, part).map_err(store_error)?;
        let name = part.file();
        bytes.ok_or_else(|| Error::new(Kind::NotFound, format!("this clip has no `{name}`")))
    }

    /// What a clip that is being made looks like now.
    pub(crate) fn preview(&self, client: Client, id: &str) -> Result<Bytes, Error> {
        let inner = self.lock();
        inner.find(client, id)?;
        let running = inner.running.as_ref().filter(|running| running.id == id);
        let preview = running.and_then(|running| running.preview.clone());
        preview.ok_or_else(|| Error::new(Kind::NotFound, "there is no preview at this time"))
    }

    /// Ends a job if it is open, and forgets it.
    pub(crate) fn delete(&self, client: Client, id: &str) -> Result<(), Error> {
        let mut inner = self.lock();
        inner.find(client, id)?;
        inner.jobs.retain(|job| job.id != id);
        if let Some(running) = inner.running.as_mut().filter(|running| running.id == id) {
            running.is_ended = true;
        }
        drop(inner);
        self.store.delete(id).map_err(store_error)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, id: &str) {
        if let Err(error) = self.store.delete(id) {
            tracing::error!("cannot delete what is left of `{id}`: {error}");
        }
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            let result =
                catch_unwind(AssertUnwindSafe(|| self.make(&job))).unwrap_or_else(|panic| {
                    let said = panic.downcast_ref::<String>().map(String::as_str);
                    let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
                    Err(Failed::Because(internal(said.unwrap_or("a panic"))))
                });
            self.finish(job, result);
        }
    }

    /// Waits for a job and takes it.
    fn next(&self) -> Option<Job> {
        let mut inner = self.lock();
        let i = loop {
            if inner.is_stopped {
                return None;
            }
            match inner.jobs.iter().position(|job| job.state == State::Queued) {
                Some(i) => break i,
                None => inner = self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner),
            }
        };
        inner.jobs[i].state = State::Running;
        let job = inner.jobs[i].clone();
        let (id, began) = (job.id.clone(), Instant::now());
        inner.running =
            Some(Running { id, began, step: 0, steps: 0, preview: None, is_ended: false });
        Some(job)
    }

    fn make(&self, job: &Job) -> Result<Made, Failed> {
        let of_store = |error: io::Error| Failed::Because(internal(error));
        let picture = |part| self.store.get(&job.id, part).map_err(of_store);
        let pictures = Pictures {
            first: picture(Part::First)?,
            last: picture(Part::Last)?,
            subject: picture(Part::Subject)?,
        };
        let made = self.maker.make(&job.order, &pictures, &mut |progress| self.told(progress))?;
        for (part, bytes) in &made.files {
            self.store.put(&job.id, *part, bytes).map_err(of_store)?;
        }
        Ok(made)
    }

    fn told(&self, Progress { step, steps, preview }: Progress) -> ControlFlow<()> {
        let mut inner = self.lock();
        let Some(running) = &mut inner.running else { return ControlFlow::Break(()) };
        (running.step, running.steps) = (step, steps);
        if let Some(preview) = preview {
            running.preview = Some(preview.into());
        }
        if running.is_ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Keeps what became of a job.
    fn finish(&self, job: Job, result: Result<Made, Failed>) {
        let mut job = job;
        job.ended = Some(now());
        job.state = match result {
            Ok(made) => State::Completed { facts: made.facts },
            Err(Failed::Because(message)) => State::Failed { message },
            // The next process makes it, or it was deleted.
            Err(Failed::Ended) => State::Queued,
        };
        let is_deleted = {
            let mut inner = self.lock();
            inner.running = None;
            !inner.jobs.iter().any(|other| other.id == job.id)
        };
        if is_deleted {
            // Files may have come after those that were deleted.
            return self.forget(&job.id);
        }
        if job.state == State::Queued {
            return;
        }
        if let Err(error) = self.store.save(&job) {
            job.state = State::Failed { message: internal(error) };
        }
        let (id, client) = (job.id.clone(), job.client);
        let mut inner = self.lock();
        let there = inner.jobs.iter_mut().find(|other| other.id == id);
        let is_deleted = there.map(|there| *there = job).is_none();
        let old = inner.old(client, self.limits.kept);
        inner.jobs.retain(|job| !old.contains(&job.id));
        drop(inner);
        let late = is_deleted.then_some(id);
        old.iter().chain(&late).for_each(|id| self.forget(id));
    }
}

impl Inner {
    fn find(&self, client: Client, id: &str) -> Result<&Job, Error> {
        let found = self.jobs.iter().find(|job| job.client == client.0 && job.id == id);
        found.ok_or_else(|| {
            let id: String = id.chars().take(100).collect();
            Error::new(Kind::NotFound, format!("there is no clip `{id}`"))
        })
    }

    fn view(&self, job: &Job) -> View {
        let mut view =
            View { job: job.clone(), progress: 0, seconds_left: None, has_preview: false };
        if let State::Completed { .. } = job.state {
            view.progress = 100;
        }
        let Some(running) = self.running.as_ref().filter(|running| running.id == job.id) else {
            return view;
        };
        let Running { began, step, steps, preview, .. } = running;
        if *step > 0 {
            // Writing the files is left after the last step.
            view.progress = (step * 100 / steps.max(step)).min(99) as u32;
            let left = steps.saturating_sub(*step) as f64 / *step as f64;
            view.seconds_left = Some(began.elapsed().as_secs_f64() * left);
        }
        view.has_preview = preview.is_some();
        view
    }

    /// Jobs of a client that are no longer kept.
    fn old(&self, client: u64, kept: usize) -> Vec<String> {
        let ended = |job: &&Job| job.client == client && !job.is_open();
        let ended: Vec<&Job> = self.jobs.iter().filter(ended).collect();
        let many = ended.len().saturating_sub(kept);
        ended[..many].iter().map(|job| job.id.clone()).collect()
    }
}

/// The cause goes to the log and not to the client.
fn internal(cause: impl std::fmt::Display) -> String {
    Error::internal(cause).message
}

fn store_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            tracing::error!("no room for a clip: {error}");
            Error::new(Kind::Unavailable, "there is no room to keep a clip").retry_after(RETRY)
        }
        _ => Error::internal(error),
    }
}
