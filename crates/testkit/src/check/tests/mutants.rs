//! One edit of a correct history is caught by its rule, and by no other.

#![allow(clippy::ptr_arg, reason = "all edits are of one type")]

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::world::{MS, Plan, TTL, history};
use super::{broken, plans, report};
use crate::check::index::Index;
use crate::check::model::{Lease, NEVER};
use crate::check::spans::Timeline;
use crate::check::{Event, Op, Phase, Rule};

/// The edit; `None`: this history has no place for it.
type Edit = fn(&mut Vec<Event>, u64) -> Option<()>;

fn only(rule: Rule, plan: Plan, edit: Edit) -> Result<(), TestCaseError> {
    let mut events = history(plan);
    prop_assume!(edit(&mut events, plan.seed).is_some());
    prop_assert_eq!(broken(&events, plan), [rule], "{}", report(&events));
    Ok(())
}

fn pick<T: Clone>(from: &[T], seed: u64) -> Option<T> {
    let at = usize::try_from(seed % (from.len().max(1) as u64)).ok()?;
    from.get(at).cloned()
}

/// Ordinary leases, released by their holders long before anything else ends them, while all slots are taken.
fn ordinary<'a>(index: &'a Index<'_>, until: u64) -> Vec<&'a Lease<'a>> {
    let timeline = Timeline::of(index);
    let ordinary = index.leases.iter().filter(|lease| {
        let (done, limit) = (lease.grant.done, index.limits.max(lease.grant.call, lease.grant.done));
        done < until
            && lease.release < lease.deadline() - TTL / 2
            && lease.revoked == NEVER
            && timeline.most(done, done) == limit
    });
    ordinary.collect()
}

fn at(events: &mut [Event], op: Op, ph: Phase, lease: u64) -> Option<&mut Event> {
    events.iter_mut().find(|event| event.op == op && event.ph == ph && event.lease == Some(lease))
}

/// The answer to the call of a release does not name the lease again in every history.
fn release(events: &mut [Event], lease: u64) -> Option<(u64, u64)> {
    let call = at(events, Op::Release, Phase::Call, lease)?.clone();
    let done = |event: &Event| event.op == Op::Release && event.ph == Phase::Done && event.id == call.id;
    Some((call.n - 1, events.iter().find(|event| done(event) && event.p == call.p)?.n - 1))
}

const CALM: u64 = 4_500 * MS;

fn grant_doubled(events: &mut Vec<Event>, seed: u64) -> Option<()> {
    let index = Index::of(events);
    let lease = pick(&ordinary(&index, CALM), seed)?;
    let (id, calls) = (lease.id, [lease.grant.call, lease.grant.done, lease.release, lease.release + MS]);
    let deadline = lease.deadline();
    let steps = [
        (Op::Acquire, Phase::Call),
        (Op::Acquire, Phase::Done),
        (Op::Release, Phase::Call),
        (Op::Release, Phase::Done),
    ];
    for (t, (op, ph)) in calls.into_iter().zip(steps) {
        let mut event = Event::new(t, "w9", op, ph).call(0, 1);
        if (op, ph) != (Op::Acquire, Phase::Call) {
            event = event.lease(id + 1, id + 1);
            event.deadline = (op == Op::Acquire).then_some(deadline);
            event.freed = (ph == Phase::Done && op == Op::Release).then_some(true);
        }
        events.push(event);
    }
    Some(())
}

fn release_after_the_next_grant(events: &mut Vec<Event>, seed: u64) -> Option<()> {
    let index = Index::of(events);
    let next = pick(&ordinary(&index, CALM), seed)?;
    let before = index
        .leases
        .iter()
        .filter(|lease| lease.release < next.grant.done && lease.believed_until() == lease.release);
    let before = before.max_by_key(|lease| lease.release)?;
    let (id, t) = (before.id, next.grant.done + 1);
    if before.deadline() <= t {
        return None;
    }
    at(events, Op::Release, Phase::Call, id)?.t = t;
    Some(())
}

