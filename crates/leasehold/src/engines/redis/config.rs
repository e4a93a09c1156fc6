//! Where a Redis server is, who we are to it, and what a URL may say about that.

use super::stream::{Connector, Stream};
use crate::error::Error;
use leasehold_wire::Space;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// What a URL cannot say, or what is at hand already: a prefix, a TLS configuration, a way to connect.
///
/// # Examples
/// ```
/// use leasehold::engines::redis::RedisOptions;
/// let options = RedisOptions::new().prefix("billing:");
/// ```
#[derive(Clone, Default)]
pub struct RedisOptions {
    prefix: Option<String>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
    connector: Option<Connector>,
}

impl RedisOptions {
    /// Nothing but what the URL says.
    pub fn new() -> RedisOptions {
        RedisOptions::default()
    }

    /// Puts all keys behind `prefix` (default `leasehold:`); a `?prefix=` in the URL wins. Empty shares other libraries' keys.
    pub fn prefix(mut self, prefix: impl Into<String>) -> RedisOptions {
        self.prefix = Some(prefix.into());
        self
    }

    /// Takes an existing TLS configuration for `rediss://`, in place of the system's roots and `?ca=`.
    ///
    /// What it trusts is trusted; Leasehold adds no check of its own.
    #[cfg(feature = "tls")]
    pub fn existing_tls_config(mut self, config: Arc<rustls::ClientConfig>) -> RedisOptions {
        self.tls = Some(config);
        self
    }

    /// Takes existing connections: `connect` is called for each of at most two connections and after each loss of one, on
    /// the runtime that the connection will live on. The URL's host and scheme are then only a name.
    pub fn existing_connections<F, S>(mut self, connect: impl Fn() -> F + Send + Sync + 'static) -> RedisOptions
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: Stream + 'static,
    {
        self.connector = Some(Arc::new(move || {
            let stream = connect();
            Box::pin(async { Ok(Box::new(stream.await?) as Box<dyn Stream>) })
        }));
        self
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A password that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Where the server is.
#[derive(Clone)]
pub(super) enum Place {
    /// Host and port.
    Tcp(String, u16),
    /// The same, under TLS.
    #[cfg(feature = "tls")]
    Tls(String, u16, Arc<rustls::ClientConfig>),
    /// A unix socket.
    Unix(PathBuf),
    /// Whatever the user's function gives.
    Given(Connector),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(host, port) => write!(f, "{host}:{port}"),
            #[cfg(feature = "tls")]
            Place::Tls(host, port, _) => write!(f, "{host}:{port} (tls)"),
            Place::Unix(path) => write!(f, "{}", path.display()),
            Place::Given(_) => f.write_str("given connections"),
        }
    }
}

/// Everything that is needed to connect.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) db: u32,
    pub(super) space: Space,
}

/// The options that a scheme knows, for errors.
const SCHEMES: &str = "redis://, rediss:// and redis+unix://";
const TCP_OPTIONS: &[&str] = &["prefix"];
const TLS_OPTIONS: &[&str] = &["prefix", "ca"];
const UNIX_OPTIONS: &[&str] = &["db", "user", "password", "prefix"];

impl Target {
    /// Reads `url`; never repeats it in an error, since it may hold a password.
    ///
    /// # Errors
    /// Config errors that list what is known.
    pub(super) fn read(url: &str, options: &RedisOptions) -> Result<Target, Error> {
        let url = Url::parse(url).map_err(|error| Error::config(format!("the URL cannot be read: {error}")))?;
        let known = match url.scheme() {
            "redis" => TCP_OPTIONS,
            "rediss" => TLS_OPTIONS,
            "redis+unix" => UNIX_OPTIONS,
            other => return Err(Error::config(format!("the URL scheme {other:?} is not known; known are {SCHEMES}"))),
        };
        let over_socket = url.scheme() == "redis+unix";
        if !over_socket && has_stray_user(&url) {
            return Err(Error::config(
                "the URL has an @ behind its host: write @, /, ?, # and : of a password as %40, %2F, %3F, %23, %3A",
            ));
        }
        let query = Query::read(&url, known)?;
        let db = if over_socket { query.get("db").unwrap_or_default() } else { decoded(url.path().trim_matches('/'))? };
        let (user, password) = credentials(&url, &query)?;
        let prefix = query.get("prefix").or_else(|| options.prefix.clone());
        let space = Space::new(prefix.as_deref().unwrap_or(Space::DEFAULT_PREFIX));
        Ok(Target {
            place: place(&url, &query, options)?,
            user,
            password,
            db: database(&db)?,
            space: space.map_err(|error| Error::config(error.to_string()))?,
        })
    }
}

/// True if a password seems to have been cut in two, so that its rest is taken for a path or an option, and shown as one.
fn has_stray_user(url: &Url) -> bool {
    let rest = [Some(url.path()), url.query(), url.fragment()];
    url.username().is_empty() && url.password().is_none() && rest.into_iter().flatten().any(|part| part.contains('@'))
}

