//! What goes out on one connection: calls that are ready at the same time travel as one pipeline.
//!
//! What the driver crate does for each request is done once for all of them then.

use super::bells::Bells;
use super::fault::{self, Fault};
use super::ledger::{Ledger, Rescue};
use super::pace::Pace;
use super::stream::Grip;
use super::turns::Turns;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use leasehold_core::Instant;
use leasehold_wire::{Call, Reply};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Value};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::oneshot;
use tokio::task::coop::has_budget_remaining;
use tokio::task::{unconstrained, yield_now};
use tokio_util::sync::ReusableBoxFuture;

/// The answers to the commands of one call.
pub(super) type Replies = SmallVec<[Reply; 2]>;

/// How a call ended; without a word if its connection did.
pub(super) type Verdict = oneshot::Receiver<Result<Replies, Fault>>;
/// A caller that was not told its verdict yet.
struct Untold {
    told: oneshot::Sender<Result<Replies, Fault>>,
    verdict: Result<Replies, Fault>,
    urgent: bool,
}

impl Untold {
    fn tell(self) {
        // Nobody may be waiting any more.
        let _ = self.told.send(self.verdict);
    }
}

/// So many pipelines are handed over at a time: the crate has room for more.
const MOST_PIPELINES: usize = BACKLOG / 4;
/// So many empty pipelines and answers are kept for their room, and room for so many calls: what a crowd needed once is given
/// back.
const KEPT: usize = 16;
const ROOM: usize = 1024;
/// So many who were answered together are told at once.
const FEW: usize = 2;
/// The crate's room for pipelines that were not written.
pub(super) const BACKLOG: usize = 4096;

/// What a call is due besides an answer.
#[derive(Clone, Default)]
pub(super) struct Care {
    /// The same call: it goes out by the driver's connection if this one turns out to be dead, or if its caller is gone.
    pub(super) rescue: Option<Arc<Call>>,
    /// True if others wait for what it does: it waits for no turn, leaves before anybody is told an answer, is read before what is
    /// called behind it, and is answered behind whoever has a grant by it.
    pub(super) urgent: bool,
}

/// The calls of one connection.
pub(super) struct Outbox {
    grip: Arc<Grip>,
    ledger: Arc<Ledger>,
    state: Mutex<State>,
    /// `None` before the connection is there, and once it has ended.
    pump: Mutex<Option<Pump>>,
    /// True if whoever makes a call that waits for nothing moves it without a hop to the pump's task. Not where bursts of calls
    /// come from many tasks: the first of each would travel alone.
    by_hand: bool,
    /// Tell the pump's task what it has to do.
    bells: Arc<Bells>,
    turns: Turns,
}

#[derive(Default)]
struct State {
    /// All that are under way, in order.
    calls: VecDeque<Posted>,
    /// How many of them each pipeline has that was handed over, in order.
    flying: VecDeque<usize>,
    /// Those whose calls were answered.
    untold: VecDeque<Untold>,
    /// What goes out next, in order: the last of the calls.
    batches: VecDeque<Batch>,
    /// Empty pipelines, for their room.
    empty: Vec<Pipeline>,
    pace: Pace,
    /// True while the next batch waits for its turn.
    waits: bool,
    /// True if the batch before was urgent.
    behind_urgent: bool,
    /// True if the client's channel is heard on this connection.
    hears: bool,
    closed: bool,
}

/// Calls that go out together.
#[derive(Default)]
struct Batch {
    pipeline: Pipeline,
    calls: usize,
    urgent: bool,
}

/// A call under way. If whoever made it is gone, it stays until it is answered or overdue: the connection owes a sign of life.
struct Posted {
    commands: usize,
    io_deadline: Instant,
    /// What had come in on the connection when the call was made.
    seen: u64,
    /// `None` once it was told.
    told: Option<oneshot::Sender<Result<Replies, Fault>>>,
    rescue: Option<Arc<Call>>,
    urgent: bool,
}

impl Posted {
    fn is_due(&self, now: Instant) -> bool {
        let gone = |told: &oneshot::Sender<_>| self.rescue.is_some() && told.is_closed();
        self.told.as_ref().is_some_and(|told| self.io_deadline <= now || gone(told))
    }
}

impl State {
    /// True if what goes out next waits for nothing. Not so where many are under way: a server that has something to do anyway
    /// gains nothing by a write for each.
    fn leaves_at_once(&self) -> bool {
        self.flying.len() <= FEW && self.batches.front().is_some_and(|next| next.urgent)
    }

    /// Keeps a pipeline that was answered, for its room.
    fn keep(&mut self, mut pipeline: Pipeline) {
        if pipeline.len() <= ROOM && self.empty.len() < KEPT {
            pipeline.clear();
            self.empty.push(pipeline);
        }
    }

