//! Whose input a broker takes next, when both clients and its group have some.

/// So many requests in a row come before what slaves, the master or name servers say: a turn's
/// answers and the next turn's requests are worth being handled together.
const CLIENTS: u32 = 256;
/// Then these are heard first, so many times: answers wait for what slaves say, and clients that
/// ask without end must not keep the broker from hearing it.
const GROUP: u32 = 64;

/// How inputs are shared out.
#[derive(Debug, Default)]
pub(super) struct Shares {
    taken: u32,
}

impl Shares {
    /// Is the next input to be a client's, if there is one? Counts it as taken.
    pub(super) fn clients_are_next(&mut self) -> bool {
        let is_clients = self.taken < CLIENTS;
        self.taken = (self.taken + 1) % (CLIENTS + GROUP);
        is_clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_waits_for_longer_than_the_others_share() {
        let mut shares = Shares::default();
        let order: Vec<bool> =
            (0..3 * (CLIENTS + GROUP)).map(|_| shares.clients_are_next()).collect();
        let runs: Vec<_> = order.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
        let share = |is_clients, len: u32| (is_clients, len as usize);
        assert_eq!(runs, [share(true, CLIENTS), share(false, GROUP)].repeat(3));
    }
}
