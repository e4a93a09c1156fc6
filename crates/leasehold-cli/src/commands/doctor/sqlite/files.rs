//! Where a lock database lies, whose it is, who may touch it, and how much room there is.

use crate::commands::doctor::finding::Check;
use crate::commands::doctor::shell;
use crate::exit;
use crate::store::Fault;
use leasehold::engines::sqlite::probe::{FileSystem, Place};
use rustix::fs::statvfs;
use rustix::process::{getegid, geteuid};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// File systems in memory.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58F6];
/// The upper layer of a container.
const OVERLAY: i64 = 0x794C_7630;
/// The log of a database that everybody reads and nobody writes back.
const LARGE_LOG: u64 = 64 << 20;
/// A database of locks that is larger than any load of them.
const LARGE: u64 = 1 << 30;

/// All that can be seen without SQLite. `url` is as the user named it.
///
/// # Errors
/// Permission, if the file cannot be looked at.
pub fn checks(place: &Place, url: &str) -> Result<Vec<Check>, Fault> {
    let found = match fs::metadata(&place.path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            let code = if error.kind() == ErrorKind::PermissionDenied { exit::PERMISSION } else { exit::USAGE };
            return Err(Fault { code, message: format!("sqlite: {}: {error}", place.path.display()) });
        }
    };
    let directory = existing(&place.path);
    // Directories that are missing are made for this user alone.
    let is_whole = place.path.parent().is_some_and(Path::is_dir);
    let mut checks = vec![file_system(place, &directory), way(&directory, is_whole), space(&directory)];
    match found {
        None => checks.push(absent(place, &directory)),
        Some(found) if !found.is_file() => checks.push(one_name(place, &found)),
        Some(found) => checks.extend([
            owner(place, url),
            mode(place),
            writable(place, &directory),
            one_name(place, &found),
            size(place, &found),
        ]),
    }
    Ok(checks)
}

/// The nearest directory that is there.
fn existing(path: &Path) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut at = path.parent().unwrap_or(Path::new("/"));
    while !at.is_dir() {
        at = at.parent().unwrap_or(Path::new("/"));
    }
    // A link has a mode that says nothing.
    fs::canonicalize(at).unwrap_or_else(|_| at.to_owned())
}

fn shown(words: &[&str], path: &Path) -> String {
    shell::line(words.iter().map(|word| (*word).to_owned()).chain([path.display().to_string()]))
}

fn absent(place: &Place, directory: &Path) -> Check {
    let id = "sqlite.file";
    let seen = format!("{} is not there", place.path.display());
    let broken = |title: &str, seen: String| Check::danger(id, title, seen).means("locks do not work: it cannot be made");
    if fs::symlink_metadata(&place.path).is_ok() {
        let to = fs::read_link(&place.path).unwrap_or_default();
        let seen = format!("{} leads to {}, which is not there", place.path.display(), to.display());
        return broken("the lock database is a link that leads nowhere", seen).remedy(shown(&["rm"], &place.path));
    }
    let may = rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
    if may {
        let title = if place.path.parent().is_some_and(Path::exists) {
            "no lock database yet"
        } else {
            "no directory and no lock database yet"
        };
        return Check::note(id, title, seen).means(
            "nothing, if the path is right: what is missing is made when it is first used. A mistyped path is another lock",
        );
    }
    Check::danger(
        id,
        "there is no lock database, and it cannot be made",
        format!("{seen}, and {} cannot be written", directory.display()),
    )
    .means("locks do not work for this user")
    .remedy(shown(&["ls", "-ld"], directory))
}

fn file_system(place: &Place, directory: &Path) -> Check {
    let id = "sqlite.file_system";
    match FileSystem::of(directory) {
        Ok(found) => judge_file_system(&found, place.any_file_system, directory),
        Err(error) => {
            Check::warning(id, "the file system cannot be told", error.to_string()).remedy(shown(&["df", "-T"], directory))
        }
    }
}

