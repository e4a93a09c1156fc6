//! What a tool needs that looks at a lock database by itself: where it is, and how it is told from other files.
//!
//! `leasehold doctor` is such a tool. Locks need none of this, and it may change in any release.

use super::config::Config;
use super::file;
use super::worker::NAME;
use crate::error::Error;
use std::io;
use std::path::{Path, PathBuf};

pub use super::store::{APPLICATION_ID, SCHEMA};

/// A lock database, as a URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The file, absolute; it may not be there yet.
    pub path: PathBuf,
    /// True if every file system is taken (`?fs=any`).
    pub any_file_system: bool,
}

impl Place {
    /// Reads a URL as [`SqliteEngine::open`](super::SqliteEngine::open) does. Opens and makes nothing.
    ///
    /// # Errors
    /// Config, for what the URL says.
    pub fn of(url: &str) -> Result<Place, Error> {
        let config = Config::parse(url).map_err(|error| error.on(NAME))?;
        Ok(Place { path: config.path, any_file_system: config.any_fs })
    }
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSystem {
    /// Its magic number, as of statfs(2).
    pub magic: i64,
    /// True if its locks and memory maps are known to be shared by all processes of the host.
    pub is_local: bool,
    /// Its name, if it is known and not local.
    pub name: Option<&'static str>,
}

impl FileSystem {
    /// That of `path`, which must be there.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn of(path: &Path) -> io::Result<FileSystem> {
        Ok(FileSystem::by_magic(file::magic(path)?))
    }

    /// The one with this magic number.
    pub fn by_magic(magic: i64) -> FileSystem {
        FileSystem { magic, is_local: file::is_local(magic), name: file::name_of(magic) }
    }
}
