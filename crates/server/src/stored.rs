//! Responses that can be gone on from by `previous_response_id`, as long as there is room.

use crate::auth::Client;
use crate::wire::chat::ChatMessage;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes of all of them.
const MAX_BYTES: usize = 256 << 20;
/// Most of them.
const MAX_RESPONSES: usize = 16_384;

/// What was said up to a response, and the response.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// Instructions left out: they do not carry over.
    pub(crate) messages: Arc<Vec<ChatMessage>>,
    /// As it was sent.
    pub(crate) response: Arc<serde_json::Value>,
    /// About what it takes.
    pub(crate) bytes: usize,
}

/// The latest responses.
#[derive(Debug, Default)]
pub(crate) struct Stored(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<(Client, String), Past>,
    /// From the oldest on; those that were deleted are still in it.
    order: VecDeque<(Client, String)>,
    bytes: usize,
}

impl Stored {
    /// Keeps a response; the oldest ones give way.
    pub(crate) fn put(&self, client: Client, id: &str, past: Past) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (client, id.to_owned());
        inner.bytes += past.bytes;
        inner.order.push_back(key.clone());
        inner.by_id.insert(key, past);
        while inner.bytes > MAX_BYTES || inner.order.len() > MAX_RESPONSES {
            let Some(oldest) = inner.order.pop_front() else { break };
            if let Some(past) = inner.by_id.remove(&oldest) {
                inner.bytes -= past.bytes;
            }
        }
    }

    /// The response `id` of a client.
    pub(crate) fn get(&self, client: Client, id: &str) -> Option<Past> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.by_id.get(&(client, id.to_owned())).cloned()
    }

    /// Forgets a response; whether it was there.
    pub(crate) fn delete(&self, client: Client, id: &str) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = inner.by_id.remove(&(client, id.to_owned()));
        inner.bytes -= removed.as_ref().map_or(0, |past| past.bytes);
        removed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let stored = Stored::default();
        let past = |bytes| Past { messages: Arc::default(), response: Arc::default(), bytes };
        let client = Client(1);
        stored.put(client, "a", past(MAX_BYTES / 2));
        stored.put(client, "b", past(MAX_BYTES / 2));
        assert!(stored.get(client, "a").is_some() && stored.get(Client(2), "a").is_none());
        stored.put(client, "c", past(1));
        assert!(stored.get(client, "a").is_none() && stored.get(client, "b").is_some());
        assert!(stored.delete(client, "b") && !stored.delete(client, "b"));
        stored.put(client, "d", past(MAX_BYTES - 1));
        assert!(stored.get(client, "c").is_some() && stored.get(client, "d").is_some());
    }
}
