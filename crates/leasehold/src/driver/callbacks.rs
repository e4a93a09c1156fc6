//! The thread that runs users' callbacks, in order, so that they never delay a lock.

use crate::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

type Callback = Box<dyn FnOnce() + Send>;

/// Runs `callback` after all callbacks that were handed over before.
pub(crate) fn run_later(callback: Callback) {
    static QUEUE: OnceLock<Sender<Callback>> = OnceLock::new();
    let queue = QUEUE.get_or_init(|| {
        let (sender, receiver) = channel();
        World::thread("leasehold-callbacks", || run(receiver)).expect("the operating system grants one thread per process");
        sender
    });
    queue.send(callback).expect("the thread never ends");
}

fn run(callbacks: Receiver<Callback>) {
    for callback in callbacks {
        // A panic in a user's callback is reported by the panic hook; the callbacks behind it still run.
        let _ = catch_unwind(AssertUnwindSafe(callback));
    }
}
