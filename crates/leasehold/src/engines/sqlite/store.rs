//! The connection to a lock database: opening, checking, and one transaction for each verb.

use super::book::{Book, Push, Verdict, nanos};
use super::config::Config;
use super::file::{Files, Identity, io_error};
use super::rows::{Here, Nanos, Rows};
use super::sweep::Sweep;
use crate::engine::About;
use crate::error::{Error, ErrorKind};
use crate::world::World;
use leasehold_core::Token;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Result as SqlResult};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// "Lshd": tells a lock database from any other SQLite file.
pub const APPLICATION_ID: i32 = 0x4C73_6864;

/// The only schema there is yet.
pub const SCHEMA: i32 = 1;

/// How often a transaction starts over on a file that has just been replaced.
const REPLACEMENTS: u32 = 3;

/// How long opening waits for other processes' transactions.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// Waits a moment for other processes, or says that the caller no longer waits.
pub(super) type Pause<'p> = &'p mut dyn FnMut() -> Result<(), Error>;

/// One client's access to one lock database.
#[derive(Debug)]
pub(super) struct Store {
    config: Config,
    world: World,
    boot: String,
    about: String,
    sweep: Sweep,
    open: Option<Open>,
    replaced: bool,
}

#[derive(Debug)]
struct Open {
    db: Connection,
    files: Files,
    identity: Identity,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
}

/// How an attempt at a transaction ended that did not succeed.
enum Setback {
    /// Another process is at it.
    Busy,
    /// The path names another file than the one that is open.
    Replaced,
    /// It was not executed, unless the error says so.
    Failed(Error),
}

impl Store {
    /// Opens the database, or makes it.
    pub(super) fn open(config: Config, world: World, about: &About) -> Result<Store, Error> {
        let boot = boot()?;
        let about = serde_json::to_string(about).expect("strings and a number are always JSON");
        let mut store = Store { config, world, boot, about, sweep: Sweep::default(), open: None, replaced: false };
        store.opened()?;
        Ok(store)
    }

    /// Where the files of the database are; directories that are missing are made.
    pub(super) fn files(&self) -> Result<Files, Error> {
        Files::prepare(&self.config)
    }

    /// True once after the file was found replaced: what clients hold is lost, and who waits must ask again.
    pub(super) fn take_replaced(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }

    /// Runs a verb that writes. Returns what is to be told to other clients as well.
    pub(super) fn write<T>(
        &mut self,
        pause: Pause<'_>,
        verb: impl Fn(&mut Book<'_>) -> Verdict<T>,
    ) -> Result<(Result<T, Error>, Vec<Push>), Error> {
        let wall = self.world.wall_micros().min(Token::MAX_COUNTER / 2);
        let wall = i64::try_from(wall).expect("half of 2^53 is a positive i64");
        let sweep = &mut std::mem::take(&mut self.sweep);
        let about = self.about.clone();
        let done = self.transact(Mode::Write, pause, &mut |rows, here| {
            sweep.run(rows, here)?;
            let mut book = Book::new(rows, here, wall, &about);
            let verdict = verb(&mut book)?;
            Ok((verdict, book.into_pushes()))
        });
        self.sweep = std::mem::take(sweep);
        done
    }

    /// Runs a verb that reads.
    pub(super) fn read<T>(&mut self, pause: Pause<'_>, verb: impl Fn(Rows<'_>, Here<'_>) -> SqlResult<T>) -> Result<T, Error> {
        self.transact(Mode::Read, pause, &mut |rows, here| verb(rows, here))
    }

    fn transact<T>(
        &mut self,
        mode: Mode,
        pause: Pause<'_>,
        body: &mut dyn FnMut(Rows<'_>, Here<'_>) -> SqlResult<T>,
    ) -> Result<T, Error> {
        let mut replacements = 0;
        loop {
            let (world, boot) = (self.world.clone(), self.boot.clone());
            let here = || Here { boot: &boot, now: now(&world) };
            match self.opened()?.attempt(mode, &here, body) {
                Ok(value) => return Ok(value),
                Err(Setback::Busy) => pause()?,
                Err(Setback::Replaced) => {
                    self.forget();
                    self.replaced = true;
                    replacements += 1;
                    if replacements > REPLACEMENTS {
                        return Err(Error::unavailable("the lock database is replaced again and again"));
                    }
                }
                Err(Setback::Failed(error)) => return Err(error),
            }
        }
    }

    fn opened(&mut self) -> Result<&mut Open, Error> {
        if self.open.is_none() {
            self.open = Some(Open::new(&self.config, &self.world)?);
        }
        Ok(self.open.as_mut().expect("it was opened just now"))
    }

    /// Drops the connection to a file that the path no longer names.
    fn forget(&mut self) {
        if let Some(open) = self.open.take() {
            // SQLite's last connection removes the log by its name, which may be the new database's by now.
            open.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok();
        }
    }
}

impl Open {
    fn new(config: &Config, world: &World) -> Result<Open, Error> {
        let files = Files::prepare(config)?;
        let lock = files.lock_for_opening(world)?;
        files.make(&lock)?;
        let patience = world.now() + OPEN_PATIENCE;
        loop {
            match connect(&files.db) {
                Ok(db) => {
                    let Some(identity) = files.identity() else {
                        return Err(Error::unavailable("the lock database vanished while it was opened"));
                    };
                    return Ok(Open { db, files, identity });
                }
                Err(Refusal::Sql(error)) if is_busy(&error) && world.now() < patience => World::pause(Duration::from_millis(1)),
                Err(Refusal::Sql(error)) => return Err(sql_error(error, &files.db)),
                Err(Refusal::Other(error)) => return Err(error),
            }
        }
    }

