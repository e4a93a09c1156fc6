//! Reads the URL of a lock database and finds the default one.

use crate::error::Error;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What a `sqlite:` URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// The database file, absolute.
    pub(super) path: PathBuf,
    /// True if the file system is not to be checked (`fs=any`).
    pub(super) any_fs: bool,
}

impl Config {
    /// Reads `sqlite:PATH`, `sqlite:///abs/path` or `sqlite:` (the default path), each with `?fs=any` behind it or not.
    pub(super) fn parse(url: &str) -> Result<Config, Error> {
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| Error::config("the url of a lock database begins with sqlite:"))?;
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Config { path: parse_path(path)?, any_fs: parse_options(options)? })
    }
}

/// The lock database that is used when no URL is given: `$XDG_STATE_HOME/leasehold/locks.db`, else
/// `~/.local/state/leasehold/locks.db`.
///
/// # Errors
/// [`ErrorKind::Config`](crate::ErrorKind::Config) if neither `XDG_STATE_HOME` nor `HOME` is an absolute path.
pub fn default_path() -> Result<PathBuf, Error> {
    default_path_in(env::var_os("XDG_STATE_HOME"), env::var_os("HOME"))
}

fn default_path_in(state: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, Error> {
    // The XDG base directory specification: a path that is not absolute is to be ignored.
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute(state).or_else(|| absolute(home).map(|home| home.join(".local/state")));
    match state {
        Some(state) => Ok(state.join("leasehold").join("locks.db")),
        None => Err(Error::config("no home directory for the default lock database: set HOME, XDG_STATE_HOME or a url")),
    }
}

fn parse_path(text: &str) -> Result<PathBuf, Error> {
    if text.is_empty() {
        return default_path();
    }
    if text == ":memory:" {
        return Err(Error::config("a lock database is a file; the url of locks inside one process is memory:"));
    }
    let path = match text.strip_prefix("//") {
        Some(path) if !path.starts_with('/') => {
            return Err(Error::config("a lock database has no host: write sqlite:PATH or sqlite:///abs/path"));
        }
        Some(path) => path,
        None => text,
    };
    let path = PathBuf::from(OsString::from_vec(decode(path)?));
    absolute(&path)
}

// Absolute from the start, so that a later change of directory does not change what is shared.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let path =
        std::path::absolute(path).map_err(|error| Error::config("the path of a lock database is not usable").caused_by(error))?;
    if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::config(format!("{} names a directory, not a lock database", path.display())));
    }
    Ok(path)
}

fn decode(text: &str) -> Result<Vec<u8>, Error> {
    let wrong = || Error::config("a % in a url is followed by two hexadecimal digits, but not by 00");
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
        decoded.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are one byte"));
    }
    if decoded.contains(&0) { Err(wrong()) } else { Ok(decoded) }
}

fn parse_options(text: &str) -> Result<bool, Error> {
    let mut any_fs = false;
    for option in text.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("fs", "any") => any_fs = true,
            ("fs", _) => return Err(Error::config("the only value of the option fs of a sqlite url is any")),
            (name, _) => return Err(Error::config(format!("a sqlite url has no option {name:?}; known: fs"))),
        }
    }
    Ok(any_fs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str) -> PathBuf {
        Config::parse(url).unwrap().path
    }

    #[test]
    fn both_spellings_of_an_absolute_path_name_the_same_file() {
        assert_eq!(path("sqlite:/var/lib/locks.db"), Path::new("/var/lib/locks.db"));
        assert_eq!(path("sqlite:///var/lib/locks.db"), Path::new("/var/lib/locks.db"));
        assert_eq!(path("sqlite:locks.db"), env::current_dir().unwrap().join("locks.db"));
    }

    #[test]
    fn a_path_may_hold_any_byte_by_percent_encoding() {
        assert_eq!(path("sqlite:/a%20b/%3f%25"), Path::new("/a b/?%"));
        assert_eq!(path("sqlite:/%ff").into_os_string().into_vec(), b"/\xff");
        for url in ["sqlite:/%", "sqlite:/%2", "sqlite:/%zz", "sqlite:/%00", "sqlite:/é%é"] {
            assert!(Config::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn an_unknown_option_is_refused_with_a_list_of_the_known() {
        assert!(Config::parse("sqlite:/a?fs=any").unwrap().any_fs);
        assert!(!Config::parse("sqlite:/a?").unwrap().any_fs);
        let message = Config::parse("sqlite:/a?mode=ro").unwrap_err().to_string();
        assert!(message.contains("\"mode\"") && message.ends_with("known: fs"), "{message}");
        assert!(Config::parse("sqlite:/a?fs=nfs").is_err());
    }

    #[test]
    fn what_is_not_a_file_of_this_host_is_refused() {
        for url in ["sqlite://host/a", "sqlite::memory:", "sqlite:/", "sqlite:/a/", "postgres:/a"] {
            assert!(Config::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_default_path_follows_the_state_directory_then_the_home() {
        let given = |text: &str| Some(OsString::from(text));
        assert_eq!(default_path_in(given("/s"), given("/h")).unwrap(), Path::new("/s/leasehold/locks.db"));
        let in_home = Path::new("/h/.local/state/leasehold/locks.db");
        assert_eq!(default_path_in(None, given("/h")).unwrap(), in_home);
        assert_eq!(default_path_in(given("relative"), given("/h")).unwrap(), in_home);
        assert!(default_path_in(given(""), None).is_err());
    }
}
