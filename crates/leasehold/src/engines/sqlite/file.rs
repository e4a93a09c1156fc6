//! The files of a lock database: where they are, who may touch them, and whether they are still the same.

use super::config::Config;
use crate::error::{Error, ErrorKind};
use crate::world::World;
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind as IoKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long opening waits for another process that opens the same database.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// File systems whose locks and memory maps all processes of the host share, by the magic number of statfs(2).
const LOCAL: [i64; 13] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58F6, // ramfs
    0x794C_7630, // overlayfs
    0x2FC1_2FC1, // zfs
    0xF2F5_2010, // f2fs
    0xCA45_1A4E, // bcachefs
    0x3153_464A, // jfs
    0x5265_4973, // reiserfs
    0x3434,      // nilfs2
    0xF15F,      // ecryptfs
];

/// Names of file systems that are refused, for the message.
const OTHERS: [(i64, &str); 12] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x786F_4256, "vboxsf"),
    (0x4D44, "FAT"),
];

/// The paths of one lock database.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The path that every process was given.
    given: PathBuf,
    /// The file that it leads to; SQLite names its other files after this one.
    pub(super) db: PathBuf,
    /// The directory of the sockets by which clients wake each other.
    pub(super) wake: PathBuf,
}

/// Which files the names stand for at present: the database, its log and its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity([(u64, u64); 3]);

/// Held while a database is opened or made; the kernel ends it with its process.
#[derive(Debug)]
pub(super) struct OpenLock {
    _file: File,
}

impl Files {
    /// Makes the directories that are missing and checks the file system.
    pub(super) fn prepare(config: &Config) -> Result<Files, Error> {
        let given = &config.path;
        let parent = given.parent().expect("the configuration refuses a path without a file name");
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(|error| io_error(error, parent))?;
        if !config.any_fs {
            check_file_system(parent)?;
        }
        let db = resolve(given).map_err(|error| io_error(error, given))?;
        let files = Files { given: given.clone(), wake: beside(&db, "-wake"), db };
        files.make_wake_directory()?;
        Ok(files)
    }

    /// Waits until no other process opens this database.
    pub(super) fn lock_for_opening(&self, world: &World) -> Result<OpenLock, Error> {
        let path = self.wake.join("open.lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| io_error(error, &path))?;
        let patience = world.now() + OPEN_PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(OpenLock { _file: file }),
                Err(error) if error == rustix::io::Errno::WOULDBLOCK && world.now() < patience => {
                    World::pause(Duration::from_millis(1));
                }
                Err(error) => return Err(Error::unavailable("another process is opening the lock database").caused_by(error)),
            }
        }
    }

    /// Makes the database file if it is missing, and removes what must not be taken for its log or index. Only under the lock
    /// for opening.
    // The new file is closed again at once, which is safe only because nobody can have it open: closing any descriptor of
    // a file drops all POSIX locks that the process has on it.
    pub(super) fn make(&self, _lock: &OpenLock) -> Result<(), Error> {
        match fs::metadata(&self.db) {
            Ok(found) if !found.is_file() => Err(Error::config(format!("{} is not a file", self.db.display()))),
            Ok(found) if found.nlink() > 1 => {
                let message = "has several names (hard links), and SQLite keeps a log for each: give it one name";
                Err(Error::config(format!("the lock database {} {message}", self.db.display())))
            }
            // SQLite removes the index before the log: an index alone is that of a log which somebody deleted.
            Ok(_) if !self.has("-wal") => self.remove("-shm"),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == IoKind::NotFound => {
                if fs::symlink_metadata(&self.db).is_ok() {
                    let link = self.db.display();
                    return Err(Error::config(format!("{link} is a link that leads nowhere: remove it, or make what it names")));
                }
                // SQLite finds them by name, so those of a deleted database would be taken for the new one's.
                ["-wal", "-shm", "-journal"].into_iter().try_for_each(|suffix| self.remove(suffix))?;
                let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&self.db);
                made.map(drop).map_err(|error| io_error(error, &self.db))
            }
            Err(error) => Err(io_error(error, &self.db)),
        }
    }

    fn has(&self, suffix: &str) -> bool {
        fs::symlink_metadata(beside(&self.db, suffix)).is_ok()
    }

    fn remove(&self, suffix: &str) -> Result<(), Error> {
        let path = beside(&self.db, suffix);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != IoKind::NotFound => Err(io_error(error, &path)),
            _ => Ok(()),
        }
    }

    /// Which files the names stand for now; `None` if one is missing, empty or not readable.
    pub(super) fn identity(&self) -> Option<Identity> {
        let id = |path: &Path| fs::metadata(path).ok().map(|found| ((found.dev(), found.ino()), found.len()));
        // A database that was truncated to nothing is no longer the one that it was.
        let (db, _) = id(&self.given).filter(|&(_, bytes)| bytes > 0)?;
        Some(Identity([db, id(&beside(&self.db, "-wal"))?.0, id(&beside(&self.db, "-shm"))?.0]))
    }

    // The mode of this directory is what keeps other users from sending wake-ups: a datagram needs no other proof of who
    // sent it.
    fn make_wake_directory(&self) -> Result<(), Error> {
        let wrap = |error| io_error(error, &self.wake);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.wake).map_err(wrap)?;
        let found = fs::symlink_metadata(&self.wake).map_err(wrap)?;
        let me = geteuid();
        if !found.is_dir() || !(me.is_root() || found.uid() == me.as_raw()) {
            let message = "belongs to another user: one lock database serves one user";
            return Err(Error::permission(format!("{} {message}", self.wake.display())));
        }
        if found.mode() & 0o077 != 0 {
            fs::set_permissions(&self.wake, Permissions::from_mode(0o700)).map_err(wrap)?;
        }
        Ok(())
    }
}

