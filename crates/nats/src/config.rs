use std::time::Duration;

/// How a connection is watched over. The defaults are right for nearly everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Supervision {
    /// After that long without a connection, refused for its credentials, the refusal is reported and the client
    /// made anew with freshly read ones. Default 15 s.
    pub refused_after: Duration,
    /// Time between pings; a dead server is noticed after two to three of them. Default 10 s.
    pub ping_interval: Duration,
    /// Upper bound of the first reconnect delays. Default 250 ms.
    pub reconnect_delay: Duration,
    /// Upper bound of the later ones, after the first 30 attempts. Default 2 s.
    pub reconnect_delay_max: Duration,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            refused_after: Duration::from_secs(15),
            ping_interval: Duration::from_secs(10),
            reconnect_delay: Duration::from_millis(250),
            reconnect_delay_max: Duration::from_secs(2),
        }
    }
}

impl Supervision {
    /// Changes [`refused_after`](Self::refused_after).
    #[must_use]
    pub fn refused_after(mut self, after: Duration) -> Self {
        self.refused_after = after;
        self
    }

    /// Changes [`ping_interval`](Self::ping_interval), for example to a sixth of a lease's time to live.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// Changes [`reconnect_delay`](Self::reconnect_delay) and [`reconnect_delay_max`](Self::reconnect_delay_max).
    #[must_use]
    pub fn reconnect_delays(mut self, first: Duration, later: Duration) -> Self {
        self.reconnect_delay = first;
        self.reconnect_delay_max = later;
        self
    }
}