    /// Finds the verdict on each call of the first pipeline that is under way.
    fn judge(&mut self, values: RedisResult<Vec<Value>>) {
        let State { calls, flying, untold, .. } = self;
        let answered = calls.drain(..flying.pop_front().unwrap_or(0));
        let mut values = values.map(|values| values.into_iter().map(fault::reply)).map_err(|error| fault::of_crate(&error));
        for Posted { commands, told, urgent, .. } in answered {
            let verdict = match &mut values {
                Ok(replies) => Ok(replies.take(commands).collect::<Replies>()).and_then(|replies| {
                    // Fewer came than were asked for: none of the rest is anybody's.
                    if replies.len() == commands { Ok(replies) } else { Err(Fault::Lost) }
                }),
                Err(fault) => Err(fault.clone()),
            };
            untold.extend(told.map(|told| Untold { told, verdict, urgent }));
        }
        if calls.is_empty() {
            calls.shrink_to(ROOM);
        }
    }
}

impl Outbox {
    pub(super) fn new(grip: Arc<Grip>, ledger: Arc<Ledger>, by_hand: bool) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox {
            grip,
            ledger,
            state: Mutex::default(),
            pump: Mutex::default(),
            by_hand,
            bells: Arc::default(),
            turns: Turns::default(),
        });
        outbox.ledger.add(&outbox);
        outbox
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// The pump. Whoever is told is others' code, and may panic.
    fn pump(&self) -> MutexGuard<'_, Option<Pump>> {
        self.pump.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the client's channel is heard on this connection.
    pub(super) fn hears(&self) -> bool {
        self.lock().hears
    }

    pub(super) fn set_hears(&self, hears: bool) {
        self.lock().hears = hears;
    }

    /// Makes a call, of other commands where the client's channel is not heard. It goes out behind all that were made before,
    /// even if nobody waits for its answer any more.
    pub(super) fn post<C: IntoIterator<Item = Cmd>>(
        &self,
        commands: impl FnOnce(bool) -> C,
        io_deadline: Instant,
        Care { rescue, urgent }: Care,
    ) -> Verdict {
        let (told, verdict) = oneshot::channel();
        let mut state = self.lock();
        if state.closed {
            return verdict;
        }
        // A server that reads two calls together answers neither before it has run both.
        if state.batches.back().is_none_or(|last| last.urgent && !urgent) {
            let pipeline = state.empty.pop().unwrap_or_default();
            state.batches.push_back(Batch { pipeline, ..Batch::default() });
        }
        let State { batches, calls, pace, hears, .. } = &mut *state;
        let batch = batches.back_mut().expect("there is one now");
        let before = batch.pipeline.len();
        for command in commands(*hears) {
            batch.pipeline.add_command(command);
        }
        let commands = batch.pipeline.len() - before;
        calls.push_back(Posted { commands, io_deadline, seen: self.grip.received(), told: Some(told), rescue, urgent });
        batch.calls += 1;
        batch.urgent |= urgent;
        pace.posted(calls.len());
        let stir = batch.calls == 1 || pace.is_enough(batch.calls);
        let stir = stir || urgent && state.leaves_at_once();
        drop(state);
        self.ledger.stir();
        if stir && !(self.by_hand && self.move_by_hand()) {
            self.bells.ring(Bells::CALL);
        }
        verdict
    }

    /// True if calls are under way, or callers are still to be told.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.lock();
        !state.calls.is_empty() || !state.untold.is_empty()
    }

    /// Ends overdue calls, and the connection if nothing came in on it since they were made; returns what must go out all the
    /// same. Tells who was answered already: whoever was told first may block the pump's thread.
    pub(super) fn look(&self, now: Instant) -> Vec<Rescue> {
        self.tell_all();
        let mut due = Vec::new();
        let mut state = self.lock();
        for posted in state.calls.iter_mut().filter(|posted| posted.is_due(now)) {
            if let Some(told) = posted.told.take() {
                let silent = posted.io_deadline <= now && posted.seen == self.grip.received();
                due.push((told, silent, posted.rescue.take()));
            }
        }
        drop(state);
        let mut rescues = Vec::new();
        for (verdict, silent, rescue) in due {
            if silent {
                self.grip.kill();
            }
            match rescue {
                Some(call) if silent || verdict.is_closed() => rescues.push(Rescue { call, verdict }),
                // A caller that is gone needs no verdict.
                _ => drop(verdict.send(Err(Fault::Late))),
            }
        }
        rescues
    }

    /// If somebody is still to be told an answer, and if what goes out next comes before that.
    fn owes(&self) -> (bool, bool) {
        let state = self.lock();
        (!state.untold.is_empty(), state.leaves_at_once())
    }

    /// The next pipeline, if it is time for it.
    ///
    /// Every task that can run now goes first, once per pipeline and only if other calls are under way: what they have to send
    /// leaves in the same system call. But what is urgent waits for nothing, and the next behind it for a turn unless all others were answered.
    fn take_next(&self) -> Option<Pipeline> {
        let mut state = self.lock();
        if state.flying.len() >= MOST_PIPELINES {
            return None;
        }
        let next = state.batches.front()?;
        let behind_urgent = state.behind_urgent && state.calls.len() > next.calls;
        if !state.leaves_at_once() && (behind_urgent || !state.pace.is_enough(next.calls)) {
            if !std::mem::replace(&mut state.waits, true) {
                self.turns.ask();
            }
            if !self.turns.are_over() {
                return None;
            }
        }
        let next = state.batches.pop_front()?;
        (state.waits, state.behind_urgent) = (false, next.urgent);
        let under_way = state.calls.len();
        state.pace.sent(under_way);
        state.flying.push_back(next.calls);
        Some(next.pipeline)
    }

    /// Finds the verdict on each call of the first pipelines that are under way, whose answers came together; returns how many
    /// are to be told.
    fn judge(&self, answers: impl ExactSizeIterator<Item = Answers>) -> usize {
        let mut state = self.lock();
        let together = answers.len();
        for (values, pipeline) in answers {
            state.judge(values);
            state.keep(pipeline);
        }
        let others = !state.flying.is_empty();
        state.pace.answered(together, others);
        state.untold.len()
    }

    /// Tells the first of those who were answered; returns how many are left.
    fn tell_first(&self) -> usize {
        let mut state = self.lock();
        let first = state.untold.pop_front();
        let left = state.untold.len();
        if left == 0 {
            state.untold.shrink_to(ROOM);
        }
        drop(state);
        first.into_iter().for_each(Untold::tell);
        left
    }

    /// Tells all who were answered.
    fn tell_all(&self) {
        while self.tell_first() > 0 {}
    }

    /// Tells all who were answered but for those whose calls were urgent; true if there are any.
    fn tell_all_but_urgent(&self) -> bool {
        let mut state = self.lock();
        let (urgent, others): (Vec<_>, Vec<_>) = state.untold.drain(..).partition(|untold| untold.urgent);
        state.untold.extend(urgent);
        let some_left = !state.untold.is_empty();
        drop(state);
        others.into_iter().for_each(Untold::tell);
        some_left
    }

    /// Moves what is to go out at once; false if that is left to the pump's task.
    fn move_by_hand(&self) -> bool {
        let Ok(mut pump) = self.pump.try_lock() else { return false };
        let (Some(pump), Some(_hand)) = (&mut *pump, self.bells.lend_a_hand()) else { return false };
        let over = pump.send(self);
        // The pump's task goes on where somebody is told an answer behind this call, or a grant came in.
        if self.owes().0 || pump.granted.load(Ordering::Relaxed) {
            self.bells.set(Bells::TRAFFIC);
        }
        self.mind_share();
        !over
    }

    /// Has the pump's task go on where the task that polls has had its share: then bytes may wait without anybody who would ring.
    fn mind_share(&self) {
        if !has_budget_remaining() {
            self.bells.ring(Bells::TRAFFIC);
        }
    }

    /// Ends all calls without a word, also those to come, but for those that were answered.
    fn close(&self) {
        // Before anybody is told, so that nobody calls by it again.
        self.grip.kill();
        let mut pump = self.pump().take();
        // What came in by hand may not have been looked at yet; but not what has just panicked.
        pump.as_mut().filter(|_| !std::thread::panicking()).and_then(|pump| pump.receive(self));
        self.tell_all();
        let mut state = self.lock();
        let over = std::mem::replace(&mut *state, State { closed: true, ..State::default() });
        drop(state);
        drop(over);
        self.turns.end();
        // Last, since it is others' code in part.
        drop(pump);
    }

    /// Keeps the turns of this connection; a task beside its pump.
    pub(super) async fn keep_turns(self: Arc<Outbox>) {
        while !self.lock().closed {
            self.turns.pass().await;
            self.bells.ring(Bells::CALL);
        }
    }
}

