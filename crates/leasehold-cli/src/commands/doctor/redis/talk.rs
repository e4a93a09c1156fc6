//! A connection of the doctor's own: questions with a time limit, and answers that may be refusals.

use crate::exit;
use crate::store::Fault;
use leasehold::engines::redis::probe::Probe;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, Value, cmd,
};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a server refuses for another reason than the protocol's version.
const MENDED_BY_NO_PROTOCOL: [&str; 4] = ["LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS"];

/// A connection that has shaken hands.
pub struct Talk {
    connection: MultiplexedConnection,
    traffic: JoinHandle<()>,
    /// What comes in unasked; nothing does if the server speaks RESP2 only.
    pub pushes: Option<UnboundedReceiver<PushInfo>>,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.traffic.abort();
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// An answer.
    Said(Value),
    /// A refusal: the first word, and the rest.
    Refused(String, String),
}

impl Answer {
    /// The text, if it is one.
    pub fn text(&self) -> Option<String> {
        match self {
            Answer::Said(value) => text(value),
            Answer::Refused(..) => None,
        }
    }

    /// The number, if it is one, or the text of one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Answer::Said(Value::Int(number)) => Some(*number),
            other => other.text()?.parse().ok(),
        }
    }

    /// The items of a list, or keys and values of a map in turn.
    pub fn items(&self) -> Vec<Value> {
        match self {
            Answer::Said(value) => items(value),
            Answer::Refused(..) => Vec::new(),
        }
    }
}

/// The text of a value, if it is one.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".into()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The items of a list, or keys and values of a map in turn.
pub fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) | Value::Set(items) => items.clone(),
        Value::Map(pairs) => pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect(),
        Value::Attribute { data, .. } => items(data),
        _ => Vec::new(),
    }
}

/// A command of words.
pub fn words<S: AsRef<[u8]>>(words: impl IntoIterator<Item = S>) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word.as_ref());
    }
    command
}

impl Talk {
    /// Connects and shakes hands: in RESP3 if the server speaks it, else in RESP2 without pushes, as the library does.
    ///
    /// # Errors
    /// Unreachable, refused, or bad usage for a URL that names no database of the server.
    pub async fn open(probe: &Probe) -> Result<Talk, Fault> {
        let talk = match within(attach(probe, ProtocolVersion::RESP3)).await? {
            Err(Trouble::Refused(error)) if !says_one_of(&error, &MENDED_BY_NO_PROTOCOL) && may_be_mended(&error) => {
                within(attach(probe, ProtocolVersion::RESP2)).await?
            }
            attached => attached,
        };
        let talk = talk.map_err(Trouble::into_fault)?;
        if probe.database() != 0 {
            let selected = talk.ask(words(["SELECT", &probe.database().to_string()])).await?;
            match selected {
                Answer::Refused(code, _) if code == "NOPERM" => {
                    let user = probe.user().unwrap_or("default");
                    return Err(permission(&format!(
                        "the user lacks the right to the command SELECT: ACL SETUSER {user} +select"
                    )));
                }
                Answer::Refused(code, _) if code == "ERR" => {
                    return Err(Fault::usage(format!("redis: the server has no database {}", probe.database())));
                }
                _ => {}
            }
        }
        Ok(talk)
    }

    /// Asks one question.
    ///
    /// # Errors
    /// The server is gone, or does not answer in time.
    pub async fn ask(&self, command: Cmd) -> Result<Answer, Fault> {
        Ok(self.ask_all(vec![command]).await?.remove(0))
    }

    /// Asks questions in one write; as many answers come back.
    ///
    /// # Errors
    /// Those of [`Talk::ask`].
    pub async fn ask_all(&self, commands: Vec<Cmd>) -> Result<Vec<Answer>, Fault> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        let count = commands.len();
        for command in commands {
            pipeline.add_command(command);
        }
        let mut connection = self.connection.clone();
        let values = within(connection.send_packed_commands(&pipeline, 0, count)).await?;
        let answers: Vec<Answer> = values.map_err(gone)?.into_iter().map(answer).collect();
        let stopped = answers.iter().find_map(|answer| match answer {
            Answer::Refused(code, _) => stopped(code),
            Answer::Said(_) => None,
        });
        match stopped {
            Some(why) => Err(unavailable(why)),
            None if answers.len() == count => Ok(answers),
            None => Err(unavailable("the connection ended before the answer came")),
        }
    }

    /// Hears what is said on a channel.
    ///
    /// # Errors
    /// Those of [`Talk::ask`].
    pub async fn subscribe(&self, channel: &str, yes: bool) -> Result<Answer, Fault> {
        let mut connection = self.connection.clone();
        let done =
            within(async { if yes { connection.subscribe(channel).await } else { connection.unsubscribe(channel).await } });
        match done.await? {
            Ok(()) => Ok(Answer::Said(Value::Okay)),
            Err(error) => match error.code() {
                Some(code) => Ok(Answer::Refused(code.into(), error.detail().unwrap_or_default().into())),
                None => Err(gone(error)),
            },
        }
    }
}

