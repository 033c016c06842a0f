/// Runs the contract of `LeasePool` on an implementation: one test a clause, plain and behind each fault.
///
/// Takes the name of a module, the test attribute, and an expression that makes a new
/// [`PoolFixture`](crate::lease::PoolFixture) for each test.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::sync::{Arc, OnceLock};
/// use std::time::Duration;
///
/// use sluicegate_core::{LeasePoolAdmin, MemoryPool};
/// use sluicegate_testkit::lease::PoolFixture;
///
/// #[derive(Debug, Default)]
/// struct Memory(OnceLock<MemoryPool>);
///
/// #[async_trait::async_trait]
/// impl PoolFixture for Memory {
///     async fn create(&self, limit: NonZeroU32, ttl: Duration) -> Arc<dyn LeasePoolAdmin> {
///         Arc::new(self.0.get_or_init(|| MemoryPool::new(limit, ttl)).clone())
///     }
///
///     async fn attach(&self) -> Arc<dyn LeasePoolAdmin> {
///         Arc::new(self.0.get().expect("created").handle())
///     }
///
///     async fn restart(&self) -> bool {
///         false
///     }
/// }
///
/// sluicegate_testkit::lease_contract!(memory, #[tokio::test(start_paused = true)], Memory::default());
/// ```
#[macro_export]
macro_rules! lease_contract {
    ($name:ident, #[$test:meta], $fixture:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::lease_contract!(@clauses plain, #[$test], $fixture);
            $crate::lease_contract!(@clauses slow, #[$test], $crate::lease::Faulted::slow($fixture));
            $crate::lease_contract!(@clauses flaky, #[$test], $crate::lease::Faulted::flaky($fixture));
            $crate::lease_contract!(@clauses cut_off, #[$test], $crate::lease::Faulted::cut_off($fixture));
        }
    };
    (@clauses $name:ident, #[$test:meta], $fixture:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::lease_contract!(@each #[$test], $fixture;
                clause_01_never_more_than_limit
                clause_02_full_is_none
                clause_03_expiry_frees_that_slot_and_not_early
                clause_04_release_is_idempotent_and_frees_only_its_own
                clause_05_tokens_strictly_increase
                clause_06_ids_are_never_reused
                clause_07_dropped_attempt_leaves_nothing
                clause_08_resize
                clause_09_evict_and_reset_are_seen_by_the_holder
                clause_10_held_lists_everything
                clause_11_lost_lease_cannot_be_renewed
                clause_12_release_wakes_a_waiter
                clause_13_renewal_keeps_the_slot
                clause_14_weights_are_all_or_nothing
            );
        }
    };
    (@each #[$test:meta], $fixture:expr; $($clause:ident)*) => {
        $(
            #[$test]
            async fn $clause() {
                $crate::lease::suite::$clause(&$fixture).await;
            }
        )*
    };
}
