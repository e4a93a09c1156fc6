//! What is in a lock database: whether it is one, its log, its integrity, and whether a transaction can begin.

use crate::commands::doctor::finding::Check;
use crate::commands::doctor::shell;
use leasehold::engines::sqlite::probe::{APPLICATION_ID, Place, SCHEMA};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a transaction may take to begin.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the look at every page may take.
const LIMIT: Duration = Duration::from_secs(3);

/// All of it; nothing if there is no file yet.
pub fn checks(place: &Place) -> Vec<Check> {
    let Ok(path) = fs::canonicalize(&place.path) else { return Vec::new() };
    // Opening anything but a file, such as a pipe, could wait without end.
    if !path.is_file() {
        return Vec::new();
    }
    let (schema, is_ours) = schema(&path);
    let mut checks = vec![schema];
    if is_ours {
        checks.push(beside(&path));
        checks.push(integrity(&path));
        checks.extend(transaction(&path));
    }
    checks
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn quoted(path: &Path) -> String {
    shell::quoted(&path.display().to_string())
}

/// Reads the first bytes: what the file says that it is. True if it is a lock database with a log.
fn schema(path: &Path) -> (Check, bool) {
    let id = "sqlite.schema";
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(100).read_to_end(&mut head));
    if let Err(error) = read {
        let check = Check::danger(id, "the lock database cannot be read", error.to_string())
            .means("locks do not work for this user")
            .remedy(format!("ls -l {}", quoted(path)));
        return (check, false);
    }
    if head.is_empty() {
        return (
            Check::note(id, "the lock database is empty", "0 bytes").means("nothing: it is filled when it is first used"),
            false,
        );
    }
    let number = |at: usize| head.get(at..at + 4).map(|bytes| i32::from_be_bytes(bytes.try_into().expect("they are four")));
    let (application, version) = (number(68).unwrap_or(0), number(60).unwrap_or(0));
    if !head.starts_with(b"SQLite format 3\0") || application != APPLICATION_ID || version != SCHEMA {
        let seen = if !head.starts_with(b"SQLite format 3\0") {
            "it does not begin as an SQLite database".into()
        } else if application != APPLICATION_ID {
            format!("application id 0x{application:08x}, not 0x{APPLICATION_ID:08x}")
        } else {
            format!("schema {version}, this program knows {SCHEMA}")
        };
        let check = Check::danger(id, "the file is not a lock database of this version", seen)
            .means("locks do not work: it is refused")
            .remedy(format!("file {}    # choose another path, or move it away", quoted(path)));
        return (check, false);
    }
    let has_log = head[18] == 2 && head[19] == 2;
    if !has_log {
        let check = Check::warning(id, "the lock database is not in WAL mode", "its header says rollback journal")
            .means(
                "P1 to P3 hold; but somebody changed it. The next client changes it back, which fails while others have it open",
            )
            .remedy(format!("sqlite3 {} 'PRAGMA journal_mode=WAL'    # when nobody uses it", quoted(path)));
        return (check, true);
    }
    (
        Check::ok(
            id,
            "the file is a lock database",
            format!("schema {version}, WAL mode, read by SQLite {}", rusqlite::version()),
        ),
        true,
    )
}

/// The log and its index belong together.
fn beside(path: &Path) -> Check {
    let id = "sqlite.log";
    let there = |suffix: &str| with(path, suffix).exists();
    let (log, index, journal) = (there("-wal"), there("-shm"), there("-journal"));
    let seen = match (log, index) {
        (true, true) => "-wal and -shm are there: the database is in use, or its last user was killed",
        (false, false) => "neither -wal nor -shm: nobody has it open",
        (true, false) => "-wal without -shm",
        (false, true) => "-shm without -wal",
    };
    if journal {
        return Check::warning(id, "a rollback journal lies beside the lock database", format!("{}-journal", path.display()))
            .means("the next client rolls back what it says: if it is another file's, P1 and P2 are broken")
            .remedy(format!("ls -l {}*", quoted(path)));
    }
    if index && !log {
        return Check::warning(id, "the log of the lock database was deleted", seen)
            .means(
                "what stood in it is lost: if holds were, P1 is broken until their next renewal, and P2 rests on the wall clock",
            )
            .remedy(format!("fuser -v {}    # who has it open? It is mended when the next client opens it", quoted(path)));
    }
    Check::ok(id, "the log and its index belong to the lock database", seen)
}