    fn attempt<'h, T>(
        &mut self,
        mode: Mode,
        here: &dyn Fn() -> Here<'h>,
        body: &mut dyn FnMut(Rows<'_>, Here<'_>) -> SqlResult<T>,
    ) -> Result<T, Setback> {
        let begin = if mode == Mode::Write { "BEGIN IMMEDIATE" } else { "BEGIN" };
        self.statement(begin).map_err(|error| self.setback(error))?;
        // Looked at inside the transaction, so that a file which was replaced before it is never written to.
        if self.files.identity() != Some(self.identity) {
            self.roll_back();
            return Err(Setback::Replaced);
        }
        match body(Rows(&self.db), here()) {
            Ok(value) => self.commit().map(|()| value),
            Err(error) => {
                self.roll_back();
                Err(self.setback(error))
            }
        }
    }

    fn commit(&self) -> Result<(), Setback> {
        let Err(error) = self.statement("COMMIT") else { return Ok(()) };
        // An open transaction was not committed; without one, nobody knows.
        let open = !self.db.is_autocommit();
        self.roll_back();
        match self.setback(error) {
            Setback::Failed(error) if !open => Err(Setback::Failed(error.maybe_done())),
            setback => Err(setback),
        }
    }

    fn roll_back(&self) {
        if !self.db.is_autocommit() {
            // It fails only if SQLite has rolled back by itself.
            self.statement("ROLLBACK").ok();
        }
    }

    fn setback(&self, error: rusqlite::Error) -> Setback {
        if is_busy(&error) {
            return Setback::Busy;
        }
        if self.files.identity() != Some(self.identity) {
            return Setback::Replaced;
        }
        Setback::Failed(sql_error(error, &self.files.db))
    }

    fn statement(&self, sql: &str) -> SqlResult<()> {
        self.db.prepare_cached(sql)?.execute([]).map(|_| ())
    }
}

/// Why a file cannot be used as a lock database.
enum Refusal {
    Sql(rusqlite::Error),
    Other(Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        Refusal::Sql(error)
    }
}

fn connect(path: &Path) -> Result<Connection, Refusal> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    // SQLite's own waiting backs off up to 100 ms and starves whoever waits long.
    db.busy_timeout(Duration::ZERO)?;
    db.set_prepared_statement_cache_capacity(64);
    // No plan here depends on a value. Without this promise SQLite parses a statement again whenever a value changes.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if db.is_readonly("main")? {
        return Err(Refusal::Other(Error::permission(format!("the lock database {} is read-only", path.display()))));
    }
    let is_new = is_new(&db, path)?;
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // A commit survives the process. After a power loss the boot is another one, and no lease of this one counts.
    db.pragma_update(None, "synchronous", "normal")?;
    if is_new {
        make_tables(&db)?;
    }
    // Opens log and index, so that their identity can be noted.
    db.query_row("SELECT token FROM counter", [], |_| Ok(()))?;
    Ok(db)
}