fn place(url: &Url, query: &Query, options: &RedisOptions) -> Result<Place, Error> {
    if let Some(connector) = &options.connector {
        return Ok(Place::Given(connector.clone()));
    }
    if url.scheme() == "redis+unix" {
        let path = decoded(url.path())?;
        if path.len() < 2 || url.host_str().is_some_and(|host| !host.is_empty()) {
            return Err(Error::config("redis+unix:// needs an absolute path, as in redis+unix:///run/redis/redis.sock"));
        }
        return Ok(Place::Unix(PathBuf::from(path)));
    }
    let host = decoded(url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(6379);
    if url.scheme() == "rediss" {
        return over_tls(host, port, query, options);
    }
    Ok(Place::Tcp(host, port))
}

#[cfg(feature = "tls")]
fn over_tls(host: String, port: u16, query: &Query, options: &RedisOptions) -> Result<Place, Error> {
    let config = match &options.tls {
        Some(config) => config.clone(),
        None => super::tls::client_config(query.get("ca").as_deref())?,
    };
    Ok(Place::Tls(host, port, config))
}

#[cfg(not(feature = "tls"))]
fn over_tls(_: String, _: u16, _: &Query, _: &RedisOptions) -> Result<Place, Error> {
    Err(Error::unsupported("rediss:// needs the feature tls, which this build lacks"))
}

fn database(text: &str) -> Result<u32, Error> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| Error::config(format!("the database must be a number, got {text:?}")))
}

fn credentials(url: &Url, query: &Query) -> Result<(Option<String>, Option<Secret>), Error> {
    let user = if url.username().is_empty() { query.get("user") } else { Some(decoded(url.username())?) };
    let password = match url.password() {
        Some(password) => Some(decoded(password)?),
        None => query.get("password"),
    };
    if user.is_some() && password.is_none() {
        return Err(Error::config("the URL names a user but no password"));
    }
    Ok((user, password.map(Secret)))
}

fn decoded(text: &str) -> Result<String, Error> {
    let text = percent_decode_str(text).decode_utf8();
    Ok(text.map_err(|_| Error::config("a percent-encoded part of the URL is not UTF-8"))?.into_owned())
}

struct Query(Vec<(String, String)>);

impl Query {
    fn read(url: &Url, known: &[&str]) -> Result<Query, Error> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in url.query_pairs() {
            if !known.contains(&name.as_ref()) {
                let known = known.join(", ");
                return Err(Error::config(format!(
                    "the option {name:?} of a {}:// URL is not known; known are {known}",
                    url.scheme()
                )));
            }
            if pairs.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Error::config(format!("the option {name:?} is given twice")));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Query(pairs))
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn read(url: &str) -> Result<Target, Error> {
        Target::read(url, &RedisOptions::new())
    }

    #[test]
    fn a_url_says_host_port_database_user_password_and_prefix() {
        let target = read("redis://us%65r:p%40ss@[::1]:7000/3?prefix=app%3A").unwrap();
        assert_eq!(format!("{:?}", target.place), "::1:7000");
        assert_eq!((target.user.as_deref(), target.db, target.space.prefix()), (Some("user"), 3, "app:"));
        assert_eq!(target.password, Some(Secret("p@ss".to_owned())));
        let target = read("redis://:x@").unwrap_or_else(|_| read("redis://:x@localhost").unwrap());
        assert_eq!(format!("{:?}", target.place), "localhost:6379");
    }

    #[test]
    fn a_socket_url_has_its_database_and_user_as_options() {
        let target = read("redis+unix:///run/redis.sock?db=2&user=u&password=p&prefix=").unwrap();
        assert_eq!(format!("{:?}", target.place), "/run/redis.sock");
        assert_eq!((target.db, target.user.as_deref(), target.space.prefix()), (2, Some("u"), ""));
        assert!(read("redis+unix://run/redis.sock").is_err());
    }

    #[test]
    fn what_is_not_known_is_refused_with_a_list_of_what_is() {
        let message = |url: &str| {
            let error = read(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            error.to_string()
        };
        assert_eq!(message("redis://h?foo=1"), "the option \"foo\" of a redis:// URL is not known; known are prefix");
        assert_eq!(
            message("rodis://h"),
            "the URL scheme \"rodis\" is not known; known are redis://, rediss:// and redis+unix://"
        );
        assert_eq!(message("redis://h/x"), "the database must be a number, got \"x\"");
        assert!(message("redis://h?prefix=%7Ba").contains("{tag}"));
        assert!(message("redis://h?prefix=a&prefix=b").contains("twice"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = "redis://me:hunter2@localhost/0";
        let shown = format!("{:?}", read(url).unwrap());
        assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
        let broken = ["redis://me:7/hunter2@h", "redis://me:7?hunter2@h", "redis://me:7?hunter2=@h", "redis://me:7#hunter2@h"];
        let refused = ["redis://me:hunter2@localhost/0?nope=1", "redis://me:hunter2@local host", "foo://me:hunter2@h"];
        for url in broken.into_iter().chain(refused) {
            assert!(!read(url).unwrap_err().to_string().contains("hunter2"));
        }
    }
}
