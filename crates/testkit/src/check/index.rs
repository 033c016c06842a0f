//! A history, joined: calls with their answers, leases with their releases, entries with their ends.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::model::{Entry, Fault, Grant, Lease, NEVER, Outcome, Release, Step, Steps, Wait};
use super::{Event, Op, Phase};

#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    pub(super) events: &'a [Event],
    pub(super) waits: Vec<Wait<'a>>,
    /// In the order in which they were granted.
    pub(super) leases: Vec<Lease<'a>>,
    /// The last of that id.
    pub(super) by_id: HashMap<u64, usize>,
    /// Whose newest, or earlier, token that is: stores name leases by it.
    pub(super) by_token: HashMap<u64, usize>,
    /// The last of that id that the process was granted.
    own: HashMap<(&'a str, u64), usize>,
    pub(super) releases: Vec<Release<'a>>,
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) refused: u64,
    pub(super) faults: Vec<Fault<'a>>,
    pub(super) limits: Steps,
    /// The same, with lowered limits taken to hold as soon as they were confirmed.
    pub(super) strict: Steps,
    pub(super) ttls: Steps,
    /// The same, with lowered ones taken to hold as soon as they were confirmed.
    pub(super) strict_ttls: Steps,
    pub(super) end: u64,
    /// When releases were answered.
    freed: HashMap<(&'a str, u64), u64>,
    /// Per process, when it stood still.
    stops: HashMap<&'a str, Vec<(u64, u64)>>,
    processes: HashSet<&'a str>,
    /// Per process, when it was killed.
    deaths: HashMap<&'a str, u64>,
}

impl<'a> Index<'a> {
    pub(super) fn of(events: &'a [Event]) -> Self {
        Self::judging(events, 0)
    }

    /// Lowered limits may not be known everywhere for so long.
    pub(super) fn judging(events: &'a [Event], adopted: u64) -> Self {
        let end = events.iter().map(|event| event.t).max().unwrap_or(0);
        let mut index = Self { events, end, ..Self::default() };
        let answers = answers(events);
        let mut inside: BTreeMap<(&str, u32), usize> = BTreeMap::new();
        let mut begun: HashMap<(&str, u64), usize> = HashMap::new();
        let mut revocations = Vec::new();
        let mut renewals = Vec::new();
        let mut losses = Vec::new();
        for event in events {
            let is_call = event.ph == Phase::Call;
            let answered = answers.get(&(event.writer(), event.op, event.id)).copied().filter(|_| is_call);
            match (event.op, event.ph) {
                (Op::Meta, _) => {
                    let step = |value| Step { line: event.n, call: 0, done: 0, value, until: NEVER };
                    index.limits.0.extend(event.limit.map(step));
                    index.ttls.0.extend(event.ttl.map(step));
                }
                (Op::Acquire, Phase::Call) => index.wait(event, answered),
                (Op::Renew, Phase::Call) => {
                    if let Some(grant) = answered.and_then(|answer| grant(event, answer)) {
                        renewals.push(((&*event.p, event.lease.unwrap_or(0)), grant));
                    }
                }
                (Op::Release, Phase::Call) => index.releases.push(Release {
                    p: &event.p,
                    line: event.n,
                    lease: event.lease.unwrap_or(0),
                    call: event.t,
                    done: answered.map_or(NEVER, |answer| answer.t),
                    freed: answered.filter(|answer| answer.ph == Phase::Done).and_then(|answer| answer.freed),
                }),
                (Op::Lost, _) => losses.push(((&*event.p, event.lease.unwrap_or(0)), event.t)),
                (Op::Evict | Op::Reset, Phase::Call)
                    if answered.is_none_or(|answer| answer.ph != Phase::NotDone) =>
                {
                    revocations.push((event.t, answered.map_or(NEVER, |answer| answer.t), event.lease));
                }
                (Op::Resize, Phase::Call) => index.limits.0.extend(step(event, answered, event.limit)),
                (Op::SetTtl, Phase::Call) => index.ttls.0.extend(step(event, answered, event.ttl)),
                (Op::Enter, _) => {
                    inside.insert((&event.p, event.c), index.entries.len());
                    let (lease, touches) = (event.lease.unwrap_or(0), Vec::new());
                    let (line, start) = (event.n, event.t);
                    index.entries.push(Entry { p: &event.p, lease, line, start, touches, end: NEVER });
                }
                (Op::Touch, _) => {
                    if let Some(at) = inside.get(&(&*event.p, event.c)) {
                        index.entries[*at].touches.push(event.t);
                    }
                }
                (Op::Leave | Op::Refuse, _) => {
                    index.refused += u64::from(event.op == Op::Refuse);
                    if let Some(at) = inside.remove(&(&*event.p, event.c)) {
                        index.entries[at].end = event.t;
                    }
                }
                (Op::Fault, Phase::Call) => {
                    begun.insert((event.writer(), event.id), index.faults.len());
                    index.fault(event, answered);
                }
                (Op::Fault, Phase::Event) => {
                    if let Some(at) = begun.get(&(event.writer(), event.id)) {
                        index.faults[*at].end = event.t;
                    }
                }
                _ => {}
            }
        }
        index.join(renewals, &losses, &revocations, adopted);
        index
    }