fn deadline_longer(events: &mut Vec<Event>, seed: u64) -> Option<()> {
    let id = pick(&ordinary(&Index::of(events), CALM), seed)?.id;
    let grant = at(events, Op::Acquire, Phase::Done, id)?;
    grant.deadline = Some(grant.t + TTL + 1);
    Some(())
}

fn loss_not_told(events: &mut Vec<Event>, _: u64) -> Option<()> {
    let index = Index::of(events);
    let told = index
        .leases
        .iter()
        .find(|lease| lease.lost < lease.deadline() && lease.release > lease.deadline())?;
    let (id, told) = (told.id, told.revoked == NEVER);
    events.retain(|event| event.op != Op::Lost || event.lease != Some(id));
    told.then_some(())
}

fn refused_is_served(events: &mut Vec<Event>, _: u64) -> Option<()> {
    let refused = events.iter_mut().find(|event| event.op == Op::Refuse && event.kind.is_some())?;
    (refused.op, refused.kind) = (Op::Touch, None);
    Some(())
}

fn tokens_swapped(events: &mut Vec<Event>, seed: u64) -> Option<()> {
    let index = Index::of(events);
    // None of those that are stored in the end, by their tokens.
    let ordinary = ordinary(&index, CALM);
    let first = pick(&ordinary, seed)?;
    let second = ordinary.iter().find(|lease| lease.grant.call > first.grant.done)?;
    for (id, token) in [(first.id, second.id), (second.id, first.id)] {
        at(&mut events.clone(), Op::Acquire, Phase::Done, id)?;
        events
            .iter_mut()
            .filter(|event| event.op == Op::Acquire && event.lease == Some(id))
            .for_each(|event| event.token = Some(token));
    }
    Some(())
}

fn id_repeated(events: &mut Vec<Event>, seed: u64) -> Option<()> {
    let index = Index::of(events);
    let ordinary = ordinary(&index, CALM);
    let first = pick(&ordinary, seed)?;
    let (old, p) = (first.id, first.p);
    let new = ordinary.iter().find(|lease| lease.p != p && lease.grant.call > first.release + 2 * MS)?.id;
    for event in events.iter_mut().filter(|event| event.lease == Some(new)) {
        (event.lease, event.token) = (Some(old), event.token.map(|_| old));
    }
    Some(())
}

fn neighbour_freed(events: &mut Vec<Event>, seed: u64) -> Option<()> {
    let index = Index::of(events);
    let lease = pick(&ordinary(&index, CALM), seed)?;
    let (id, t) = (lease.id, lease.grant.done + MS);
    let (_, done) = release(events, id)?;
    events[usize::try_from(done).ok()?].freed = Some(false);
    for (after, ph) in [(0, Phase::Call), (MS, Phase::Done)] {
        let mut event = Event::new(t + after, "w9", Op::Release, ph).call(0, 1).lease(id, id);
        event.freed = (ph == Phase::Done).then_some(true);
        events.push(event);
    }
    Some(())
}

fn taken_by_the_lowered_limit(events: &mut Vec<Event>, _: u64) -> Option<()> {
    let index = Index::of(events);
    let lowered = index.limits.0.windows(2).find(|pair| pair[1].value < pair[0].value)?[1];
    let held = |lease: &&Lease<'_>| {
        lease.grant.done < lowered.call && lease.release > lowered.done && lease.release < lease.deadline()
    };
    let id = index.leases.iter().find(held)?.id;
    let (_, done) = release(events, id)?;
    events[usize::try_from(done).ok()?].freed = Some(false);
    Some(())
}

fn slot_of_the_dead_kept(events: &mut Vec<Event>, _: u64) -> Option<()> {
    let index = Index::of(events);
    let dead = index.leases.iter().find(|lease| index.death(lease.p) < lease.believed_until())?;
    let (over, shift) = (dead.deadline(), 1_500 * MS);
    // With more slots, others would be at work all the while.
    if index.limits.max(0, over) > 1 {
        return None;
    }
    index.somebody_waits(over, over)?;
    for event in events.iter_mut().filter(|event| event.t > over) {
        event.t += shift;
        event.deadline = event.deadline.map(|deadline| deadline + shift);
    }
    Some(())
}

