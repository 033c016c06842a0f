//! What happens to the server, and when: the same for the same seed.

use std::time::Duration;

/// One disturbance of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL; the server comes back after that time.
    Kill(Duration),
    /// SIGSTOP for that time.
    Pause(Duration),
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Pause(_) => "pause",
        }
    }
}

/// A fault and the quiet time before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) after: Duration,
    pub(crate) fault: Fault,
}

/// The faults of one run: more than a run takes, so that there are some until its end.
pub(crate) fn of_run(seed: u64, run: u64) -> Vec<Step> {
    const STEPS: usize = 20;
    let mut random = fastrand::Rng::with_seed(run_seed(seed, run));
    (0..STEPS).map(|_| step(&mut random)).collect()
}

/// The seed of the run's schedule and of its workload.
pub(crate) fn run_seed(seed: u64, run: u64) -> u64 {
    fastrand::Rng::with_seed(seed ^ run.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(1..1 << 48)
}

fn step(random: &mut fastrand::Rng) -> Step {
    let mut millis = |range| Duration::from_millis(random.u64(range));
    let after = millis(200..3_000);
    let (down, still) = (millis(20..1_500), millis(100..3_000));
    Step { after, fault: if random.bool() { Fault::Kill(down) } else { Fault::Pause(still) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_differs() {
        assert_eq!(of_run(7, 3), of_run(7, 3));
        assert_ne!(of_run(7, 3), of_run(7, 4));
        assert_ne!(of_run(7, 3), of_run(8, 3));
    }

    #[test]
    fn both_faults_happen() {
        let steps = of_run(1, 0);
        for name in ["kill", "pause"] {
            assert!(steps.iter().any(|step| step.fault.name() == name), "no {name}");
        }
    }
}
