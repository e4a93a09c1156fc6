//! Brings in the programs that the tests start: from the system's packages, without asking anybody.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program that the tests start, and the package that has it.
struct Needed {
    program: &'static str,
    package: &'static str,
}

const NEEDED: [Needed; 1] = [Needed { program: "redis-server", package: "redis-server" }];

/// Installs what is missing.
///
/// # Errors
/// Says what to install by hand, where that is not possible from here.
pub fn install_missing() -> io::Result<()> {
    let missing: Vec<&str> = NEEDED.iter().filter(|needed| find(needed.program).is_none()).map(|needed| needed.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("the tests need these packages: {}; install them, then run this again", missing.join(" "));
    if find("apt-get").is_none() {
        return Err(io::Error::other(by_hand));
    }
    let Some(prefix) = as_root() else {
        return Err(io::Error::other(format!("{by_hand}: apt-get install --no-install-recommends {}", missing.join(" "))));
    };
    println!("installing {}", missing.join(" "));
    apt(&prefix, &["update"])?;
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&missing);
    apt(&prefix, &install)?;
    match NEEDED.iter().find(|needed| find(needed.program).is_none()) {
        None => Ok(()),
        Some(needed) => Err(io::Error::other(format!("{} is still not there after its package was installed", needed.program))),
    }
}

/// Where a program is, by `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// What to put before a command so that it runs as root; `None` if that needs a password.
fn as_root() -> Option<Vec<&'static str>> {
    if rustix::process::geteuid().is_root() {
        return Some(vec!["env"]);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    sudo.is_ok_and(|status| status.success()).then(|| vec!["sudo", "-n", "env"])
}

fn apt(prefix: &[&str], arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]);
    let status = command.args(arguments).stdin(Stdio::null()).status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("apt-get {} ended with {status}", arguments[0])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_path() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}
