//! The line of jobs: one is made at a time, on a thread of its own. Clients take turns, and the jobs of
//! one are made in their order.

use super::line::{Line, Page, RETRY};
use super::{
    Content, Facts, Failed, Fill, Job, Limits, Maker, Order, Part, Pictures, Refused, State, Store,
    View,
};
use crate::app::now;
use crate::auth::Client;
use crate::error::{Error, Kind};
use bytes::Bytes;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The line.
#[derive(Debug)]
pub struct Queue {
    maker: Arc<dyn Maker>,
    store: Arc<dyn Store>,
    limits: Limits,
    line: Mutex<Line>,
    /// There is something to do, or all is over.
    wake: Condvar,
    /// Held by whoever changes what the store has of a job in the line; taken before `line`, which is not
    /// held meanwhile. So nothing is written of a job that was deleted.
    writing: Mutex<()>,
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
        let line = Mutex::new(Line::new(store.load()?));
        let (wake, writing) = (Condvar::new(), Mutex::default());
        let queue = Arc::new(Self { maker, store, limits, line, wake, writing });
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
        self.line().stop();
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
        // Before pictures are decoded: who has no place takes no time either.
        let number = self.line().take_place(client, &self.limits)?;
        let place = Place { queue: self, number };
        let order = self.maker.check(order, pictures).map_err(|refused| match refused {
            Refused::Field { field, message } => Error::invalid(field, message),
            Refused::Memory { message } => Error::new(Kind::Memory, message),
        })?;
        self.line().weigh(client, number, &order, &self.limits)?;
        let job = Job {
            id: id.to_owned(),
            client: client.0,
            number,
            model: self.maker.name().to_owned(),
            order,
            state: State::Queued,
            created: now(),
            ended: None,
        };
        if let Err(error) = self.write(&job, pictures) {
            self.forget(id);
            return Err(store_error(error));
        }
        let mut line = self.line();
        line.fill(job.clone());
        let view = line.view(&job);
        drop(line);
        // It is filled.
        std::mem::forget(place);
        self.wake.notify_all();
        Ok(view)
    }

    fn write(&self, job: &Job, pictures: &Pictures) -> io::Result<()> {
        let Pictures { first, last, subject } = pictures;
        for (part, bytes) in [(Part::First, first), (Part::Last, last), (Part::Subject, subject)] {
            if let Some(bytes) = bytes {
                self.store.put(&job.id, part, &mut |out| out.write_all(bytes))?;
            }
        }
        // Last, so that an order that is there is there with its pictures.
        self.store.save(job)
    }

    /// Jobs of a client from the one after `after` on, the latest first or last.
    pub(crate) fn list(
        &self,
        client: Client,
        after: Option<&str>,
        limit: usize,
        latest_first: bool,
    ) -> Result<Page, Error> {
        self.line().page(client, after, limit, latest_first)
    }

    /// One of them.
    pub(crate) fn show(&self, client: Client, id: &str) -> Result<View, Error> {
        let line = self.line();
        Ok(line.view(line.find(client, id)?))
    }

    /// A file of what was made.
    pub(crate) fn part(&self, client: Client, id: &str, part: Part) -> Result<Content, Error> {
        let state = self.line().find(client, id)?.state.clone();
        match state {
            State::Completed { .. } => {}
            State::Failed { message } => {
                return Err(Error::new(Kind::NotFound, format!("there is no clip: {message}")));
            }
            State::Queued => {
                return Err(Error::new(Kind::NotFound, "the clip is not completed yet"));
            }
        }
        let content = self.store.open(id, part).map_err(store_error)?;
        let name = part.file();
        content.ok_or_else(|| Error::new(Kind::NotFound, format!("this clip has no `{name}`")))
    }

    /// What a clip that is being made looks like now.
    pub(crate) fn preview(&self, client: Client, id: &str) -> Result<Bytes, Error> {
        let line = self.line();
        line.find(client, id)?;
        let none = || Error::new(Kind::NotFound, "there is no preview at this time");
        line.preview(id).ok_or_else(none)
    }

    /// Ends a job if it is open, and forgets it; if the store fails it is still there, to be deleted again.
    pub(crate) fn delete(&self, client: Client, id: &str) -> Result<(), Error> {
        let _writing = lock(&self.writing);
        self.line().find(client, id)?;
        self.store.delete(id).map_err(store_error)?;
        self.line().remove(id);
        Ok(())
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
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
        let mut line = self.line();
        loop {
            if line.is_stopped() {
                return None;
            }
            if let Some(job) = line.begin() {
                return Some(job);
            }
            line = self.wake.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn make(&self, job: &Job) -> Result<Facts, Failed> {
        let of_store = |error: io::Error| Failed::Because(internal(error));
        let picture = |part| -> Result<Option<Vec<u8>>, Failed> {
            let content = self.store.open(&job.id, part).map_err(of_store)?;
            content.map(|content| content.read().map_err(of_store)).transpose()
        };
        let pictures = Pictures {
            first: picture(Part::First)?,
            last: picture(Part::Last)?,
            subject: picture(Part::Subject)?,
        };
        let mut keep = |part: Part, fill: &mut Fill<'_>| {
            let _writing = lock(&self.writing);
            let is_there = self.line().has(&job.id);
            match is_there {
                true => self.store.put(&job.id, part, fill).map_err(of_store),
                false => Err(Failed::Ended),
            }
        };
        let mut watch = |progress| self.line().told(progress);
        self.maker.make(&job.order, &pictures, &mut watch, &mut keep)
    }

    /// Keeps what became of a job.
    fn finish(&self, job: Job, result: Result<Facts, Failed>) {
        let state = match result {
            Ok(facts) => Some(State::Completed { facts }),
            Err(Failed::Because(message)) => Some(State::Failed { message }),
            // The next process makes it, or it was deleted.
            Err(Failed::Ended) => None,
        };
        let _writing = lock(&self.writing);
        let mut job = state.filter(|_| self.line().has(&job.id)).map(|state| Job {
            state,
            ended: Some(now()),
            ..job
        });
        if let Some(job) = &mut job
            && let Err(error) = self.store.save(job)
        {
            job.state = State::Failed { message: internal(error) };
        }
        let old = self.line().end(job, &self.limits);
        old.iter().for_each(|id| self.forget(id));
    }
}

/// A place in the line, given back where the order comes to nothing.
struct Place<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.line().give_back(self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