/// What an error of the operating system on `path` means to the caller.
pub(super) fn io_error(error: io::Error, path: &Path) -> Error {
    let path = path.display();
    let (kind, message) = match error.kind() {
        IoKind::PermissionDenied | IoKind::ReadOnlyFilesystem => {
            (ErrorKind::Permission, format!("{path} cannot be used by this user"))
        }
        IoKind::StorageFull | IoKind::QuotaExceeded => (ErrorKind::Unavailable, format!("no space left for {path}")),
        IoKind::NotADirectory | IoKind::IsADirectory | IoKind::AlreadyExists | IoKind::InvalidFilename => {
            (ErrorKind::Config, format!("{path} cannot be a lock database"))
        }
        _ => (ErrorKind::Unavailable, format!("{path} cannot be used")),
    };
    Error::new(kind, message).caused_by(error)
}

fn check_file_system(directory: &Path) -> Result<(), Error> {
    judge_file_system(magic(directory).map_err(|error| io_error(error, directory))?, directory)
}

/// The magic number of the file system of `path`.
pub(super) fn magic(path: &Path) -> io::Result<i64> {
    // 32 bits: on some targets the field is signed and narrower.
    #[allow(clippy::unnecessary_cast)]
    let magic = (statfs(path)?.f_type as i64) & 0xFFFF_FFFF;
    Ok(magic)
}

/// True for the file systems that are taken.
pub(super) fn is_local(magic: i64) -> bool {
    LOCAL.contains(&magic)
}

/// The name of a file system that is refused, if it is known.
pub(super) fn name_of(magic: i64) -> Option<&'static str> {
    OTHERS.iter().find(|(other, _)| *other == magic).map(|(_, name)| *name)
}

fn judge_file_system(magic: i64, directory: &Path) -> Result<(), Error> {
    if is_local(magic) {
        return Ok(());
    }
    let name = name_of(magic).map_or_else(|| format!("of an unknown type (0x{magic:x})"), String::from);
    let directory = directory.display();
    Err(Error::config(format!(
        "the file system of {directory} is {name}, whose locks may not hold: choose a local one, or add ?fs=any to the url"
    )))
}

/// Where `path` leads, though the file itself may not be there yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == IoKind::NotFound => {
            let (parent, name) = (path.parent(), path.file_name());
            let (Some(parent), Some(name)) = (parent, name) else { return Err(error) };
            Ok(fs::canonicalize(parent)?.join(name))
        }
        resolved => resolved,
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_file_system_is_refused_by_name_and_says_how_to_override() {
        assert!(judge_file_system(0xEF53, Path::new("/x")).is_ok());
        for (magic, name) in [(0x6969, "NFS"), (0xFF53_4D42, "CIFS"), (0x6573_5546, "FUSE"), (0x1234, "0x1234")] {
            let error = judge_file_system(magic, Path::new("/x")).unwrap_err();
            let message = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(message.contains(name) && message.contains("?fs=any"), "{message}");
        }
    }
}
