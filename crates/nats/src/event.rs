use std::fmt;

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

impl fmt::Display for NatsEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Disconnected => f.write_str("connection lost"),
            Self::Reconnected => f.write_str("connected again"),
            Self::CredentialsRefused { reason } => write!(f, "credentials refused: {reason}"),
            Self::ClientRebuilt => f.write_str("client made anew"),
            Self::LameDuck => f.write_str("the server is going away"),
            Self::SlowConsumer { subscription } => {
                write!(f, "subscription {subscription} is too slow, messages are dropped")
            }
            Self::PermissionDenied { subject, operation } => {
                write!(f, "no permission to {operation} `{subject}`")
            }
            Self::ServerError { text } => write!(f, "server error: {text}"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish to",
            Self::Subscribe => "subscribe to",
        })
    }
}