/// Looks at every page, for a bounded time, and changes nothing.
fn integrity(path: &Path) -> Check {
    let id = "sqlite.integrity";
    let begun = Instant::now();
    match quick_check(path) {
        Ok(lines) if lines == ["ok"] => {
            Check::ok(id, "the lock database is sound", format!("quick_check: ok, in {:?}", rounded(begun.elapsed())))
        }
        Ok(lines) => Check::danger(id, "the lock database is damaged", lines.join("; "))
            .means("P1 and P2 are broken: holds may be missing, or the counter may be older than it was")
            .remedy(format!(
                "mv {} {}    # when nobody uses it any more: it is made anew",
                quoted(path),
                quoted(&with(path, ".damaged"))
            )),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => {
                Check::note(id, "the lock database was not looked at to its end", format!("quick_check took more than {LIMIT:?}"))
                    .means("nothing by itself")
                    .remedy(format!("sqlite3 {} 'PRAGMA quick_check'", quoted(path)))
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Check::danger(id, "the lock database is damaged", error.to_string())
                    .means("locks do not work, and P1 and P2 are broken: holds may be missing")
                    .remedy(format!(
                        "mv {} {}    # when nobody uses it any more: it is made anew",
                        quoted(path),
                        quoted(&with(path, ".damaged"))
                    ))
            }
            _ => Check::warning(id, "the lock database cannot be looked at", error.to_string())
                .means("not known: what cannot be read here may not be read by a client either")
                .remedy(format!("ls -l {}*", quoted(path))),
        },
    }
}

fn rounded(span: Duration) -> Duration {
    Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}

fn quick_check(path: &Path) -> rusqlite::Result<Vec<String>> {
    // Where nobody has it open there is no log, and nothing is made beside it by a look at the file alone.
    let alone = !with(path, "-wal").exists();
    let db = open(path, alone)?;
    let handle = db.get_interrupt_handle();
    let (done, over) = channel::<()>();
    let timer = std::thread::spawn(move || {
        if over.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            handle.interrupt();
        }
    });
    let lines = (|| {
        let mut statement = db.prepare("PRAGMA quick_check(5)")?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
        lines.collect::<rusqlite::Result<Vec<_>>>()
    })();
    drop(done);
    let _ = timer.join();
    let came_meanwhile = alone && with(path, "-wal").exists();
    match lines {
        // What a client writes meanwhile looks like damage to who reads without a lock.
        Ok(found) if found != ["ok"] && came_meanwhile => quick_check(path),
        Err(_) if came_meanwhile => quick_check(path),
        lines => lines,
    }
}

/// Opens it so that closing changes nothing: no checkpoint, no file removed.
fn open(path: &Path, alone: bool) -> rusqlite::Result<Connection> {
    let name: String = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let db = if alone {
        Connection::open_with_flags(format!("file:{name}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_READ_ONLY)?
    } else {
        Connection::open_with_flags(format!("file:{name}"), flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?
    };
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.busy_timeout(PATIENCE)?;
    Ok(db)
}

/// Begins a transaction and rolls it back; only where somebody may be in the way of one.
fn transaction(path: &Path) -> Option<Check> {
    let id = "sqlite.transaction";
    if !with(path, "-wal").exists() {
        return None;
    }
    let begun = Instant::now();
    let done = open(path, false).and_then(|db| db.execute_batch("BEGIN IMMEDIATE; ROLLBACK"));
    let Err(error) = done else {
        return Some(Check::ok(id, "a transaction can begin", format!("after {:?}", rounded(begun.elapsed()))));
    };
    Some(match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Check::danger(id, "somebody holds the lock database up", format!("no transaction could begin within {PATIENCE:?}"))
                .means("P1 to P3 hold; but nothing is granted or renewed: all holders lose their locks by time. Often a process that is stopped (T) inside a transaction")
                .remedy(format!("ps -o pid,stat,cmd -p \"$(fuser {} 2>/dev/null | tr -s ' ' ,)\"", quoted(path)))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Check::danger(id, "this user cannot write to the lock database", error.to_string())
                .means("locks do not work for this user")
                .remedy(format!("ls -ld {0}* \"$(dirname {0})\"", quoted(path)))
        }
        _ => Check::danger(id, "no transaction can begin", error.to_string())
            .means("locks do not work: nothing is granted or renewed")
            .remedy(format!("ls -l {}*", quoted(path))),
    })
}
