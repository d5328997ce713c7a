//! Fairness: who has been served how much.
//!
//! Time is counted in tokens. The client served least goes first; one that comes anew, or after a rest,
//! begins where the least served of the others is, so resting saves nothing up.

use std::collections::HashMap;

/// What each client was served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    clients: HashMap<u64, Client>,
    /// The least served client at the last step.
    floor: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Client {
    /// Tokens read and written for it, and those it came too late for.
    served: u64,
    /// Its requests that wait or run.
    requests: usize,
}

impl Clients {
    /// Begins a step: where those begin who come from now on.
    pub(crate) fn begin_step(&mut self) {
        let active = self.clients.values().filter(|client| client.requests > 0);
        if let Some(least) = active.map(|client| client.served).min() {
            self.floor = self.floor.max(least);
        }
    }

    /// A request of `id` comes; what the client was served before.
    pub(crate) fn enter(&mut self, id: u64) -> u64 {
        let floor = self.floor;
        let client = self.clients.entry(id).or_default();
        if client.requests == 0 {
            client.served = client.served.max(floor);
        }
        client.requests += 1;
        client.served
    }

    /// A request of `id` is done.
    ///
    /// # Panics
    ///
    /// If it has none.
    pub(crate) fn leave(&mut self, id: u64) {
        let client = self.clients.get_mut(&id).expect("a client that entered");
        client.requests -= 1;
        // Who was served more than others is remembered until they have caught up.
        let floor = self.floor;
        self.clients.retain(|_, client| client.requests > 0 || client.served > floor);
    }

    /// Tokens are read or written for `id`.
    pub(crate) fn charge(&mut self, id: u64, tokens: usize) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.served += tokens as u64;
        }
    }

    /// What `id` was served.
    pub(crate) fn served(&self, id: u64) -> u64 {
        self.clients.get(&id).map_or(self.floor, |client| client.served)
    }

    /// Whether nobody has a request.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.clients.values().all(|client| client.requests == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resting_saves_nothing_up_and_forgets_no_debt() {
        let mut clients = Clients::default();
        assert_eq!(clients.enter(1), 0);
        clients.begin_step();
        clients.charge(1, 100);
        // Before the step that served 1, nobody had been served.
        assert_eq!(clients.enter(2), 0);
        clients.charge(2, 1000);
        clients.begin_step();
        assert_eq!(clients.enter(3), 100);
        clients.leave(2);
        assert_eq!(clients.enter(2), 1000);
        clients.leave(2);
        clients.charge(1, 5000);
        clients.charge(3, 5000);
        clients.begin_step();
        clients.leave(3);
        assert_eq!(clients.enter(2), 5100);
        [1, 2].into_iter().for_each(|id| clients.leave(id));
        assert!(clients.is_idle());
    }
}