/// Moves the calls of an outbox through a connection.
struct Pump {
    connection: MultiplexedConnection,
    /// Moves the bytes.
    traffic: BoxFuture<'static, ()>,
    on_traffic: Waker,
    on_answer: Waker,
    /// The answers to the pipelines under way, in order.
    flying: VecDeque<ReusableBoxFuture<'static, Answers>>,
    /// Those that came, for their room: it is kept for the next, since the allocator has no quick way to so much.
    landed: Vec<ReusableBoxFuture<'static, Answers>>,
    /// Set when somebody was told a grant.
    granted: Arc<AtomicBool>,
    /// True once the connection has ended.
    over: bool,
}

/// The answers to a pipeline, and that pipeline.
type Answers = (RedisResult<Vec<Value>>, Pipeline);

impl Pump {
    /// Hands over what is to go out, and moves bytes in both directions; true if the connection has ended.
    fn send(&mut self, outbox: &Outbox) -> bool {
        let send = || {
            while !self.over && self.hand_over(outbox) {}
            let traffic = !self.over && outbox.bells.heard(Bells::TRAFFIC);
            traffic && self.traffic.poll_unpin(&mut Context::from_waker(&self.on_traffic)).is_ready()
        };
        // A stream may be others' code, and nobody else would hear of its panic.
        let over = catch_unwind(AssertUnwindSafe(send)).unwrap_or(true);
        self.over |= over;
        self.over
    }

