//! A pool in its own time, with the contract that the guarantee asks for and nothing more.

/// How late a server may notice that a lease has run out.
const LATEST: u64 = 268_000_000;

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) limit: usize,
    pub(super) ttl: u64,
    pub(super) entries: Vec<Entry>,
    /// Ids are never used again, whatever is forgotten.
    ids: u64,
    token: u64,
    /// Which life it is of.
    pub(super) epoch: u64,
    pub(super) made: u64,
    /// How far its clock has jumped forward.
    pub(super) ahead: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) owner: usize,
    /// By its own clock.
    pub(super) expires: u64,
}

impl Pool {
    pub(super) fn new(limit: usize, ttl: u64) -> Self {
        Self { limit, ttl, entries: Vec::new(), ids: 0, token: 0, epoch: 1, made: 0, ahead: 0 }
    }

    /// Ends what has run out, each a little late.
    pub(super) fn expire(&mut self, now: u64) {
        let now = now + self.ahead;
        self.entries.retain(|entry| entry.expires + entry.id * 7_919 % LATEST * (entry.id % 2) > now);
    }

    /// Id, token and life.
    pub(super) fn acquire(&mut self, owner: usize, now: u64) -> Option<(u64, u64, u64)> {
        self.expire(now);
        if self.entries.len() >= self.limit {
            return None;
        }
        self.ids += 1;
        self.token += 1;
        self.entries.push(Entry { id: self.ids, owner, expires: now + self.ahead + self.ttl });
        Some((self.ids, self.token, self.epoch))
    }

    /// The new token.
    pub(super) fn renew(&mut self, id: u64, now: u64) -> Option<u64> {
        self.expire(now);
        let entry = self.entries.iter_mut().find(|entry| entry.id == id)?;
        entry.expires = now + self.ahead + self.ttl;
        self.token += 1;
        Some(self.token)
    }

    pub(super) fn release(&mut self, id: u64) {
        self.entries.retain(|entry| entry.id != id);
    }

    /// Made anew: everything is forgotten.
    pub(super) fn forget(&mut self, now: u64, tokens_too: bool) {
        self.entries.clear();
        self.epoch += 1;
        self.made = now + self.ahead;
        if tokens_too {
            self.token = 0;
        }
    }

    pub(super) fn age(&self, now: u64) -> u64 {
        // The first life is old.
        if self.epoch == 1 { u64::MAX / 4 } else { now + self.ahead - self.made }
    }
}
