//! Who is in the line, and who is next. Nothing here waits or writes.

use super::{Job, Order, Progress, State};
use crate::auth::Client;
use crate::error::{Error, Kind};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How many jobs there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Jobs that wait, of all clients; others are refused.
    pub waiting: usize,
    /// Of one client.
    pub waiting_of_client: usize,
    /// Frames times steps times candidates of what waits of one client: so long others may wait for it.
    pub work_of_client: u64,
    /// Jobs of a client that are kept after their end; older ones are forgotten.
    pub kept: usize,
}

impl Default for Limits {
    /// 64 that wait, 16 of a client, 10 000 frames in 100 steps, 100 kept.
    fn default() -> Self {
        Self { waiting: 64, waiting_of_client: 16, work_of_client: 1_000_000, kept: 100 }
    }
}

/// When to try again after the line was full, if nothing is known of how long a clip takes.
pub(super) const RETRY: Duration = Duration::from_secs(30);

/// A job and how far it is.
#[derive(Clone, Debug)]
pub struct View {
    /// The job.
    pub job: Job,
    /// Whether it is being made.
    pub is_running: bool,
    /// From 0 to 100.
    pub progress: u32,
    /// Seconds until it is there, once that can be told.
    pub seconds_left: Option<f64>,
    /// Whether there is a picture of how far it is.
    pub has_preview: bool,
}

/// Part of a list.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// One by one.
    pub(crate) views: Vec<View>,
    /// Whether there are more after the last.
    pub(crate) has_more: bool,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    /// By number.
    jobs: Vec<Job>,
    next: u64,
    /// Orders that are being taken, which have their place already, by number.
    places: BTreeMap<u64, Place>,
    running: Option<Running>,
    /// When a clip of a client was begun last, counted in clips; clients that are not here had none.
    served: BTreeMap<u64, u64>,
    turns: u64,
    is_stopped: bool,
}

/// The place of an order.
#[derive(Debug)]
struct Place {
    client: u64,
    /// Of the order, once that is known.
    work: u64,
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

impl Line {
    /// With jobs of an earlier process.
    pub(super) fn new(mut jobs: Vec<Job>) -> Self {
        jobs.sort_by_key(|job| job.number);
        let mut line = Self::default();
        let mut ended: Vec<&Job> = jobs.iter().filter(|job| job.ended.is_some()).collect();
        ended.sort_by_key(|job| (job.ended, job.number));
        ended.iter().for_each(|job| line.serve(job.client));
        line.next = jobs.last().map_or(0, |job| job.number + 1);
        Self { jobs, ..line }
    }

    fn serve(&mut self, client: u64) {
        self.turns += 1;
        self.served.insert(client, self.turns);
    }

    /// Takes no more.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        if let Some(running) = &mut self.running {
            running.is_ended = true;
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Takes a place for an order of `client`, which is then [weighed](Self::weigh), and
    /// [filled](Self::fill) or [given back](Self::give_back): the number of its job.
    pub(super) fn take_place(&mut self, client: Client, limits: &Limits) -> Result<u64, Error> {
        if self.is_stopped {
            let error = Error::new(Kind::Unavailable, "the server is about to stop");
            return Err(error.retry_after(RETRY));
        }
        let open = self.jobs.iter().filter(|job| job.is_open()).map(|job| job.client);
        let (all, own) = open
            .chain(self.places.values().map(|place| place.client))
            .fold((0, 0), |(all, own), other| (all + 1, own + usize::from(other == client.0)));
        let Limits { waiting, waiting_of_client, .. } = *limits;
        if all >= waiting || own >= waiting_of_client {
            let message = match own < waiting_of_client {
                true => format!("{all} clips wait to be made, expected at most {waiting}"),
                false => format!(
                    "{own} of your clips wait to be made, expected at most {waiting_of_client}"
                ),
            };
            return Err(Error::new(Kind::Busy, message).retry_after(RETRY));
        }
        let number = self.next;
        self.next += 1;
        self.places.insert(number, Place { client: client.0, work: 0 });
        Ok(number)
    }

    /// Whether a client may ask for as much as `order`, whose place is `number`.
    pub(super) fn weigh(
        &mut self,
        client: Client,
        number: u64,
        order: &Order,
        limits: &Limits,
    ) -> Result<(), Error> {
        let open = self.jobs.iter().filter(|job| job.is_open() && job.client == client.0);
        let places = self.places.values().filter(|place| place.client == client.0);
        let works = open.map(|job| job.order.work()).chain(places.map(|place| place.work));
        let (own, work, most) =
            (works.fold(0, u64::saturating_add), order.work(), limits.work_of_client);
        if own.saturating_add(work) > most {
            let what = "frames times steps times candidates";
            if work > most {
                let message = format!("the clip takes {work} {what}, expected at most {most}");
                return Err(Error::invalid("num_frames", message));
            }
            let message = format!(
                "your clips that wait take {own} {what} and this one {work}, expected at most {most}"
            );
            return Err(Error::new(Kind::Busy, message).retry_after(RETRY));
        }
        if let Some(place) = self.places.get_mut(&number) {
            place.work = work;
        }
        Ok(())
    }