    fn wait(&mut self, call: &'a Event, answer: Option<&'a Event>) {
        let granted = answer.filter(|answer| answer.ph == Phase::Done);
        let outcome = match answer {
            Some(Event { ph: Phase::Done, lease: Some(_), .. }) => Outcome::Granted,
            Some(Event { ph: Phase::Done, .. }) => Outcome::Full,
            Some(Event { ph: Phase::NotDone, .. }) => Outcome::NotDone,
            _ => Outcome::Unknown,
        };
        if let Some((id, grant)) = granted.and_then(|answer| Some((answer.lease?, grant(call, answer)?))) {
            let (renewals, release, lost, revoked) = (Vec::new(), NEVER, NEVER, NEVER);
            self.leases.push(Lease { id, p: &call.p, grant, renewals, release, lost, revoked });
        }
        self.waits.push(Wait {
            p: &call.p,
            c: call.c,
            line: call.n,
            call: call.t,
            done: answer.map_or(NEVER, |answer| answer.t),
            outcome,
            waits: call.kind.is_none(),
        });
    }

    fn fault(&mut self, call: &'a Event, answer: Option<&'a Event>) {
        let answer = answer.filter(|answer| answer.ph == Phase::Done);
        let (kind, target) = (call.kind.as_deref().unwrap_or(""), call.target.as_deref().unwrap_or(""));
        let confirmed = answer.map_or(NEVER, |answer| answer.t);
        self.faults.push(Fault { kind, target, begin: call.t, confirmed, end: NEVER });
    }

