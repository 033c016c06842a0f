//! What may stand behind the flags of `sluicegate pipe`.

use std::str::FromStr;

use serde_json::Value;

/// Where items go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    /// A subject, without acknowledgement.
    Nats {
        subject: String,
    },
    /// A stream, with acknowledgements; none: the only subject that it has.
    Stream {
        name: String,
        subject: Option<String>,
    },
    /// A command and its arguments.
    Exec {
        program: String,
        arguments: Vec<String>,
    },
}

impl Target {
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Nats { .. } => "the server",
            Self::Stream { .. } => "the stream",
            Self::Exec { .. } => "the command",
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "stdout" {
            return Ok(Self::Stdout);
        }
        match text.split_once(':') {
            Some(("nats", subject)) => Ok(Self::Nats { subject: one_subject(subject)? }),
            Some(("stream", rest)) => {
                let (name, subject) = match rest.split_once('/') {
                    Some((name, subject)) => (name, Some(one_subject(subject)?)),
                    None => (rest, None),
                };
                let odd = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
                if name.is_empty() || name.contains(odd) {
                    return Err(format!("`{name}` is no name of a stream"));
                }
                Ok(Self::Stream { name: name.to_owned(), subject })
            }
            Some(("exec", command)) => {
                let words = shell_words::split(command).map_err(|error| format!("`{command}`: {error}"))?;
                let mut words = words.into_iter();
                let program = words.next().filter(|program| !program.is_empty());
                let program = program.ok_or("exec: needs a command, for example exec:./load.sh")?;
                Ok(Self::Exec { program, arguments: words.collect() })
            }
            _ => Err("write stdout, nats:SUBJECT, stream:NAME[/SUBJECT] or exec:CMD".to_owned()),
        }
    }
}

/// A subject that can be published to.
fn one_subject(text: &str) -> Result<String, String> {
    let token = |token: &str| !token.is_empty() && token != "*" && token != ">";
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if text.split('.').all(token) && !text.contains(odd) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no subject to publish to: one without wildcards and blanks is"))
    }
}

/// Where something stands in a JSON document (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer(String);

impl Pointer {
    pub(crate) fn find<'a>(&self, document: &'a Value) -> Result<&'a Value, String> {
        document.pointer(&self.0).ok_or_else(|| format!("there is no {}", self.0))
    }

    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("json:") {
            Some(pointer) if pointer.starts_with('/') => Ok(Self(pointer.to_owned())),
            _ => Err("write json: and a JSON pointer, for example json:/user/id".to_owned()),
        }
    }
}

/// What an item costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    Each(u32),
    Bytes,
    Json(Pointer),
}

impl FromStr for Cost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bytes" => Ok(Self::Bytes),
            _ if text.starts_with("json:") => text.parse().map(Self::Json),
            _ => {
                text.parse().map(Self::Each).map_err(|_| "write a number, bytes or json:/POINTER".to_owned())
            }
        }
    }
}

/// By what a stream knows an item that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MsgId {
    /// By its place in this run.
    None,
    /// By what it is.
    Hash,
    Json(Pointer),
}

impl FromStr for MsgId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "hash" => Ok(Self::Hash),
            _ if text.starts_with("json:") => text.parse().map(Self::Json),
            _ => Err("write none, hash or json:/POINTER".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let stream = |name: &str, subject: Option<&str>| Target::Stream {
            name: name.to_owned(),
            subject: subject.map(ToOwned::to_owned),
        };
        assert_eq!("stdout".parse(), Ok(Target::Stdout));
        assert_eq!("nats:a.b".parse(), Ok(Target::Nats { subject: "a.b".to_owned() }));
        assert_eq!("stream:EVENTS".parse(), Ok(stream("EVENTS", None)));
        assert_eq!("stream:EVENTS/events.new/x".parse(), Ok(stream("EVENTS", Some("events.new/x"))));
        let exec =
            Target::Exec { program: "sh".into(), arguments: vec!["-c".into(), "cat >&2; exit 3".into()] };
        assert_eq!("exec:sh -c 'cat >&2; exit 3'".parse(), Ok(exec));
        for text in [
            "",
            "nats:",
            "nats:a.*",
            "nats:a..b",
            "nats:a b",
            "stream:",
            "stream:a.b",
            "stream:A/",
            "exec:",
            "exec:''",
            "exec:'",
            "file:x",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn pointers_costs_and_ids() {
        let pointer = |text: &str| Pointer(text.to_owned());
        assert_eq!("json:/a/0".parse(), Ok(pointer("/a/0")));
        assert!("/a".parse::<Pointer>().is_err() && "json:a".parse::<Pointer>().is_err());
        assert_eq!("bytes".parse(), Ok(Cost::Bytes));
        assert_eq!("3".parse(), Ok(Cost::Each(3)));
        assert_eq!("json:/ru".parse(), Ok(Cost::Json(pointer("/ru"))));
        assert!("x".parse::<Cost>().is_err());
        assert_eq!("hash".parse(), Ok(MsgId::Hash));
        assert!("x".parse::<MsgId>().is_err());
    }
}