fn judge_file_system(found: &FileSystem, is_taken: bool, directory: &Path) -> Check {
    let id = "sqlite.file_system";
    let at = directory.display();
    if !found.is_local {
        let name = found.name.map_or_else(|| format!("of an unknown type (0x{:x})", found.magic), String::from);
        let taken = if is_taken { ", taken because of ?fs=any" } else { "" };
        return Check::danger(id, "the file system is not known to be local", format!("{at} is {name}{taken}"))
            .means("its locks and memory maps may not be shared by all who open the file: P1 and P2 are broken, and the file may be damaged")
            .remedy("# put the file on a local disk, or use redis:// to share locks between hosts");
    }
    if IN_MEMORY.contains(&found.magic) {
        return Check::warning(id, "the file system is lost at boot", format!("{at} is in memory (tmpfs)"))
            .means("P1 holds: a boot ends all holders too; but holds of `leasehold acquire` are forgotten, and P2 rests on the wall clock from then on")
            .remedy("export LEASEHOLD_URL=sqlite:/var/lib/NAME/locks.db    # a path on a disk");
    }
    if found.magic == OVERLAY {
        return Check::note(id, "the file system goes with its container", format!("{at} is an overlay"))
            .means("P1 to P3 hold inside this container; other containers and the host have another file: P1 is not kept between them")
            .remedy("# mount one directory into all that share the locks, or use redis://");
    }
    Check::ok(id, "the file system is local", format!("{at}, magic number 0x{:x}", found.magic))
}

/// Who could replace the file, from its directory to the root; `is_whole` if no directory between is yet to be made.
fn way(directory: &Path, is_whole: bool) -> Check {
    let id = "sqlite.directory";
    let me = geteuid().as_raw();
    for at in directory.ancestors() {
        let Ok(found) = fs::symlink_metadata(at) else { continue };
        let (mode, is_sticky) = (found.mode(), found.mode() & 0o1000 != 0);
        let seen = format!("{} has mode {:04o}, owner {}", at.display(), mode & 0o7777, found.uid());
        let means = "whoever may write there can replace the file while it is in use: P1 is broken until the next renewal";
        if mode & 0o002 != 0 && !is_sticky {
            return Check::danger(id, "everybody may replace the lock database", seen)
                .means(means)
                .remedy(shown(&["chmod", "o-w"], at));
        }
        if mode & 0o020 != 0 && !is_sticky && found.gid() != 0 && found.gid() != getegid().as_raw() {
            return Check::warning(id, "a group may replace the lock database", seen)
                .means(means)
                .remedy(shown(&["chmod", "g-w"], at));
        }
        if found.uid() != 0 && found.uid() != me {
            return Check::warning(id, "another user may replace the lock database", seen)
                .means(means)
                .remedy("# put the file into a directory of this user, below directories of this user or of root");
        }
        if is_whole && at == directory && mode & 0o002 != 0 {
            return Check::warning(id, "the lock database lies where everybody may make files", seen)
                .means("nobody else can replace it while it is there; but others can make it first, or what stands beside it, and such places are cleaned up: P1 is broken if it goes while in use")
                .remedy("export LEASEHOLD_URL=sqlite:$HOME/.local/state/leasehold/locks.db    # a directory of this user");
        }
    }
    Check::ok(id, "nobody else may replace the lock database", directory.display().to_string())
}

fn space(directory: &Path) -> Check {
    let id = "sqlite.space";
    let found = match statvfs(directory) {
        Ok(found) => found,
        Err(error) => {
            return Check::warning(id, "the free space cannot be told", error.to_string())
                .remedy(shown(&["df", "-h"], directory));
        }
    };
    let (free, files) = (found.f_bavail.saturating_mul(found.f_frsize), found.f_favail);
    // Some file systems have no fixed number of files, and say 0 of 0.
    let no_files = found.f_files > 0 && files < 16;
    let seen = format!(
        "{} MB and {} free",
        free >> 20,
        if found.f_files > 0 { format!("{files} files") } else { "any number of files".into() }
    );
    let means = "P1 to P3 hold; but nothing is granted, renewed or released once the space is used up, and holders lose their locks by time";
    let remedy = shown(&["df", "-h"], directory) + "\n" + &shown(&["df", "-i"], directory);
    judge_space(free, no_files, seen).map_or_else(|ok| ok, |bad| bad.means(means).remedy(remedy))
}