    fn join(
        &mut self,
        renewals: Vec<((&'a str, u64), Grant)>,
        losses: &[((&'a str, u64), u64)],
        revocations: &[(u64, u64, Option<u64>)],
        adopted: u64,
    ) {
        self.strict = self.limits.clone();
        self.strict.complete(0);
        self.limits.complete(adopted);
        self.strict_ttls = self.ttls.clone();
        self.strict_ttls.complete(0);
        self.ttls.complete(adopted);
        self.leases.sort_by_key(|lease| lease.grant.done);
        self.by_id = self.leases.iter().enumerate().map(|(at, lease)| (lease.id, at)).collect();
        self.own = self.leases.iter().enumerate().map(|(at, lease)| ((lease.p, lease.id), at)).collect();
        for (of, grant) in renewals {
            if let Some(lease) = self.own.get(&of).map(|at| &mut self.leases[*at]) {
                lease.renewals.push(grant);
            }
        }
        for (at, lease) in self.leases.iter().enumerate() {
            let grants = std::iter::once(&lease.grant).chain(&lease.renewals);
            self.by_token.extend(grants.map(|grant| (grant.token, at)));
        }
        for release in self.releases.iter().filter(|release| release.freed.is_some()) {
            self.freed.entry((release.p, release.lease)).or_insert(release.done);
        }
        for release in &self.releases {
            if let Some(lease) = self.own.get(&(release.p, release.lease)).map(|at| &mut self.leases[*at]) {
                lease.release = lease.release.min(release.call);
            }
        }
        for (of, at) in losses {
            if let Some(lease) = self.own.get(of).map(|at| &mut self.leases[*at]) {
                lease.lost = lease.lost.min(*at);
            }
        }
        self.revoke(revocations);
        self.processes = self.waits.iter().map(|wait| wait.p).collect();
        for fault in self.faults.iter().filter(|fault| fault.confirmed != NEVER) {
            match fault.kind {
                "stop" => self.stops.entry(fault.target).or_default().push((fault.begin, fault.end)),
                "kill" => drop(self.deaths.entry(fault.target).or_insert(fault.begin)),
                _ => {}
            }
        }
    }

    fn revoke(&mut self, revocations: &[(u64, u64, Option<u64>)]) {
        let mut resets: Vec<_> = revocations.iter().filter(|(_, _, lease)| lease.is_none()).collect();
        resets.sort_unstable();
        for (call, _, lease) in revocations {
            if let Some(at) = lease.and_then(|id| self.by_id.get(&id)) {
                self.leases[*at].revoked = self.leases[*at].revoked.min(*call);
            }
        }
        for lease in &mut self.leases {
            let first = resets.partition_point(|(_, done, _)| *done < lease.grant.call);
            if let Some((call, _, _)) = resets.get(first) {
                lease.revoked = lease.revoked.min((*call).max(lease.grant.call));
            }
            let lowered = self.ttls.0.iter().filter(|step| step.call > 0 && step.done >= lease.grant.call);
            for step in lowered {
                let over = lease.grant.call.saturating_add(step.value).max(step.call);
                lease.revoked = lease.revoked.min(over.max(lease.grant.call));
            }
        }
    }

    /// When its holder was told that it has given the lease back.
    pub(super) fn freed(&self, lease: &Lease<'_>) -> u64 {
        self.freed.get(&(lease.p, lease.id)).copied().unwrap_or(NEVER)
    }

    /// The lease of that id that the process was granted.
    pub(super) fn held(&self, p: &str, id: u64) -> Option<&Lease<'a>> {
        self.own.get(&(p, id)).map(|at| &self.leases[*at])
    }

    /// When the process was killed; [`NEVER`].
    pub(super) fn death(&self, p: &str) -> u64 {
        self.deaths.get(p).copied().unwrap_or(NEVER)
    }

    /// Whether the process stood still at some time of that span, or had been continued only just before it.
    pub(super) fn stood_still(&self, p: &str, from: u64, to: u64, late: u64) -> bool {
        let hit = |(begin, end): &(u64, u64)| *begin <= to && end.saturating_add(late) >= from;
        self.stops.get(p).is_some_and(|stops| stops.iter().any(hit))
    }

    /// Since when an entry is excused: its lease was taken away, or its process stood still and did nothing at the
    /// resource after that but leave or be refused.
    pub(super) fn excused(&self, entry: &Entry<'_>) -> u64 {
        let revoked = self.held(entry.p, entry.lease).map_or(NEVER, |lease| lease.revoked);
        let served = entry.touches.last().copied().unwrap_or(entry.start);
        let stops = self.stops.get(entry.p).map_or(&[][..], Vec::as_slice).iter();
        let stopped = stops.filter(|(begin, end)| *begin < entry.end && *end >= served);
        let stopped = stopped.map(|(begin, _)| *begin).min().unwrap_or(NEVER);
        revoked.min(stopped).max(entry.start)
    }

    /// Nothing was broken around that time, but for processes that were killed or stood still.
    pub(super) fn calm(&self, from: u64, to: u64, settle: u64) -> bool {
        !self.faults.iter().any(|fault| {
            !self.processes.contains(fault.target)
                && fault.begin <= to
                && fault.end.saturating_add(settle) >= from
        })
    }

    /// Somebody stood in line during all of that time, and could have been served.
    pub(super) fn somebody_waits(&self, from: u64, to: u64) -> Option<&Wait<'a>> {
        self.waits.iter().find(|wait| {
            wait.waits
                && wait.call <= from
                && wait.done >= to
                && self.death(wait.p) > to
                && !self.stood_still(wait.p, from, to, 0)
        })
    }
}

/// The first answer to each call.
fn answers(events: &[Event]) -> HashMap<(&str, Op, u64), &Event> {
    let mut answers = HashMap::new();
    for event in events {
        if !matches!(event.ph, Phase::Call | Phase::Event) {
            answers.entry((event.writer(), event.op, event.id)).or_insert(event);
        }
    }
    answers
}

fn grant(call: &Event, answer: &Event) -> Option<Grant> {
    let done = answer.ph == Phase::Done;
    let token = answer.token.filter(|_| done)?;
    let deadline = answer.deadline.unwrap_or(NEVER);
    Some(Grant { line: answer.n, call: call.t, done: answer.t, token, deadline })
}

fn step(call: &Event, answer: Option<&Event>, value: Option<u64>) -> Option<Step> {
    let done = match answer {
        Some(Event { ph: Phase::NotDone, .. }) => return None,
        Some(answer @ Event { ph: Phase::Done, .. }) => answer.t,
        _ => NEVER,
    };
    Some(Step { line: call.n, call: call.t, done, value: value?, until: NEVER })
}
