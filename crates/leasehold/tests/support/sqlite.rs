//! A lock database in a temporary directory, and clients of it in this process and in others.

use leasehold::ResourceName;
use leasehold::conformance::{Pending, Store};
use leasehold::engine::{About, Engine};
use leasehold::engines::sqlite::SqliteEngine;
use leasehold::world::World;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A fresh store.
pub fn open() -> Database {
    Database::new()
}

/// A lock database that is removed with its directory.
pub struct Database {
    directory: TempDir,
    world: World,
}

impl Database {
    /// A directory without a database yet.
    pub fn new() -> Database {
        Database { directory: TempDir::new().unwrap(), world: World::with_thread("sqlite").unwrap() }
    }

    /// Where the database is, or will be.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("locks.db")
    }

    /// The directory that it is in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    /// A look at the rows that no engine gives.
    pub fn raw(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

impl Store for Database {
    fn world(&self) -> &World {
        &self.world
    }

    fn connect(&self, client: u64, about: About) -> Pending<'_, Arc<dyn Engine>> {
        let engine = SqliteEngine::open(&self.url(), self.world.clone(), client, about).unwrap();
        Box::pin(async { engine })
    }

    fn residue<'a>(&'a self, resource: &'a ResourceName) -> Pending<'a, Vec<String>> {
        let rows = self.raw();
        let mut left = Vec::new();
        for table in ["holder", "waiter"] {
            let mut found = rows.prepare(&format!("SELECT claim FROM {table} WHERE resource = ?1")).unwrap();
            let claims = found.query_map([resource.as_str()], |row| row.get::<_, String>(0)).unwrap();
            left.extend(claims.map(|claim| format!("{table} {}", claim.unwrap())));
        }
        Box::pin(async { left })
    }
}