/// `Ok` what is found, `Err` if nothing is.
fn judge_space(free: u64, no_files: bool, seen: String) -> Result<Check, Check> {
    let id = "sqlite.space";
    if free < 4 << 20 || no_files {
        return Ok(Check::danger(id, "there is no space left for the lock database", seen));
    }
    if free < 64 << 20 {
        return Ok(Check::warning(id, "there is little space left for the lock database", seen));
    }
    Err(Check::ok(id, "there is space for the lock database", seen))
}

/// The files of the database that are there.
fn parts(path: &Path) -> Vec<(PathBuf, Metadata)> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let named = ["", "-wal", "-shm", "-wake"].into_iter().map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    });
    named.filter_map(|path| fs::symlink_metadata(&path).ok().map(|found| (path, found))).collect()
}

fn owner(place: &Place, url: &str) -> Check {
    let id = "sqlite.owner";
    let me = geteuid().as_raw();
    let parts = parts(&place.path);
    let Some((path, found)) = parts.iter().find(|(_, found)| found.uid() != me) else {
        return Check::ok(id, "the files are this user's", format!("owner {me}, {} files", parts.len()));
    };
    let seen = format!("{} belongs to user {}, this is user {me}", path.display(), found.uid());
    if me == 0 {
        return Check::warning(id, "the lock database is another user's", seen)
            .means("files that root makes beside it shut its owner out: locks then do not work for the owner")
            .remedy(format!(
                "setpriv --reuid={} --regid={} --clear-groups {}",
                found.uid(),
                found.gid(),
                shell::leasehold(url, "doctor", [""; 0])
            ));
    }
    Check::danger(id, "the lock database is another user's", seen)
        .means("locks do not work for this user: one lock database serves one user")
        .remedy(
            "export LEASEHOLD_URL=sqlite:$HOME/.local/state/leasehold/locks.db    # or redis://, to share locks between users",
        )
}

fn mode(place: &Place) -> Check {
    let id = "sqlite.mode";
    let parts = parts(&place.path);
    let with = |bits: u32| parts.iter().find(|(_, found)| found.mode() & bits != 0);
    let seen = |(path, found): &(PathBuf, Metadata)| format!("{} has mode {:04o}", path.display(), found.mode() & 0o7777);
    let base = shell::quoted(&fs::canonicalize(&place.path).unwrap_or_else(|_| place.path.clone()).display().to_string());
    let remedy = format!("chmod go-rwx {base}*");
    if let Some(part) = with(0o002) {
        return Check::danger(id, "everybody may write to the lock database", seen(part))
            .means("P1 and P2 are kept only as far as every user of this host wishes: anybody can delete a hold or set the counter back")
            .remedy(remedy);
    }
    if let Some(part) = with(0o020) {
        return Check::warning(id, "a group may write to the lock database", seen(part))
            .means("P1 and P2 are kept only as far as every member wishes: each can delete a hold or set the counter back")
            .remedy(remedy);
    }
    if let Some(part) = with(0o044) {
        return Check::warning(id, "others may read the lock database", seen(part))
            .means("P1 to P3 hold; but others see names, hosts and labels, and can hold a lock on the file that keeps its log from being cleared")
            .remedy(remedy);
    }
    Check::ok(id, "nobody else may read or write the files", format!("{} files, none with rights for others", parts.len()))
}

/// Whether this user can take a lock at all.
fn writable(place: &Place, directory: &Path) -> Check {
    use rustix::fs::{Access, access};
    let parts: Vec<PathBuf> = parts(&place.path).into_iter().map(|(path, _)| path).collect();
    let may = |path: &Path| {
        let enter = if path.is_dir() { Access::EXEC_OK } else { Access::READ_OK };
        access(path, Access::WRITE_OK | enter).is_ok()
    };
    judge_rights(&parts, directory, may)
}