    pub(super) fn give_back(&mut self, number: u64) {
        self.places.remove(&number);
    }

    /// Puts a job into the place that was taken for it.
    pub(super) fn fill(&mut self, job: Job) {
        self.give_back(job.number);
        let at = self.jobs.partition_point(|other| other.number < job.number);
        self.jobs.insert(at, job);
    }

    /// Begins the oldest job of the client that was served least recently.
    pub(super) fn begin(&mut self) -> Option<Job> {
        let waiting = self.jobs.iter().filter(|job| job.is_open());
        let job = waiting.min_by_key(|job| (self.served.get(&job.client), job.number))?.clone();
        self.serve(job.client);
        let (id, began) = (job.id.clone(), Instant::now());
        self.running =
            Some(Running { id, began, step: 0, steps: 0, preview: None, is_ended: false });
        Some(job)
    }

    /// How far the job is that is being made.
    pub(super) fn told(&mut self, progress: Progress) -> ControlFlow<()> {
        let Some(running) = &mut self.running else { return ControlFlow::Break(()) };
        (running.step, running.steps) = (progress.step, progress.steps);
        if let Some(preview) = progress.preview {
            running.preview = Some(preview.into());
        }
        if running.is_ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Nothing is being made any more; what became of it, in place of what was there of it, and names of
    /// jobs of its client that are no longer kept.
    pub(super) fn end(&mut self, job: Option<Job>, limits: &Limits) -> Vec<String> {
        self.running = None;
        let Some(job) = job else { return Vec::new() };
        let client = job.client;
        if let Some(there) = self.jobs.iter_mut().find(|other| other.id == job.id) {
            *there = job;
        }
        let ended = |job: &&Job| job.client == client && !job.is_open();
        let ended: Vec<&Job> = self.jobs.iter().filter(ended).collect();
        let many = ended.len().saturating_sub(limits.kept);
        let old: Vec<String> = ended[..many].iter().map(|job| job.id.clone()).collect();
        self.jobs.retain(|job| !old.contains(&job.id));
        old
    }

    /// Forgets a job, and ends it if it is being made.
    pub(super) fn remove(&mut self, id: &str) {
        self.jobs.retain(|job| job.id != id);
        if let Some(running) = self.running.as_mut().filter(|running| running.id == id) {
            running.is_ended = true;
        }
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.jobs.iter().any(|job| job.id == id)
    }

    pub(super) fn find(&self, client: Client, id: &str) -> Result<&Job, Error> {
        let found = self.jobs.iter().find(|job| job.client == client.0 && job.id == id);
        found.ok_or_else(|| {
            let id: String = id.chars().take(100).collect();
            Error::new(Kind::NotFound, format!("there is no clip `{id}`"))
        })
    }

    /// What a job that is being made looks like.
    pub(super) fn preview(&self, id: &str) -> Option<Bytes> {
        self.running.as_ref().filter(|running| running.id == id)?.preview.clone()
    }

    /// Jobs of a client from the one after `after` on, the latest first or last.
    pub(super) fn page(
        &self,
        client: Client,
        after: Option<&str>,
        limit: usize,
        latest_first: bool,
    ) -> Result<Page, Error> {
        let own = self.jobs.iter().filter(|job| job.client == client.0);
        let mut own: Vec<&Job> = own.collect();
        if latest_first {
            own.reverse();
        }
        let start = match after {
            None => 0,
            Some(after) => {
                let at = own.iter().position(|job| job.id == after);
                at.ok_or_else(|| Error::invalid("after", "`after` is the name of no clip"))? + 1
            }
        };
        let views: Vec<View> = own[start..].iter().take(limit).map(|job| self.view(job)).collect();
        Ok(Page { has_more: start + views.len() < own.len(), views })
    }

    pub(super) fn view(&self, job: &Job) -> View {
        let is_running = false;
        let (progress, seconds_left, has_preview) = (0, None, false);
        let mut view = View { job: job.clone(), is_running, progress, seconds_left, has_preview };
        if let State::Completed { .. } = job.state {
            view.progress = 100;
        }
        let Some(running) = self.running.as_ref().filter(|running| running.id == job.id) else {
            return view;
        };
        let Running { began, step, steps, preview, .. } = running;
        view.is_running = true;
        if *step > 0 {
            // Writing the files is left after the last step.
            view.progress = (step * 100 / steps.max(step)).min(99) as u32;
            let left = steps.saturating_sub(*step) as f64 / *step as f64;
            view.seconds_left = Some(began.elapsed().as_secs_f64() * left);
        }
        view.has_preview = preview.is_some();
        view
    }
}
