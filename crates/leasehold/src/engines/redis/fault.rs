//! What can go wrong between a call and its answer, and what the caller can do about it.

use crate::error::Error;
use leasehold_wire::{ALL, Malformed, Reply, Script, Space};
use redis::{RedisError, Value};
use std::collections::BTreeSet;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The server refused; it has done nothing.
    Refused {
        /// The first word of its error.
        code: String,
        /// The rest of it.
        detail: String,
        /// The command or the script that it was asked for.
        what: &'static str,
    },
    /// The connection ended before the answer came.
    Lost,
    /// The answer did not come in time.
    Late,
    /// The answer makes no sense.
    Malformed(Malformed),
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Fault {
        Fault::Malformed(malformed)
    }
}

impl Fault {
    /// The fault that an error in an answer to `what` stands for.
    pub(super) fn refused(reply: Reply, what: &'static str) -> Fault {
        match reply {
            Reply::Error(code, detail) => Fault::Refused { code, detail, what },
            other => leasehold_wire::counter(Reply::List(vec![other])).err().map_or(Fault::Lost, Fault::Malformed),
        }
    }

    /// True if the server surely has not acted.
    pub(super) fn is_definite(&self) -> bool {
        matches!(self, Fault::Refused { .. })
    }

    /// True if the server said `code`.
    pub(super) fn says(&self, wanted: &str) -> bool {
        matches!(self, Fault::Refused { code, .. } if code == wanted)
    }

    /// What it means to the caller, in words of our own: a server's text may repeat keys and arguments.
    pub(super) fn into_error(self, space: &Space) -> Error {
        match self {
            Fault::Refused { code, detail, what } => refusal(&code, &detail, (what, space)),
            Fault::Lost => Error::unavailable("the connection ended before the answer came").maybe_done(),
            Fault::Late => Error::unavailable("the store did not answer in time").maybe_done(),
            Fault::Malformed(malformed) => {
                Error::unsupported("the server's answer has a form that was never agreed on").maybe_done().caused_by(malformed)
            }
        }
    }
}

fn refusal(code: &str, detail: &str, (what, space): (&'static str, &Space)) -> Error {
    let unavailable = |message: &str| Error::unavailable(message);
    match code {
        "UNTRUSTED" => Error::config(
            "the TLS handshake failed: the server's certificate is not trusted or is for another name (?ca= names its roots), or \
             the server does not speak TLS",
        ),
        "NOAUTH" => Error::permission("the server asks for a password, and the URL has none"),
        "WRONGPASS" => Error::permission("the server refuses this user or password"),
        "NOPERM" => forbidden(detail, what, space),
        "LOADING" => unavailable("the server is loading its data"),
        "BUSY" => unavailable("the server is busy with a long script"),
        "MASTERDOWN" => unavailable("the server is a replica that has lost its primary"),
        "CLUSTERDOWN" => unavailable("the cluster is down"),
        "READONLY" => unavailable("the server is a replica and takes no writes"),
        "MISCONF" => unavailable("the server cannot save its data and takes no writes"),
        "OOM" => unavailable("the server is out of memory"),
        "NOREPLICAS" => unavailable("the server has too few replicas to take writes"),
        "MOVED" | "ASK" | "CROSSSLOT" | "TRYAGAIN" => {
            Error::unsupported("the server is a node of a cluster, which a redis:// URL cannot name")
        }
        "WRONGTYPE" => Error::config("this name is in use by a key of another kind"),
        "NOSCRIPT" => Error::unsupported("the server forgets scripts and refuses EVAL"),
        "ERR" if detail.starts_with("The user executing the script") => forbidden(detail, what, space),
        "ERR" if detail.to_ascii_lowercase().starts_with("unknown command") => {
            Error::unsupported(format!("the server, or a proxy before it, does not know {}", command(what)))
        }
        "ERR" if detail.starts_with("max number of clients") => unavailable("the server has too many clients"),
        "ERR" if detail.contains("not an integer") => Error::config("the token counter's key is in use by something else"),
        _ => Error::unsupported(format!("the server refuses {} with {code}", command(what))),
    }
}

/// Names the right that is missing.
fn forbidden(detail: &str, what: &'static str, space: &Space) -> Error {
    let prefix = space.prefix();
    let detail = detail.to_ascii_lowercase();
    if detail.contains("channel") {
        return Error::permission(format!("the user lacks the right to the channels &{prefix}*"));
    }
    if detail.contains("access") && detail.contains("key") {
        return Error::permission(format!("the user lacks the right to the keys ~{prefix}*"));
    }
    if let Some(script) = script(what)
        && detail.contains("executing the script")
    {
        // The server does not say which.
        let used = commands_of(script).join(", ");
        return Error::permission(format!("the user lacks the right to one of the commands {used}"));
    }
    let refused = detail.split('\'').nth(1).map_or_else(|| command(what).to_owned(), str::to_ascii_uppercase);
    Error::permission(format!("the user lacks the right to the command {refused}"))
}

fn script(what: &str) -> Option<&'static Script> {
    ALL.into_iter().find(|script| script.name == what)
}