fn judge_rights(parts: &[PathBuf], directory: &Path, may_write: impl Fn(&Path) -> bool) -> Check {
    let id = "sqlite.writable";
    let all = parts.iter().map(PathBuf::as_path).chain([directory]);
    let Some(denied) = all.into_iter().find(|path| !may_write(path)) else {
        let seen = format!("{} files and their directory", parts.len());
        return Check::ok(id, "this user may write to the lock database", seen);
    };
    Check::danger(id, "this user cannot write to the lock database", format!("{} cannot be written", denied.display()))
        .means("locks do not work for this user: nothing is granted, renewed or released")
        .remedy(shown(&["chmod", "u+rwX"], denied))
}

fn one_name(place: &Place, found: &Metadata) -> Check {
    let id = "sqlite.file";
    if !found.is_file() {
        return Check::danger(id, "the lock database is not a file", place.path.display().to_string())
            .means("locks do not work: it cannot be opened")
            .remedy(shown(&["ls", "-ld"], &place.path));
    }
    if found.nlink() > 1 {
        return Check::danger(id, "the lock database has several names", format!("{} hard links", found.nlink()))
            .means("locks do not work: SQLite keeps a log for each name, so that the file would be damaged, and Leasehold refuses it")
            .remedy(format!("find / -xdev -samefile {}", shell::quoted(&place.path.display().to_string())));
    }
    Check::ok(id, "the lock database is one file of one name", place.path.display().to_string())
}

fn size(place: &Place, found: &Metadata) -> Check {
    let id = "sqlite.size";
    let parts = parts(&place.path);
    let log =
        parts.iter().find(|(path, _)| path.as_os_str().as_encoded_bytes().ends_with(b"-wal")).map_or(0, |(_, found)| found.len());
    let seen = format!("database {} kB, log {} kB", found.len() >> 10, log >> 10);
    let means = "P1 to P3 hold; but every claim takes longer, and the disk may fill up";
    if log > LARGE_LOG {
        return Check::warning(id, "the log of the lock database is never cleared", seen)
            .means(means)
            .remedy(shown(&["fuser", "-v"], &place.path) + "    # somebody reads it without end");
    }
    if found.len() > LARGE {
        return Check::warning(id, "the lock database is large", seen)
            .means(means)
            .remedy(format!("sqlite3 {} VACUUM    # when nobody uses it", shell::quoted(&place.path.display().to_string())));
    }
    Check::ok(id, "the lock database is small", seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn a_network_file_system_is_a_danger_also_where_it_is_taken() {
        let of = |magic, is_taken| judge_file_system(&FileSystem::by_magic(magic), is_taken, Path::new("/x"));
        for (magic, name) in [(0x6969, "NFS"), (0x517B, "SMB"), (0xFF53_4D42, "CIFS"), (0x6573_5546, "FUSE"), (0x1234, "0x1234")]
        {
            for is_taken in [false, true] {
                let check = of(magic, is_taken);
                assert!(check.severity == Severity::Danger && check.seen.contains(name), "{check:?}");
            }
        }
        let severity = |magic| of(magic, false).severity;
        assert_eq!(
            (severity(0xEF53), severity(0x0102_1994), severity(OVERLAY)),
            (Severity::Ok, Severity::Warning, Severity::Note)
        );
    }

    #[test]
    fn what_this_user_cannot_write_is_a_danger() {
        let (parts, directory) = ([PathBuf::from("/d/a.db"), PathBuf::from("/d/a.db-wal")], Path::new("/d"));
        assert_eq!(judge_rights(&parts, directory, |_| true).severity, Severity::Ok);
        for denied in ["/d/a.db", "/d/a.db-wal", "/d"] {
            let check = judge_rights(&parts, directory, |path| path != Path::new(denied));
            assert_eq!((check.severity, check.seen), (Severity::Danger, format!("{denied} cannot be written")));
        }
    }

    #[test]
    fn the_less_space_the_worse() {
        let of = |free_mb: u64, no_files| match judge_space(free_mb << 20, no_files, String::new()) {
            Ok(check) | Err(check) => check.severity,
        };
        assert_eq!((of(1000, false), of(63, false), of(3, false)), (Severity::Ok, Severity::Warning, Severity::Danger));
        assert_eq!(of(1000, true), Severity::Danger);
    }
}