fn raise_not_used(events: &mut Vec<Event>, _: u64) -> Option<()> {
    // It was raised by two, and only one more was let in.
    let raised = events.iter_mut().find(|event| event.op == Op::Resize && event.ph == Phase::Call)?;
    raised.limit = raised.limit.map(|limit| limit + 1);
    let t = raised.t;
    events.push(Event::new(t - MS, "w9", Op::Acquire, Phase::Call).call(0, 1));
    Some(())
}

fn a_waiter_starves(events: &mut Vec<Event>, seed: u64) -> Option<()> {
    let index = Index::of(events);
    let served: Vec<_> = index.waits.iter().filter(|wait| wait.waits && wait.call < CALM / 4).collect();
    let wait = pick(&served, seed)?;
    let (p, c, line) = (wait.p.to_owned(), wait.c, wait.line);
    events.retain(|event| *event.p != *p || event.c != c || event.n <= line);
    Some(())
}

fn finals(events: &mut [Event], edit: impl Fn(&mut Vec<u64>)) {
    for event in events.iter_mut().filter(|event| event.op == Op::Final) {
        let mut stored = event.stored.take().unwrap_or_default().into_vec();
        edit(&mut stored);
        event.stored = Some(stored.into());
    }
}

fn stored_and_nobodys(events: &mut Vec<Event>, _: u64) -> Option<()> {
    finals(events, |stored| stored.push(1_000_000));
    Some(())
}

fn held_and_not_stored(events: &mut Vec<Event>, _: u64) -> Option<()> {
    finals(events, Vec::clear);
    Some(())
}

fn stored_for_long_and_nobodys(events: &mut Vec<Event>, _: u64) -> Option<()> {
    // Long before all that happens.
    let shift = 60_000 * MS;
    for event in events.iter_mut() {
        event.t += shift;
        event.deadline = event.deadline.map(|deadline| deadline + shift);
    }
    for (t, stored) in [(MS, 1_000_000), (40_000 * MS, 1_000_000), (40_000 * MS, 2_000_000)] {
        let mut poll = Event::new(t, "onlooker", Op::Poll, Phase::Done);
        poll.stored = Some([stored].into());
        events.push(poll);
    }
    Some(())
}

fn stored_by_one_replica_only(events: &mut Vec<Event>, _: u64) -> Option<()> {
    events.iter_mut().find(|event| event.op == Op::Final)?.stored = Some([].into());
    Some(())
}

fn given_back_and_stored(events: &mut Vec<Event>, _: u64) -> Option<()> {
    let (index, end) = (Index::of(events), events.last()?.t);
    let id =
        index.leases.iter().rfind(|lease| lease.release < lease.deadline() && lease.deadline() > end)?.id;
    release(events, id)?;
    finals(events, |stored| stored.push(id));
    Some(())
}

macro_rules! mutants {
    ($rough:expr; $($edit:ident: $rule:expr,)*) => {
        $(proptest! {
            #![proptest_config(ProptestConfig { cases: 32, max_global_rejects: 4096, ..ProptestConfig::default() })]

            #[test]
            fn $edit(plan in plans($rough)) {
                only($rule, plan, super::$edit)?;
            }
        })*
    };
}

mod rough {
    use super::*;

    mutants! { true;
        grant_doubled: Rule::Limit,
        release_after_the_next_grant: Rule::Limit,
        refused_is_served: Rule::Limit,
        deadline_longer: Rule::Loss,
        loss_not_told: Rule::Loss,
        slot_of_the_dead_kept: Rule::Reclaim,
        stored_and_nobodys: Rule::Leak,
        held_and_not_stored: Rule::Leak,
        stored_by_one_replica_only: Rule::Leak,
        stored_for_long_and_nobodys: Rule::Leak,
        given_back_and_stored: Rule::Leak,
        tokens_swapped: Rule::Tokens,
        id_repeated: Rule::Tokens,
        raise_not_used: Rule::Resize,
        taken_by_the_lowered_limit: Rule::Resize,
        neighbour_freed: Rule::Foreign,
    }
}

mod calm {
    use super::*;

    mutants! { false;
        a_waiter_starves: Rule::Starvation,
    }
}
