use std::error::Error;
use std::fmt;

use serde::Serialize;

use crate::code::Code;
use crate::output::{Format, escape};

/// What a command reports when it fails: a code for scripts, a message, and what to do about it.
#[derive(Debug)]
pub(crate) struct CliError {
    code: Code,
    exit: Option<u8>,
    message: String,
    help: Option<String>,
    nats_code: Option<u64>,
    subject: Option<String>,
    causes: Vec<String>,
}

impl CliError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            exit: None,
            message: message.into(),
            help: None,
            nats_code: None,
            subject: None,
            causes: Vec::new(),
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn nats_code(mut self, code: Option<u64>) -> Self {
        self.nats_code = code;
        self
    }

    pub(crate) fn subject(mut self, subject: Option<String>) -> Self {
        self.subject = subject;
        self
    }

    /// Remembers the error behind this one, and those behind it, for `-v` and JSON.
    pub(crate) fn caused_by(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    /// Ends the process with another exit code than that of the error code.
    pub(crate) fn exits(mut self, exit: u8) -> Self {
        self.exit = Some(exit);
        self
    }

    /// Says something more.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(more);
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn exit(&self) -> u8 {
        self.exit.unwrap_or_else(|| self.code.exit())
    }

    /// What goes to stderr: prose, or one line of JSON where the output is JSON.
    pub(crate) fn render(&self, format: Format, verbose: bool) -> String {
        if format.is_json() {
            let document = Document {
                error: Body {
                    code: self.code.name(),
                    message: &self.message,
                    help: self.help.as_deref(),
                    exit: self.exit(),
                    nats_code: self.nats_code,
                    subject: self.subject.as_deref(),
                    cause: &self.causes,
                },
            };
            return serde_json::to_string(&document).unwrap_or_else(|_| self.to_string());
        }
        let mut text = format!("sluicegate: error: {}", escape(&self.message));
        if let Some(help) = &self.help {
            text.push_str("\n  help: ");
            text.push_str(&escape(help));
        }
        for cause in self.causes.iter().filter(|_| verbose) {
            text.push_str("\n  because: ");
            text.push_str(&escape(cause));
        }
        text
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[derive(Serialize)]
struct Document<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'static str,
    message: &'a str,
    help: Option<&'a str>,
    exit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    nats_code: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cause: &'a [String],
}
