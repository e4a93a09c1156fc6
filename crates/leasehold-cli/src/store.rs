//! Which store: its URL, who may see it, and the way to it.

use crate::args::StoreArgs;
use crate::exit::{self, Code};
use crate::say::say;
use leasehold::engines::sqlite::default_path;
use leasehold::{Client, Error, Observer};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

/// Why a command cannot go on, and the exit code that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The exit code.
    pub code: Code,
    /// What to tell the user.
    pub message: String,
}

impl Fault {
    /// A mistake of the user.
    pub fn usage(message: impl Into<String>) -> Fault {
        Fault { code: exit::USAGE, message: message.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Fault { code: Code::of_error(error.kind()), message }
    }
}

/// A store by its URL. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Store {
    url: String,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&redacted(&self.url))
    }
}

impl Store {
    /// The store that the options, else the environment, else the default name. Says so if it is the default.
    ///
    /// # Errors
    /// Bad usage, if a file cannot be read or nothing says where the default is.
    pub fn choose(args: &StoreArgs) -> Result<Store, Fault> {
        let given = match (&args.url, &args.url_file) {
            (Some(url), _) => Some(url.clone()),
            (None, Some(file)) => Some(first_line(file)?),
            (None, None) => from_environment()?,
        };
        if let Some(url) = given {
            return Ok(Store { url });
        }
        let path = default_path().map_err(|_| Fault::usage("no store: set LEASEHOLD_URL, or HOME for a store of this user"))?;
        if !args.quiet {
            say(format_args!("using {}: a lock of this user on this host only; set LEASEHOLD_URL to share it", path.display()));
        }
        Ok(Store { url: format!("sqlite:{}", encoded(&path)) })
    }

    /// The store at a URL that was chosen before.
    pub fn at(url: impl Into<String>) -> Store {
        Store { url: url.into() }
    }

    /// The URL, which may hold a password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects.
    ///
    /// # Errors
    /// Those of [`Client::connect`].
    pub async fn connect(&self, label: Option<&str>) -> Result<Client, Error> {
        self.connect_observed(label, None).await
    }

    /// The same, with somebody who sees what happens to the client's locks.
    ///
    /// # Errors
    /// Those of [`Client::connect`].
    pub async fn connect_observed(&self, label: Option<&str>, observer: Option<Arc<dyn Observer>>) -> Result<Client, Error> {
        let builder = Client::builder().label(label.map(String::from));
        observer.into_iter().fold(builder, leasehold::ClientBuilder::observer).connect(&self.url).await
    }

    /// True if the URL holds what must not be shown.
    pub fn has_secret(&self) -> bool {
        redacted(&self.url) != self.url
    }

    /// The URL without user and password.
    pub fn bare_url(&self) -> String {
        without_user(&self.url)
    }

    /// A number that is equal for equal stores and says nothing about passwords.
    pub fn fingerprint(&self) -> String {
        let bare = without_user(&absolute(&self.url));
        // FNV-1a: the same in every version of this program, unlike the standard library's hashes.
        let hash =
            bare.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }
}

/// The environment's URL. One that is there but of no use is a mistake: to fall back would be to lock somewhere else.
fn from_environment() -> Result<Option<String>, Fault> {
    match std::env::var_os("LEASEHOLD_URL").map(std::ffi::OsString::into_string) {
        None => Ok(None),
        Some(Ok(url)) if !url.is_empty() => Ok(Some(url)),
        Some(Ok(_)) => Err(Fault::usage("LEASEHOLD_URL is empty; unset it to use the store of this user on this host")),
        Some(Err(_)) => Err(Fault::usage("LEASEHOLD_URL is not UTF-8")),
    }
}

fn first_line(file: &Path) -> Result<String, Fault> {
    let wrong = |why: String| Fault::usage(format!("--url-file {}: {why}", file.display()));
    let mut line = String::new();
    let opened = fs::File::open(file).map_err(|error| wrong(error.to_string()))?;
    BufReader::new(opened).read_line(&mut line).map_err(|error| wrong(error.to_string()))?;
    let line = line.trim();
    if line.is_empty() {
        return Err(wrong("its first line is empty".into()));
    }
    Ok(line.into())
}

/// A path as a URL has it: what would end it there is escaped.
fn encoded(path: &Path) -> String {
    path.display().to_string().replace('%', "%25").replace('?', "%3f")
}

/// A `sqlite:` URL with its path made absolute, so that it means the same file from anywhere.
fn absolute(url: &str) -> String {
    let Some(rest) = url.strip_prefix("sqlite:") else { return url.into() };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.strip_prefix("//").unwrap_or(path);
    let whole = fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.into());
    format!("sqlite:{}?{query}", whole.display())
}

/// The URL without what stands before the `@` of its host part, and without such options.
fn without_user(url: &str) -> String {
    without_secret_options(&match user_part(url) {
        Some((start, end)) => format!("{}{}", &url[..start], &url[end..]),
        None => url.into(),
    })
}

/// The URL as it may be shown.
fn redacted(url: &str) -> String {
    without_secret_options(&match user_part(url) {
        Some((start, end)) => format!("{}…@{}", &url[..start], &url[end..]),
        None => url.into(),
    })
}

/// The URL without the options that name a user and a password.
fn without_secret_options(url: &str) -> String {
    let Some((place, options)) = url.split_once('?') else { return url.into() };
    let harmless = |option: &&str| !["user=", "password="].iter().any(|secret| option.starts_with(secret));
    let rest: Vec<&str> = options.split('&').filter(harmless).collect();
    if rest.is_empty() { place.into() } else { format!("{place}?{}", rest.join("&")) }
}

/// From where to where the user's name and password stand, the `@` included.
fn user_part(url: &str) -> Option<(usize, usize)> {
    let start = url.find("://")? + 3;
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    // A password may contain an `@` or a `/` by mistake: then the last `@` of the whole counts, to be safe.
    let at = url[start..end].rfind('@').or_else(|| url[start..].rfind('@'))?;
    Some((start, start + at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(url: &str) -> Store {
        Store { url: url.into() }
    }

    #[test]
    fn no_password_is_shown() {
        for url in ["redis://u:secret@h/0", "redis://:sec/ret@h", "postgres://u:secret@x@h/db?a=b"] {
            let shown = format!("{:?}", store(url));
            assert!(!shown.contains("sec"), "{shown}");
            assert!(shown.contains('h'), "{shown}");
        }
        assert_eq!(format!("{:?}", store("redis://h:1/0")), "redis://h:1/0");
        let socket = store("redis+unix:///s?db=1&user=u&password=secret&prefix=x");
        assert_eq!(format!("{socket:?}"), "redis+unix:///s?db=1&prefix=x");
        assert_eq!(socket.fingerprint(), store("redis+unix:///s?db=1&prefix=x").fingerprint());
    }

    #[test]
    fn a_fingerprint_knows_the_store_and_not_the_user() {
        assert_eq!(store("redis://a:b@h:1/0").fingerprint(), store("redis://h:1/0").fingerprint());
        assert_ne!(store("redis://h:1/0").fingerprint(), store("redis://h:2/0").fingerprint());
        assert_eq!(store("sqlite:x.db").fingerprint(), store(&format!("sqlite:{}/x.db", cwd())).fingerprint());
        assert_eq!(store("redis://h").fingerprint().len(), 16);
    }

    fn cwd() -> String {
        std::env::current_dir().unwrap().display().to_string()
    }
}