/// Why there is no connection.
enum Trouble {
    Fault(Fault),
    Refused(RedisError),
}

impl Trouble {
    fn into_fault(self) -> Fault {
        match self {
            Trouble::Fault(fault) => fault,
            Trouble::Refused(error) => refused_greeting(&error),
        }
    }
}

async fn attach(probe: &Probe, protocol: ProtocolVersion) -> Result<Talk, Trouble> {
    let stream = probe.open().await.map_err(|error| Trouble::Fault(error.into()))?;
    let mut info = RedisConnectionInfo::default().set_protocol(protocol).set_skip_set_lib_name();
    if let Some(user) = probe.user() {
        info = info.set_username(user);
    }
    if let Some(password) = probe.password() {
        info = info.set_password(password);
    }
    let mut config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let pushes = (protocol == ProtocolVersion::RESP3).then(|| {
        let (sender, receiver) = unbounded_channel();
        (sender, receiver)
    });
    let pushes = pushes.map(|(sender, receiver)| {
        config = config.clone().set_push_sender(sender);
        receiver
    });
    let opened = MultiplexedConnection::new_with_config(&info, stream, config).await;
    let (connection, traffic) = opened.map_err(Trouble::Refused)?;
    Ok(Talk { connection, traffic: tokio::spawn(traffic), pushes })
}

fn says_one_of(error: &RedisError, codes: &[&str]) -> bool {
    error.code().is_some_and(|code| codes.contains(&code))
}

/// True if the server refused, in place of being gone, and not for the password.
fn may_be_mended(error: &RedisError) -> bool {
    error.kind() != ErrorKind::AuthenticationFailed
        && !is_full(error)
        && (error.code().is_some() || error.kind() == ErrorKind::RESP3NotSupported)
}

fn is_full(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.starts_with("max number of clients"))
}

fn refused_greeting(error: &RedisError) -> Fault {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return permission("the server refuses this user or password");
    }
    match error.code() {
        Some("NOAUTH") => permission("the server asks for a password, and the URL has none"),
        Some("WRONGPASS") => permission("the server refuses this user or password"),
        Some("NOPERM") => permission("the server refuses this user"),
        Some(code) => match stopped(code) {
            Some(why) => unavailable(why),
            None if is_full(error) => unavailable("the server has too many clients: see maxclients"),
            None => Fault { code: exit::USAGE, message: format!("redis: the server refuses the handshake with {code}") },
        },
        None => gone(error.clone()),
    }
}

/// Why a server that says `code` to anything cannot be examined at present.
fn stopped(code: &str) -> Option<&'static str> {
    match code {
        "LOADING" => Some("the server is loading its data"),
        "BUSY" => Some("the server is busy with a long script"),
        _ => None,
    }
}

fn answer(value: Value) -> Answer {
    match value {
        Value::ServerError(error) => Answer::Refused(error.code().into(), error.details().unwrap_or_default().into()),
        value => Answer::Said(value),
    }
}

fn gone(error: RedisError) -> Fault {
    let _ = error;
    unavailable("the connection ended before the answer came")
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, Fault> {
    let late = |_| unavailable(&format!("the store did not answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, work).await.map_err(late)
}

fn unavailable(why: &str) -> Fault {
    Fault { code: exit::UNAVAILABLE, message: format!("redis: {why}") }
}

fn permission(why: &str) -> Fault {
    Fault { code: exit::PERMISSION, message: format!("redis: {why}") }
}

/// The command `PING`, which needs no right to any key.
pub fn ping() -> Cmd {
    cmd("PING")
}
