//! Bearing with an outage.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long an outage of the server is borne with.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Tries until it succeeds, fails with what another try would not change, or `give_up` has come. Only for what may be
/// done twice.
pub(crate) async fn insist<T, E, F>(
    give_up: Instant,
    again: impl Fn(&E) -> bool,
    attempt: impl Fn() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt().await {
            Err(error) if again(&error) && Instant::now() + pause < give_up => {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn tries(outage: Duration, again: bool) -> (Result<(), ()>, u32) {
        let begin = Instant::now();
        let tries = Cell::new(0);
        let outcome = insist(
            begin + PATIENCE,
            |()| again,
            || {
                tries.set(tries.get() + 1);
                async { if begin.elapsed() < outage { Err(()) } else { Ok(()) } }
            },
        );
        (outcome.await, tries.get())
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_borne_with_for_so_long_and_no_longer() {
        assert_eq!(tries(Duration::ZERO, true).await, (Ok(()), 1));
        assert!(tries(PATIENCE / 2, true).await.0.is_ok());
        assert!(tries(PATIENCE * 2, true).await.0.is_err());
        assert_eq!(tries(PATIENCE / 2, false).await, (Err(()), 1), "no second try for what stays as it is");
    }
}