    /// How many are to be told, if something was answered.
    fn receive(&mut self, outbox: &Outbox) -> Option<usize> {
        let mut answers = SmallVec::<[Answers; 1]>::new();
        while let Some(first) = self.flying.front_mut()
            && let Poll::Ready(answer) = first.poll(&mut Context::from_waker(&self.on_answer))
        {
            answers.push(answer);
            self.landed.extend(self.flying.pop_front().filter(|_| self.landed.len() < KEPT));
        }
        (!answers.is_empty()).then(|| outbox.judge(answers.into_iter()))
    }

    /// True if something was handed over.
    fn hand_over(&mut self, outbox: &Outbox) -> bool {
        let Some(pipeline) = outbox.take_next() else { return false };
        let mut connection = self.connection.clone();
        let answers = async move { (connection.send_packed_commands(&pipeline, 0, pipeline.len()).await, pipeline) };
        // It must leave when it is first polled, or the next would leave before it: a task that has had its share would be told
        // to wait there.
        let answers = unconstrained(answers);
        let mut flight = match self.landed.pop() {
            Some(mut landed) => {
                landed.set(answers);
                landed
            }
            None => ReusableBoxFuture::new(answers),
        };
        if let Poll::Ready(over) = flight.poll(&mut Context::from_waker(&self.on_answer)) {
            flight.set(ready(over));
            outbox.bells.set(Bells::ANSWER);
        }
        self.flying.push_back(flight);
        true
    }
}

/// Keeps the pump of an outbox at work; ends with its connection.
pub(super) struct Pumping(Arc<Outbox>);

impl Pumping {
    pub(super) fn new(
        outbox: Arc<Outbox>,
        connection: MultiplexedConnection,
        (traffic, granted): (BoxFuture<'static, ()>, Arc<AtomicBool>),
    ) -> Pumping {
        let (on_traffic, on_answer) = (outbox.bells.ringer(Bells::TRAFFIC), outbox.bells.ringer(Bells::ANSWER));
        // What moves the bytes learns whom to wake when it is first polled.
        on_traffic.wake_by_ref();
        let (flying, landed) = (VecDeque::new(), Vec::new());
        *outbox.pump() = Some(Pump { connection, traffic, on_traffic, on_answer, flying, landed, granted, over: false });
        Pumping(outbox)
    }

    /// A runtime of many threads wakes a worker that sleeps for each task that becomes ready while another is. On the same processor
    /// that worker runs at once, finds that one task, and sleeps before the next is ready.
    ///
    /// So of more than a few who were answered together one is told first, and the rest at the next turn: a batch would cost as many
    /// wakes as it has answers. In the turn between, the worker is awake and takes the pump, or finds the rest. The turn itself costs a
    /// wake, so two gain nothing by it.
    ///
    /// And whose release was answered together with a grant is told once whoever has the lock now has run, and has sent what it had to
    /// send: others may wait for that. An ask is answered at once, since it may be the holder's own.
    fn work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let outbox = &*self.0;
        outbox.bells.task.register(cx.waker());
        let mut pump = outbox.pump();
        let Some(pump) = &mut *pump else { return Poll::Ready(()) };
        outbox.bells.set(Bells::AT_WORK);
        let (mut owes, leaves_at_once) = outbox.owes();
        // Before a turn is asked for, so that it comes behind theirs, but behind what is urgent.
        if !leaves_at_once && std::mem::take(&mut owes) {
            outbox.tell_all();
        }
        let mut granted = false;
        loop {
            outbox.bells.heard(Bells::CALL);
            let over = pump.send(outbox);
            if std::mem::take(&mut owes) {
                outbox.tell_all();
            }
            let received = if outbox.bells.heard(Bells::ANSWER) { pump.receive(outbox) } else { None };
            if over {
                return Poll::Ready(());
            }
            granted |= pump.granted.swap(false, Ordering::Relaxed);
            if received.is_some_and(|to_tell| to_tell > FEW) && !granted {
                outbox.tell_first();
                // It is at work still.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if received.is_none() && outbox.bells.rest() {
                if !granted {
                    outbox.tell_all();
                } else if outbox.tell_all_but_urgent() {
                    // Woken once its thread has nothing else to do, unless something happens before.
                    let _ = pin!(yield_now()).poll(cx);
                }
                return Poll::Pending;
            }
        }
    }
}

impl Future for Pumping {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let pumping = self.get_mut();
        let work = pumping.work(cx);
        if work.is_pending() {
            pumping.0.mind_share();
        }
        work
    }
}

