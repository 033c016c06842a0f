/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatsEvent {
    /// The first connection stands.
    Connected,
    /// The connection is lost; the client tries to get it back.
    Disconnected,
    /// The connection is back.
    Reconnected,
    /// The server went on refusing the credentials: somebody has to look at them. Trying goes on, each time with
    /// freshly read credentials.
    CredentialsRefused {
        /// The last refusal.
        reason: String,
    },
    /// A new client replaced one that had ended or was refused; subscriptions made on the old one are gone.
    ClientRebuilt,
    /// The server is about to go away; the client moves to another one.
    LameDuck,
    /// A subscription's reader is too slow, messages are dropped.
    SlowConsumer {
        /// The client's number of the subscription.
        subscription: u64,
    },
    /// The server denied something.
    PermissionDenied {
        /// Where.
        subject: String,
        /// What.
        operation: Operation,
    },
    /// The server reported another error.
    ServerError {
        /// Its text.
        text: String,
    },
}

/// What a user was not permitted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Publish to the subject.
    Publish,
    /// Subscribe to the subject.
    Subscribe,
}
