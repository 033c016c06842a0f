use std::time::Duration;

use sluicegate_core::later;
use tokio::time::Instant;

use super::schedule::Berth;
use crate::shared::Shared;
use crate::{BatcherConfig, BatcherEvent, Findings};

/// What an audit of a batcher came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audit {
    /// All counters are right.
    Passed,
    /// Counters were wrong, and have been set right. That is a defect of this crate.
    Failed(Findings),
    /// Nothing can be said: a handler is overdue, or no engine runs.
    Skipped,
}

/// When the counters are held against what is there: at intervals while anything is outstanding, once after that,
/// and when somebody asks.
pub(super) struct Audits {
    interval: Duration,
    next: Option<Instant>,
}

impl Audits {
    pub(super) fn new(config: &BatcherConfig) -> Self {
        Self { interval: config.audit_interval, next: None }
    }

    /// Audits if it is time. Returns when to look again.
    pub(super) fn look(
        &mut self,
        berths: &[Berth],
        shared: &Shared,
        now: Instant,
        idle: bool,
    ) -> Option<Instant> {
        let asked = shared.audit_requests();
        let due = self.next.is_some_and(|next| next <= now);
        if !asked.is_empty() || due {
            let audit = audit(berths);
            shared.events.emit(&match audit {
                Audit::Passed => BatcherEvent::AuditPassed,
                Audit::Failed(findings) => BatcherEvent::AuditFailed { findings },
                Audit::Skipped => BatcherEvent::AuditSkipped,
            });
            for answer in asked {
                // Whoever asked may have gone.
                let _ = answer.send(audit);
            }
        }
        if due || (self.next.is_none() && !idle) {
            self.next = (!idle).then(|| later(now, self.interval));
        }
        self.next
    }
}

fn audit(berths: &[Berth]) -> Audit {
    let (mut skipped, mut sum) = (false, Findings::default());
    for berth in berths {
        match berth.lane.audit() {
            None => skipped = true,
            Some(found) => {
                sum.target = add(sum.target, found.target);
                sum.in_flight = add(sum.in_flight, found.in_flight);
            }
        }
    }
    if !sum.is_empty() {
        Audit::Failed(sum)
    } else if skipped {
        Audit::Skipped
    } else {
        Audit::Passed
    }
}

fn add(a: Option<(u64, u64)>, b: Option<(u64, u64)>) -> Option<(u64, u64)> {
    match (a, b) {
        (Some((expected, found)), Some((more, others))) => Some((expected + more, found + others)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Batch, BatchContext, Batcher, OnTimeout, Operation, Verdicts, Watcher, handler_fn};

    /// A batcher with a batch that runs, an operation that waits, and counters that are wrong by so much.
    async fn wrong_by(
        cost: u64,
        batches: usize,
    ) -> (Batcher, Watcher<u32, (), ()>, Arc<Mutex<Vec<BatcherEvent>>>) {
        let events = Arc::new(Mutex::new(Vec::new()));
        let diary = Arc::clone(&events);
        let (batcher, _engine) = Batcher::builder()
            .max_concurrent_batches(1)
            .max_operation_time(Duration::from_secs(15))
            .on_timeout(OnTimeout::Detach)
            .observer(move |event: &BatcherEvent| diary.lock().unwrap().push(event.clone()))
            .start(CancellationToken::new())
            .unwrap();
        let users = batcher
            .watcher(handler_fn(|_: &mut Batch<u32>, _: &BatchContext| {
                Box::pin(async {
                    pending::<()>().await;
                    Verdicts::done()
                })
            }))
            .build()
            .unwrap();
        users.enqueue(Operation::new(1).cost(7)).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        users.enqueue(Operation::new(2).cost(5)).await.unwrap();
        users.inbox.ledger.corrupt(cost, batches);
        (batcher, users, events)
    }

    async fn findings(cost: u64, batches: usize) -> Findings {
        let (batcher, _users, events) = wrong_by(cost, batches).await;
        sleep(Duration::from_secs(11)).await;
        let Some(BatcherEvent::AuditFailed { findings }) = events.lock().unwrap().last().cloned() else {
            panic!("no audit has failed")
        };
        assert_eq!(batcher.audit().await, Audit::Passed, "and it is set right");
        assert_eq!((batcher.needs_capacity(), batcher.in_flight()), (12, 1));
        findings
    }

    #[tokio::test(start_paused = true)]
    async fn audit_pass() {
        let (_batcher, _users, events) = wrong_by(0, 0).await;
        sleep(Duration::from_secs(11)).await;
        assert_eq!(events.lock().unwrap().last(), Some(&BatcherEvent::AuditPassed));
    }

    #[tokio::test(start_paused = true)]
    async fn audit_fail_target() {
        let findings = findings(3, 0).await;
        assert_eq!((findings.target, findings.in_flight), (Some((12, 9)), None));
    }

    /// The slot of the running batch is not touched: a second one does not start.
    #[tokio::test(start_paused = true)]
    async fn audit_fail_in_flight() {
        let findings = findings(0, 2).await;
        assert_eq!((findings.target, findings.in_flight), (None, Some((1, 3))));
    }

    #[tokio::test(start_paused = true)]
    async fn audit_fail_both() {
        let findings = findings(3, 2).await;
        assert_eq!((findings.target, findings.in_flight), (Some((12, 9)), Some((1, 3))));
    }

    #[tokio::test(start_paused = true)]
    async fn audit_skip() {
        let (batcher, _users, events) = wrong_by(0, 0).await;
        sleep(Duration::from_secs(21)).await;
        assert!(
            events.lock().unwrap().contains(&BatcherEvent::AuditSkipped),
            "a detached handler is overdue"
        );
        assert_eq!((batcher.needs_capacity(), batcher.in_flight()), (5, 1), "and keeps its slot");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_audits_without_an_engine() {
        let (batcher, engine) = Batcher::builder().build().unwrap();
        assert_eq!(batcher.audit().await, Audit::Skipped);
        drop(engine);
        assert_eq!(batcher.audit().await, Audit::Skipped);
    }
}