impl Drop for Pumping {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use futures_util::future::{Either, join, select};
    use futures_util::task::noop_waker;
    use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, cmd};
    use std::future::poll_fn;
    use std::task::Wake;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::task::coop;

    /// Answers everything until the connection ends; the commands in order.
    pub(in crate::engines::redis) async fn serve(mut stream: DuplexStream) -> Vec<String> {
        let (mut asked, mut bytes) = (Vec::new(), vec![0; 65536]);
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            for command in text.split('*').skip(1) {
                let name = command.split("\r\n").nth(2).unwrap_or_default();
                asked.push(name.to_owned());
                let farewell = ">3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n";
                let answer = if name == "UNSUBSCRIBE" { farewell } else { "+OK\r\n" };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return asked;
                }
            }
        }
        asked
    }

    /// An outbox with its pump, and both ends of its connection.
    pub(in crate::engines::redis) async fn outbox() -> (Arc<Outbox>, Pumping, MultiplexedConnection, DuplexStream) {
        outbox_that(false).await
    }

    /// The same, of calls that are moved by hand or not.
    async fn outbox_that(by_hand: bool) -> (Arc<Outbox>, Pumping, MultiplexedConnection, DuplexStream) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let pushed = Arc::new(AtomicBool::new(false));
        let pushes = pushed.clone();
        let config = config.set_pipeline_buffer_size(BACKLOG).set_push_sender(move |_| {
            pushes.store(true, Ordering::Relaxed);
            Ok::<(), ()>(())
        });
        let info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
        let greeted = async {
            assert!(theirs.read(&mut [0; 1024]).await.unwrap() > 0);
            theirs.write_all(b"+OK\r\n").await.unwrap();
        };
        let (opened, ()) = join(MultiplexedConnection::new_with_config(&info, ours, config), greeted).await;
        let (connection, traffic) = opened.unwrap();
        let outbox = Outbox::new(Arc::new(Grip::default()), Arc::default(), by_hand);
        (outbox.clone(), Pumping::new(outbox, connection.clone(), (traffic.boxed(), pushed)), connection, theirs)
    }

    fn poll(pump: &mut Pumping) {
        let _ = pump.poll_unpin(&mut Context::from_waker(&noop_waker()));
    }

    fn post(outbox: &Outbox, name: &str) -> Verdict {
        outbox.post(|_| [cmd(name)], Instant::FAR, Care::default())
    }

    #[tokio::test]
    async fn calls_leave_in_order_even_if_the_task_has_had_its_share() {
        let (outbox, mut pump, _, server) = outbox().await;
        // Every call goes at once.
        (0..100).for_each(|_| outbox.lock().pace.answered(1, true));
        let first = post(&outbox, "FIRST");
        poll(&mut pump);
        let claim = post(&outbox, "CLAIM");
        poll_fn(|cx| {
            while let Poll::Ready(share) = coop::poll_proceed(cx) {
                share.made_progress();
            }
            poll(&mut pump);
            Poll::Ready(())
        })
        .await;
        tokio::task::yield_now().await;
        let release = post(&outbox, "RELEASE");
        poll(&mut pump);
        let moved = async {
            for verdict in [first, claim, release] {
                select(verdict, &mut pump).await;
            }
            drop(pump);
        };
        let (asked, ()) = join(serve(server), moved).await;
        assert_eq!(asked, ["FIRST", "CLAIM", "RELEASE"]);
    }

    /// What has left since the last look.
    fn sent(server: &mut DuplexStream) -> String {
        let mut calls = [0; 1024];
        let sent = server.read(&mut calls).now_or_never().map_or(0, Result::unwrap);
        String::from_utf8_lossy(&calls[..sent]).into_owned()
    }

    #[tokio::test]
    async fn a_call_that_waits_for_nothing_leaves_by_the_hand_of_whoever_makes_it() {
        let (outbox, mut pump, _, mut server) = outbox_that(true).await;
        poll(&mut pump);
        let _lone = post(&outbox, "LONE");
        assert_eq!(sent(&mut server), "*1\r\n$4\r\nLONE\r\n");
        let _release = post_urgently(&outbox, "RELEASE");
        assert_eq!(sent(&mut server), "*1\r\n$7\r\nRELEASE\r\n");
        let _crowd = ["A", "B"].map(|name| post(&outbox, name));
        assert_eq!(sent(&mut server), "");
    }

    #[tokio::test]
    async fn where_nothing_is_moved_by_hand_a_burst_of_calls_leaves_together() {
        let (outbox, mut pump, _, mut server) = outbox().await;
        poll(&mut pump);
        let _burst = ["A", "B"].map(|name| post(&outbox, name));
        poll(&mut pump);
        assert_eq!(sent(&mut server), "*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n");
    }

    #[tokio::test]
    async fn a_call_that_left_by_hand_is_answered_by_the_pump() {
        let (outbox, mut pump, _, server) = outbox_that(true).await;
        tokio::spawn(serve(server));
        for _ in 0..3 {
            let Either::Left((told, _)) = select(post(&outbox, "LONE"), &mut pump).await else { panic!("the connection ended") };
            assert!(told.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn a_call_by_hand_is_left_to_the_pump_while_that_is_at_work() {
        let (outbox, mut pump, _, mut server) = outbox_that(true).await;
        poll(&mut pump);
        let at_work = outbox.pump();
        let _lone = post(&outbox, "LONE");
        drop(at_work);
        assert_eq!(sent(&mut server), "");
        assert!(outbox.bells.heard(Bells::CALL));
        poll(&mut pump);
        assert_eq!(sent(&mut server), "*1\r\n$4\r\nLONE\r\n");
    }

    /// Whether somebody was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Woken>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Who is woken in place of the pump's task.
    fn in_its_place(outbox: &Outbox) -> Arc<Woken> {
        let woken = Arc::new(Woken::default());
        outbox.bells.task.register(&Waker::from(woken.clone()));
        woken
    }

    #[tokio::test]
    async fn what_comes_in_by_hand_is_left_to_the_pump() {
        for ends in [false, true] {
            let (outbox, mut pump, _, mut server) = outbox_that(true).await;
            let lone = post(&outbox, "LONE");
            poll(&mut pump);
            if ends {
                drop(server);
            } else {
                server.write_all(b"+OK\r\n").await.unwrap();
            }
            let woken = in_its_place(&outbox);
            // The other side has rung, and its waker is gone.
            outbox.bells.set(Bells::TRAFFIC);
            let _release = post_urgently(&outbox, "RELEASE");
            assert!(woken.0.load(Ordering::Relaxed));
            poll(&mut pump);
            drop(pump);
            assert_eq!(matches!(lone.await, Ok(Ok(_))), !ends);
        }
    }

    #[tokio::test]
    async fn a_stream_that_panics_by_hand_ends_the_pump_and_is_not_polled_again() {
        let (_, _others, connection, _server) = outbox().await;
        let outbox = Outbox::new(Arc::new(Grip::default()), Arc::default(), true);
        let mut polls = 0;
        let panics = poll_fn(move |_| {
            polls += 1;
            assert!(polls > 1, "as the test wants it");
            std::process::abort()
        });
        let mut pump = Pumping::new(outbox.clone(), connection, (panics.boxed(), Arc::default()));
        let woken = in_its_place(&outbox);
        let lone = post(&outbox, "LONE");
        assert!(woken.0.load(Ordering::Relaxed));
        outbox.bells.set(Bells::TRAFFIC);
        assert!(pump.poll_unpin(&mut Context::from_waker(&noop_waker())).is_ready());
        drop(pump);
        assert!(outbox.grip.is_dead(), "or it would be called by again");
        assert!(lone.await.is_err());
    }

    #[tokio::test]
    async fn who_was_answered_has_a_turn_before_a_call_leaves_by_hand() {
        let (outbox, mut pump, _, mut server) = outbox_that(true).await;
        let mut verdicts = ["A", "B", "C"].map(|name| post(&outbox, name));
        poll(&mut pump);
        let turns = tokio::spawn(outbox.clone().keep_turns());
        while !outbox.lock().batches.is_empty() {
            tokio::task::yield_now().await;
            poll(&mut pump);
        }
        turns.abort();
        assert_eq!(sent(&mut server).matches('*').count(), 3);
        server.write_all(b"+OK\r\n+OK\r\n+OK\r\n").await.unwrap();
        while told(&mut verdicts) == 0 {
            poll(&mut pump);
        }
        // Every call goes at once.
        (0..100).for_each(|_| outbox.lock().pace.answered(1, true));
        let _next = ["D", "E"].map(|name| post(&outbox, name));
        assert_eq!(sent(&mut server), "");
        poll(&mut pump);
        assert_eq!(sent(&mut server), "*1\r\n$1\r\nD\r\n*1\r\n$1\r\nE\r\n");
    }

    #[tokio::test]
    async fn the_pump_goes_on_where_the_task_that_moves_bytes_has_had_its_share() {
        for by_hand in [true, false] {
            let (outbox, mut pump, _, _server) = outbox_that(by_hand).await;
            poll(&mut pump);
            let woken = in_its_place(&outbox);
            poll_fn(|cx| {
                while let Poll::Ready(share) = coop::poll_proceed(cx) {
                    share.made_progress();
                }
                drop(post(&outbox, "LONE"));
                assert!(woken.0.swap(false, Ordering::Relaxed));
                if !by_hand {
                    let _ = pump.poll_unpin(&mut Context::from_waker(&Waker::from(woken.clone())));
                    assert!(woken.0.load(Ordering::Relaxed));
                }
                Poll::Ready(())
            })
            .await;
            assert!(outbox.bells.heard(Bells::TRAFFIC), "bytes may wait");
        }
    }

    #[tokio::test]
    async fn an_urgent_call_answered_with_a_grant_is_told_so_once_the_holder_has_sent_by_hand() {
        let (outbox, mut pump, _, mut server) = outbox_that(true).await;
        let mut release = [post_urgently(&outbox, "RELEASE")];
        poll(&mut pump);
        server.write_all(format!("+OK\r\n{GRANT}").as_bytes()).await.unwrap();
        while outbox.lock().untold.is_empty() {
            tokio::task::yield_now().await;
            poll(&mut pump);
        }
        let woken = in_its_place(&outbox);
        let _ask = post(&outbox, "ASK");
        assert!(sent(&mut server).ends_with("ASK\r\n"));
        assert_eq!(told(&mut release), 0);
        assert!(woken.0.load(Ordering::Relaxed));
        poll(&mut pump);
        assert_eq!(told(&mut release), 1);
    }

    #[tokio::test]
    async fn a_grant_that_comes_in_by_hand_is_not_taken_for_a_later_one() {
        let (outbox, mut pump, _, mut server) = outbox_that(true).await;
        poll(&mut pump);
        server.write_all(GRANT.as_bytes()).await.unwrap();
        // That has rung, and its waker is gone.
        let woken = in_its_place(&outbox);
        let _lone = post(&outbox, "LONE");
        assert!(woken.0.load(Ordering::Relaxed));
        poll(&mut pump);
        assert!(!outbox.pump().as_ref().unwrap().granted.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn what_was_answered_by_hand_is_told_even_if_the_pump_never_runs_again() {
        let (outbox, mut pump, _, mut server) = outbox_that(true).await;
        let mut lone = [post(&outbox, "LONE")];
        poll(&mut pump);
        server.write_all(b"+OK\r\n").await.unwrap();
        outbox.bells.set(Bells::TRAFFIC);
        let _release = post_urgently(&outbox, "RELEASE");
        drop(pump);
        assert_eq!(told(&mut lone), 1);
    }

    fn post_urgently(outbox: &Outbox, name: &str) -> Verdict {
        outbox.post(|_| [cmd(name)], Instant::FAR, Care { urgent: true, ..Care::default() })
    }

    /// The verdicts on two calls and an urgent one that are answered when the pump is polled again, with `also` behind.
    async fn answered(also: &str) -> (Arc<Outbox>, Pumping, [Verdict; 3], DuplexStream) {
        let (outbox, mut pump, _, mut server) = outbox().await;
        let verdicts = [post(&outbox, "A"), post(&outbox, "B"), post_urgently(&outbox, "C")];
        poll(&mut pump);
        assert!(server.read(&mut [0; 1024]).await.unwrap() > 0);
        server.write_all(format!("+OK\r\n+OK\r\n+OK\r\n{also}").as_bytes()).await.unwrap();
        (outbox, pump, verdicts, server)
    }

    /// How many of these are told, of whom none was before.
    fn told(verdicts: &mut [Verdict]) -> usize {
        verdicts.iter_mut().filter_map(|verdict| verdict.try_recv().ok()).filter(Result::is_ok).count()
    }

    #[tokio::test]
    async fn of_those_who_were_answered_together_the_first_runs_before_the_rest_are_told() {
        let (outbox, mut pump, mut verdicts, mut server) = answered("").await;
        poll(&mut pump);
        assert_eq!(told(&mut verdicts), 1);
        // What the first calls then waits for what the others call.
        let _first = post(&outbox, "D");
        poll(&mut pump);
        assert_eq!(told(&mut verdicts[1..]), 2);
        let mut calls = [0; 1024];
        let _rest = ["E", "F"].map(|name| post(&outbox, name));
        poll(&mut pump);
        let sent = server.read(&mut calls).await.unwrap();
        assert_eq!(&calls[..sent], b"*1\r\n$1\r\nD\r\n*1\r\n$1\r\nE\r\n*1\r\n$1\r\nF\r\n");
    }

    #[tokio::test]
    async fn who_was_answered_is_told_so_even_if_the_connection_ends_before() {
        for ends in [true, false] {
            let (_outbox, mut pump, mut verdicts, server) = answered("").await;
            if ends {
                drop(server);
            }
            poll(&mut pump);
            drop(pump);
            assert_eq!(told(&mut verdicts), 3);
        }
    }

    const GRANT: &str = ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n";

    #[tokio::test]
    async fn an_urgent_call_that_is_answered_together_with_a_grant_is_told_so_behind_what_the_holder_has_to_send() {
        let (outbox, mut pump, mut verdicts, mut server) = answered(GRANT).await;
        poll(&mut pump);
        assert_eq!(told(&mut verdicts[..2]), 2, "the holder may look for its own answer");
        assert_eq!(told(&mut verdicts[2..]), 0);
        let (_ask, _release) = (post(&outbox, "ASK"), post_urgently(&outbox, "RELEASE"));
        poll(&mut pump);
        let mut calls = [0; 1024];
        let sent = server.read(&mut calls).await.unwrap();
        assert_eq!(&calls[..sent], b"*1\r\n$3\r\nASK\r\n*1\r\n$7\r\nRELEASE\r\n", "it waits for no turn");
        assert_eq!(told(&mut verdicts[2..]), 1);
    }

    #[tokio::test]
    async fn an_urgent_call_that_is_answered_together_with_a_grant_is_told_so_even_if_the_holder_sends_nothing() {
        let (_outbox, mut pump, [_, _, urgent], _server) = answered(GRANT).await;
        let Either::Left((told, _)) = select(urgent, &mut pump).await else { panic!("the connection ended") };
        assert!(told.unwrap().is_ok());
    }

    #[tokio::test]
    async fn who_was_answered_before_is_told_so_behind_an_urgent_call_whatever_comes_in_then() {
        let (outbox, mut pump, mut verdicts, mut server) = answered("").await;
        poll(&mut pump);
        assert_eq!(told(&mut verdicts), 1);
        let _release = post_urgently(&outbox, "RELEASE");
        server.write_all(GRANT.as_bytes()).await.unwrap();
        poll(&mut pump);
        assert_eq!(told(&mut verdicts[1..]), 2);
    }

    #[tokio::test]
    async fn where_many_are_under_way_an_urgent_call_waits_for_its_turn() {
        let (outbox, mut pump, _, _server) = outbox().await;
        let _under_way: Vec<_> = (0..=FEW)
            .map(|_| {
                let verdict = post_urgently(&outbox, "RELEASE");
                poll(&mut pump);
                verdict
            })
            .collect();
        assert!(outbox.lock().batches.is_empty());
        let _crowd: Vec<_> = (0..64).map(|_| post_urgently(&outbox, "RELEASE")).collect();
        poll(&mut pump);
        assert_eq!(outbox.lock().batches.len(), 1);
    }

    #[tokio::test]
    async fn what_is_called_behind_an_urgent_call_leaves_a_turn_later() {
        let (outbox, mut pump, _, mut server) = outbox().await;
        let _release = post_urgently(&outbox, "RELEASE");
        let _ask = post(&outbox, "ASK");
        let mut calls = [0; 1024];
        poll(&mut pump);
        let sent = server.read(&mut calls).await.unwrap();
        assert_eq!(&calls[..sent], b"*1\r\n$7\r\nRELEASE\r\n");
        let turns = tokio::spawn(outbox.clone().keep_turns());
        let sent = select(Box::pin(server.read(&mut calls)), &mut pump).await;
        let Either::Left((Ok(sent), _)) = sent else { panic!("the connection ended") };
        assert_eq!(&calls[..sent], b"*1\r\n$3\r\nASK\r\n");
        turns.abort();
    }

    /// Sees, when it is woken, whether all calls have left.
    struct Looker(Arc<Outbox>, AtomicBool);

    impl Wake for Looker {
        fn wake(self: Arc<Looker>) {
            self.1.store(self.0.lock().batches.is_empty(), Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn an_urgent_call_leaves_before_anybody_is_told() {
        let (outbox, mut pump, mut verdicts, _server) = answered("").await;
        poll(&mut pump);
        let looker = Arc::new(Looker(outbox.clone(), AtomicBool::new(false)));
        let waits = verdicts[2].poll_unpin(&mut Context::from_waker(&Waker::from(looker.clone())));
        assert!(waits.is_pending());
        let _release = post_urgently(&outbox, "RELEASE");
        poll(&mut pump);
        assert!(looker.1.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn who_was_answered_is_told_so_even_if_the_first_blocks_the_pump() {
        let (outbox, mut pump, mut verdicts, _server) = answered("").await;
        poll(&mut pump);
        assert!(outbox.is_busy());
        assert!(outbox.look(Instant::from_nanos(1)).is_empty());
        assert_eq!(told(&mut verdicts), 3);
        assert!(!outbox.is_busy());
    }

    #[tokio::test]
    async fn a_lone_call_goes_at_once_even_after_a_crowd() {
        let (outbox, mut pump, _, server) = outbox().await;
        tokio::spawn(serve(server));
        let crowd: Vec<_> = (0..64).map(|_| post(&outbox, "CROWD")).collect();
        poll(&mut pump);
        let turns = tokio::spawn(outbox.clone().keep_turns());
        for verdict in crowd {
            select(verdict, &mut pump).await;
        }
        for _ in 0..100 {
            select(post(&outbox, "ALONE"), &mut pump).await;
        }
        turns.abort();
        // Nobody keeps the turns any more: a call that waited for one would stay.
        let verdict = post(&outbox, "ALONE");
        poll(&mut pump);
        assert!(outbox.lock().batches.is_empty(), "it left when the pump was polled");
        select(verdict, &mut pump).await;
    }
}