/// The command that a client sends for it.
fn command(what: &'static str) -> &'static str {
    if script(what).is_some() { "EVALSHA" } else { what }
}

/// The commands that a script may call, in alphabetical order.
pub(super) fn commands_of(script: &Script) -> Vec<&'static str> {
    let calls = script.source.split("call('").skip(1).filter_map(|rest| rest.split('\'').next());
    calls.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The answer without the driver crate's types.
pub(super) fn reply(value: Value) -> Reply {
    match value {
        Value::Int(number) => Reply::Int(number),
        Value::BulkString(bytes) => Reply::Bytes(bytes),
        Value::SimpleString(text) => Reply::Bytes(text.into_bytes()),
        Value::VerbatimString { text, .. } => Reply::Bytes(text.into_bytes()),
        Value::Okay => Reply::Ok,
        Value::Boolean(yes) => Reply::Int(i64::from(yes)),
        Value::Double(number) => Reply::Bytes(number.to_string().into_bytes()),
        Value::Array(items) | Value::Set(items) => Reply::List(items.into_iter().map(reply).collect()),
        Value::Map(pairs) => Reply::List(pairs.into_iter().flat_map(|(key, value)| [reply(key), reply(value)]).collect()),
        Value::Attribute { data, .. } => reply(*data),
        Value::Push { data, .. } => Reply::List(data.into_iter().map(reply).collect()),
        Value::ServerError(error) => Reply::Error(error.code().to_owned(), error.details().unwrap_or_default().to_owned()),
        _ => Reply::Nil,
    }
}

/// The fault behind an error of the driver crate.
pub(super) fn of_crate(error: &RedisError) -> Fault {
    let what = "HELLO";
    match error.code() {
        Some(code) => Fault::Refused { code: code.to_owned(), detail: error.detail().unwrap_or_default().to_owned(), what },
        None => Fault::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_refusal_says_what_the_caller_can_do() {
        let space = Space::new("p:").unwrap();
        let told = |code: &str, detail: &str| {
            let fault = Fault::Refused { code: code.to_owned(), detail: detail.to_owned(), what: "EVALSHA" };
            let error = fault.into_error(&space);
            assert!(!error.outcome_unknown());
            (error.kind(), error.to_string())
        };
        for code in ["LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "MISCONF", "OOM", "NOREPLICAS"] {
            assert_eq!(told(code, "").0, ErrorKind::Unavailable, "{code}");
        }
        assert_eq!(told("WRONGTYPE", "").0, ErrorKind::Config);
        let missing = told("NOPERM", "this user has no permissions to run the 'set' command");
        assert_eq!(missing, (ErrorKind::Permission, "the user lacks the right to the command SET".to_owned()));
        let missing = told("NOPERM", "this user has no permissions to access one of the keys used as arguments");
        assert_eq!(missing.1, "the user lacks the right to the keys ~p:*");
        let detail = "The user executing the script can't run this command or subcommand script: 1f".to_owned();
        let inside = Fault::Refused { code: "ERR".to_owned(), detail, what: "raise" }.into_error(&space);
        assert_eq!(inside.to_string(), "the user lacks the right to one of the commands GET, PERSIST, SET, TIME");
        let unknown = told("ERR", "unknown command 'EVALSHA', with args beginning with: ");
        assert_eq!(unknown, (ErrorKind::Unsupported, "the server, or a proxy before it, does not know EVALSHA".to_owned()));
    }
}
