//! The host's suspend-counting clock, read the same way in every process of a test.

/// Nanoseconds of `CLOCK_BOOTTIME`.
pub fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
