//! Memory for rows of pictures and sounds: so much at a time for all requests together, those that wait included.

use crate::error::{Error, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Bytes that rows of all requests may take.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    held: AtomicUsize,
}

/// What one request holds of a budget; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// For `most` bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: AtomicUsize::new(0) })
    }
}

impl Share {
    /// Nothing yet.
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Holds `bytes` in all from now on, unless it holds more.
    ///
    /// # Errors
    ///
    /// If so many are never allowed, or not beside what others hold now.
    pub(crate) fn cover(&mut self, bytes: usize) -> Result<(), Error> {
        let Budget { most, held } = &*self.budget;
        let Some(more) = bytes.checked_sub(self.bytes).filter(|&more| more > 0) else {
            return Ok(());
        };
        if bytes > *most {
            let message = format!(
                "the pictures and sounds take {bytes} bytes of memory, expected at most {most}"
            );
            return Err(Error::new(Kind::Memory, message));
        }
        let room = |held: usize| held.checked_add(more).filter(|held| held <= most);
        if held.fetch_update(Relaxed, Relaxed, room).is_err() {
            let message = "pictures and sounds of other requests take the memory that there is";
            let busy = Error::new(Kind::Busy, message);
            return Err(busy.retry_after(Duration::from_secs(1)));
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_requests_share_it() {
        let budget = Budget::new(10);
        let mut first = Share::of(&budget);
        first.cover(4).unwrap();
        first.cover(6).unwrap();
        first.cover(2).unwrap();
        let mut second = Share::of(&budget);
        assert_eq!(second.cover(5).unwrap_err().kind, Kind::Busy);
        second.cover(4).unwrap();
        assert_eq!(first.cover(7).unwrap_err().kind, Kind::Busy);
        drop(second);
        first.cover(10).unwrap();
        assert_eq!(first.cover(11).unwrap_err().kind, Kind::Memory);
        drop(first);
        assert_eq!(budget.held.load(Relaxed), 0);
    }
}
