//! What a history is made of, joined: calls with their answers, leases with their ends.

/// "Never", and "not known".
pub(super) const NEVER: u64 = u64::MAX;

/// An attempt or a wait for a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait<'a> {
    pub(super) p: &'a str,
    pub(super) c: u32,
    pub(super) line: u64,
    pub(super) call: u64,
    /// When it was answered; [`NEVER`] if it was not.
    pub(super) done: u64,
    pub(super) outcome: Outcome,
    /// It stood in line, and did not just ask once.
    pub(super) waits: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Granted,
    Full,
    NotDone,
    /// Not answered, or abandoned.
    Unknown,
}

/// A confirmed grant or renewal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) line: u64,
    pub(super) call: u64,
    pub(super) done: u64,
    pub(super) token: u64,
    pub(super) deadline: u64,
}

/// What became of a lease.
#[derive(Clone, Debug)]
pub(super) struct Lease<'a> {
    pub(super) id: u64,
    pub(super) p: &'a str,
    pub(super) grant: Grant,
    pub(super) renewals: Vec<Grant>,
    /// When its holder first asked to give it back.
    pub(super) release: u64,
    /// When its holder was told that it is over.
    pub(super) lost: u64,
    /// When somebody with authority may have ended it.
    pub(super) revoked: u64,
}

impl Lease<'_> {
    /// The last token that was confirmed.
    pub(super) fn token(&self) -> u64 {
        self.renewals.last().unwrap_or(&self.grant).token
    }

    /// The last deadline that was confirmed.
    pub(super) fn deadline(&self) -> u64 {
        self.renewals.last().unwrap_or(&self.grant).deadline
    }

    /// Until when its holder believes, rightly, that it holds it.
    pub(super) fn believed_until(&self) -> u64 {
        self.deadline().min(self.release).min(self.lost).min(self.revoked)
    }
}

/// A release, by whom, of what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Release<'a> {
    pub(super) p: &'a str,
    pub(super) line: u64,
    pub(super) lease: u64,
    pub(super) call: u64,
    /// When it was answered; [`NEVER`] if it was not.
    pub(super) done: u64,
    /// `None`: unknown.
    pub(super) freed: Option<bool>,
}

/// Being in at the resource.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub(super) p: &'a str,
    pub(super) lease: u64,
    pub(super) line: u64,
    pub(super) start: u64,
    pub(super) touches: Vec<u64>,
    /// [`NEVER`]: still in.
    pub(super) end: u64,
}

/// Something that was broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault<'a> {
    pub(super) kind: &'a str,
    pub(super) target: &'a str,
    pub(super) begin: u64,
    /// [`NEVER`]: it was not seen to have happened.
    pub(super) confirmed: u64,
    pub(super) end: u64,
}

/// A setting and how it changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps(pub(super) Vec<Step>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) line: u64,
    pub(super) call: u64,
    pub(super) done: u64,
    pub(super) value: u64,
    /// Until when it may have been in force: the next change was confirmed.
    pub(super) until: u64,
}

impl Steps {
    /// The largest value that may have been in force at some time from `from` to `to`.
    pub(super) fn max(&self, from: u64, to: u64) -> u64 {
        let first = self.0.partition_point(|step| step.until < from);
        let possible = self.0[first..].iter().take_while(|step| step.call <= to);
        possible.map(|step| step.value).max().unwrap_or(NEVER)
    }

    /// Finds out until when each may have been in force: `adopted` after the next was confirmed.
    pub(super) fn complete(&mut self, adopted: u64) {
        self.0.sort_by_key(|step| step.call);
        let mut until = NEVER;
        for step in self.0.iter_mut().rev() {
            step.until = until;
            until = until.min(step.done.saturating_add(adopted));
        }
    }
}
