//! What `leasehold` and its keeper say to each other: one line of set-up, then frames of nine bytes.

use std::io;

/// The length of a frame: a letter and a number.
pub const FRAME: usize = 9;

/// What the keeper needs to know before it starts the command.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Setup {
    /// The lease's first deadline, in nanoseconds of CLOCK_BOOTTIME.
    pub deadline_ns: u64,
    /// Time between SIGTERM and SIGKILL.
    pub grace_ms: u64,
    /// Time between SIGKILL and the deadline.
    pub reserve_ms: u64,
    /// False for `--on-lost warn`.
    pub kills: bool,
    /// The process group that the shell knows as the job.
    pub job_group: i32,
    /// True if `leasehold` leads that group: then it is the whole job, or the first part of a pipeline.
    pub leads: bool,
    /// The signals that were blocked when `leasehold` started; the command gets this mask back.
    pub mask: u64,
}

/// What `leasehold` tells its keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The lease was renewed until this instant of CLOCK_BOOTTIME, in nanoseconds.
    Renewed(u64),
    /// The lease is gone at the store.
    Lost,
    /// A signal for the command.
    Signal(i32),
    /// The job was continued.
    Continue,
    /// The run is over: end what the command left behind.
    Sweep,
}

/// What the keeper tells `leasehold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The command runs, with this process id.
    Started(u32),
    /// The command cannot be started; the system's error number.
    NotStarted(i32),
    /// The command shares the job's process group, so the terminal signals it directly.
    Shared,
    /// A signal stopped the command.
    Stopped(i32),
    /// The command ended with this code.
    Exited(i32),
    /// A signal ended the command.
    Killed(i32),
    /// The whole tree was asked to end, since the lease is lost or about to be.
    Ending,
    /// The whole tree is being killed.
    Killing,
    /// So many processes cannot be killed by this user.
    Immune(u32),
    /// Nothing of the tree is left; true if the lease was lost before.
    Gone(bool),
}

impl Order {
    /// The frame of this order.
    pub fn encode(self) -> [u8; FRAME] {
        match self {
            Order::Renewed(nanos) => frame(b'R', nanos),
            Order::Lost => frame(b'L', 0),
            Order::Signal(signal) => frame(b'S', signal as u64),
            Order::Continue => frame(b'C', 0),
            Order::Sweep => frame(b'W', 0),
        }
    }

    /// The order in this frame.
    ///
    /// # Errors
    /// `InvalidData` for a letter that no order has.
    pub fn decode(bytes: [u8; FRAME]) -> io::Result<Order> {
        let (letter, number) = split(bytes);
        Ok(match letter {
            b'R' => Order::Renewed(number),
            b'L' => Order::Lost,
            b'S' => Order::Signal(number as i32),
            b'C' => Order::Continue,
            b'W' => Order::Sweep,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

impl Note {
    /// The frame of this note.
    pub fn encode(self) -> [u8; FRAME] {
        match self {
            Note::Started(pid) => frame(b's', pid.into()),
            Note::NotStarted(errno) => frame(b'n', errno as u64),
            Note::Shared => frame(b'h', 0),
            Note::Stopped(signal) => frame(b'z', signal as u64),
            Note::Exited(code) => frame(b'e', code as u64),
            Note::Killed(signal) => frame(b'k', signal as u64),
            Note::Ending => frame(b't', 0),
            Note::Killing => frame(b'x', 0),
            Note::Immune(count) => frame(b'i', count.into()),
            Note::Gone(lost) => frame(b'g', lost.into()),
        }
    }

    /// The note in this frame.
    ///
    /// # Errors
    /// `InvalidData` for a letter that no note has.
    pub fn decode(bytes: [u8; FRAME]) -> io::Result<Note> {
        let (letter, number) = split(bytes);
        Ok(match letter {
            b's' => Note::Started(number as u32),
            b'n' => Note::NotStarted(number as i32),
            b'h' => Note::Shared,
            b'z' => Note::Stopped(number as i32),
            b'e' => Note::Exited(number as i32),
            b'k' => Note::Killed(number as i32),
            b't' => Note::Ending,
            b'x' => Note::Killing,
            b'i' => Note::Immune(number as u32),
            b'g' => Note::Gone(number != 0),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

fn frame(letter: u8, number: u64) -> [u8; FRAME] {
    let mut bytes = [letter; FRAME];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn split(bytes: [u8; FRAME]) -> (u8, u64) {
    let [letter, number @ ..] = bytes;
    (letter, u64::from_le_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_read_back_as_it_was_written() {
        for order in [Order::Renewed(u64::MAX), Order::Lost, Order::Signal(15), Order::Continue, Order::Sweep] {
            assert_eq!(Order::decode(order.encode()).unwrap(), order);
        }
        let notes = [
            Note::Started(7),
            Note::NotStarted(2),
            Note::Shared,
            Note::Stopped(20),
            Note::Exited(255),
            Note::Killed(9),
            Note::Ending,
            Note::Killing,
            Note::Immune(3),
            Note::Gone(true),
            Note::Gone(false),
        ];
        for note in notes {
            assert_eq!(Note::decode(note.encode()).unwrap(), note);
        }
        assert!(Order::decode([b'?'; FRAME]).is_err());
        assert!(Note::decode([b'?'; FRAME]).is_err());
    }
}