/// True if the file is empty; an error if it is not ours.
fn is_new(db: &Connection, path: &Path) -> Result<bool, Refusal> {
    let refuse = |message: &str| Refusal::Other(Error::config(format!("{} {message}", path.display())));
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let schema: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, schema) {
        (0, 0) if tables == 0 => Ok(true),
        (APPLICATION_ID, SCHEMA) => Ok(false),
        (APPLICATION_ID, newer) if newer > SCHEMA => {
            Err(refuse(&format!("was written by a newer leasehold (schema {newer}, known is {SCHEMA}): update this one")))
        }
        (APPLICATION_ID, _) => Err(refuse("has a schema that was never released: move it away")),
        _ => Err(refuse("is the database of another application: choose another path")),
    }
}

fn make_tables(db: &Connection) -> SqlResult<()> {
    let schema = include_str!("sql/schema.sql");
    let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA};");
    let made = db.execute_batch(&format!("BEGIN IMMEDIATE;\n{schema}\n{marks}\nCOMMIT;"));
    if made.is_err() && !db.is_autocommit() {
        db.execute_batch("ROLLBACK").ok();
    }
    made?;
    // The tables belong into the file itself, in case that its log gets lost.
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

fn now(world: &World) -> Nanos {
    nanos(world.now().since(leasehold_core::Instant::from_nanos(0)))
}

/// Names the clock that all processes of this boot and this time namespace share.
fn boot() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let id = fs::read_to_string(path).map_err(|error| io_error(error, path))?;
    // Kernels without time namespaces have one clock for all.
    let namespace = fs::metadata("/proc/self/ns/time").map_or(0, |found| found.ino());
    Ok(format!("{}/{namespace}", id.trim()))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let busy = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked, ErrorCode::FileLockingProtocolFailed];
    error.sqlite_error_code().is_some_and(|code| busy.contains(&code))
}

/// What an error of SQLite means to the caller.
fn sql_error(error: rusqlite::Error, path: &Path) -> Error {
    let name = path.display();
    let (kind, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (ErrorKind::Unavailable, format!("no space left for the lock database {name}")),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            (ErrorKind::Permission, format!("the lock database {name} cannot be written by this user"))
        }
        Some(ErrorCode::CannotOpen) if !is_accessible(path) => {
            (ErrorKind::Permission, format!("the lock database {name} cannot be opened by this user"))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::OperationInterrupted) => {
            (ErrorKind::Unavailable, format!("the lock database {name} cannot be read or written at present"))
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            (ErrorKind::Unavailable, format!("the lock database {name} is busy"))
        }
        _ => (
            ErrorKind::Config,
            format!("{name} is not a lock database, or is damaged: stop its users and move it away, and it is made anew"),
        ),
    };
    Error::new(kind, message).caused_by(error)
}

fn is_accessible(path: &Path) -> bool {
    let access = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    let directory = path.parent().unwrap_or(Path::new("/"));
    [path, directory].into_iter().all(|path| rustix::fs::access(path, access) != Err(rustix::io::Errno::ACCESS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    fn kind(code: i32) -> ErrorKind {
        sql_error(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None), Path::new("/proc")).kind()
    }

    #[test]
    fn each_error_of_sqlite_says_what_the_caller_can_do() {
        assert_eq!(kind(ffi::SQLITE_FULL), ErrorKind::Unavailable);
        assert_eq!(kind(ffi::SQLITE_IOERR), ErrorKind::Unavailable);
        assert_eq!(kind(ffi::SQLITE_BUSY), ErrorKind::Unavailable);
        assert_eq!(kind(ffi::SQLITE_READONLY), ErrorKind::Permission);
        assert_eq!(kind(ffi::SQLITE_PERM), ErrorKind::Permission);
        assert_eq!(kind(ffi::SQLITE_NOTADB), ErrorKind::Config);
        assert_eq!(kind(ffi::SQLITE_CORRUPT), ErrorKind::Config);
    }

    #[test]
    fn the_clock_of_this_boot_has_a_name() {
        let name = boot().unwrap();
        assert_eq!(name, boot().unwrap());
        assert!(name.len() > 36, "{name}");
    }
}
