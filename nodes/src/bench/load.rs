//! A load: connections × window requests in flight, until enough messages or seconds.
//!
//! Each request in flight holds a *slot*; its number is the request's opaque. A slot whose answer
//! came is used again at once, so exactly the window is in flight until the end.

use std::cell::Cell;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use hdrhistogram::Histogram;
use hotfire_core::domain::{
    BrokerId, BrokerRequest, BrokerResponse, Code, NameRequest, NameResponse, Pull, QueueRef, Send,
};
use hotfire_net::codec::{self, Ask};
use hotfire_net::header::Header;
use hotfire_net::rt;
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;
use indicatif::{ProgressBar, ProgressStyle};

use super::report::{LoadReport, Percentiles};
use super::session::{Answer, Session};
use crate::Failure;
use crate::cli::LoadArgs;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pulls of messages that are there.
    Pull,
    /// Sends.
    Send,
}

/// Seconds of a load whose end nobody named.
const SECONDS: u64 = 10;
/// Most messages of one pull, as a client's default has it.
const BATCH: i32 = 32;

/// When to stop asking, shared by all connections.
struct Goal {
    deadline: Option<Instant>,
    /// Messages still to be asked for.
    left: Cell<u64>,
    done: Cell<u64>,
}

impl Goal {
    fn is_reached(&self, now: Instant) -> bool {
        self.left.get() == 0 || self.deadline.is_some_and(|deadline| now >= deadline)
    }
}

/// What one connection saw.
struct Tally {
    latencies: Histogram<u64>,
    bytes: u64,
    failed: u64,
    why: Option<String>,
}

impl Tally {
    fn new() -> Self {
        // A microsecond to a minute, three digits.
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3).expect("sane bounds");
        Self { latencies, bytes: 0, failed: 0, why: None }
    }

    fn merge(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("equal bounds");
        self.bytes += other.bytes;
        self.failed += other.failed;
        self.why = self.why.take().or_else(|| other.why.clone());
    }
}

/// A run of offsets that one slot pulls again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    queue: i32,
    from: i64,
    upto: i64,
    next: i64,
}

/// Runs a load to its end.
pub async fn run(kind: Kind, args: &LoadArgs) -> Result<LoadReport, Failure> {
    let addr = match &args.namesrv {
        Some(namesrv) => find_broker(namesrv, &args.topic).await?,
        None => args.addr.clone(),
    };
    let shares = match kind {
        Kind::Pull => shares(&addr, args).await?,
        Kind::Send => Vec::new(),
    };
    let mut sessions = Vec::new();
    for _ in 0..args.connections {
        sessions.push(Session::connect(&addr).await?);
    }
    let seconds = args.messages.is_none().then(|| args.seconds.unwrap_or(SECONDS));
    let begun = Instant::now();
    let goal = Rc::new(Goal {
        deadline: seconds.map(|seconds| begun + Duration::from_secs(seconds)),
        left: Cell::new(args.messages.unwrap_or(u64::MAX)),
        done: Cell::new(0),
    });
    let bar = rt::spawn_local(show_progress(Rc::clone(&goal), begun, args.messages, seconds));
    let window = args.window as usize;
    let mut tasks = Vec::new();
    for (number, session) in sessions.into_iter().enumerate() {
        let mine = shares.iter().skip(number * window).take(window).copied().collect();
        let worker = Worker::new(kind, args, number, session, mine, Rc::clone(&goal));
        tasks.push(rt::spawn_local(worker.run()));
    }
    let mut total = Tally::new();
    for task in tasks {
        total.merge(&task.await.map_err(Failure::new)??);
    }
    let took = begun.elapsed();
    bar.abort();
    let messages = goal.done.get();
    if messages == 0 {
        let why = total.why.unwrap_or_else(|| "no answer".into());
        return Err(Failure::new(format!("{addr} took no request: {why}")));
    }
    Ok(LoadReport {
        kind: if kind == Kind::Send { "send" } else { "pull" },
        broker: addr,
        connections: args.connections,
        window: args.window,
        messages,
        failed: total.failed,
        first_failure: total.why,
        seconds: took.as_secs_f64(),
        bytes: total.bytes,
        latency_us: Percentiles::of(&total.latencies),
    })
}

/// One connection and its slots.
struct Worker {
    kind: Kind,
    session: Session,
    goal: Rc<Goal>,
    tally: Tally,
    topic: Text,
    body: Bytes,
    queues: i32,
    /// The code of the requests.
    code: i32,
    /// When each slot's request was queued; `None` for a free one.
    begun: Vec<Option<Instant>>,
    /// Of a send, each slot's request: what is measured is the broker, so the load costs little.
    frames: Vec<Frame>,
    /// Slots whose frames are to be written.
    unsent: Vec<usize>,
    shares: Vec<Share>,
}

/// An encoded send, but for when its message was born.
struct Frame {
    bytes: Vec<u8>,
    born: Range<usize>,
}

impl Frame {
    /// The frame of `send`, whose time of birth is a number of so many digits that occurs once.
    fn new(opaque: i32, send: Send) -> Self {
        let born = send.born.as_millis().to_string();
        let request = BrokerRequest::Send(Box::new(send));
        let frame =
            codec::broker::encode_request(Ask::json(opaque), &request, &mut BytesMut::new());
        let bytes = frame.to_vec();
        let mut runs = bytes.windows(born.len());
        let at = runs.position(|run| run == born.as_bytes()).expect("a send says when");
        Self { born: at..at + born.len(), bytes }
    }

    /// Makes it the frame of a message that is born now.
    fn set_born(&mut self, now: i64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(now);
        assert_eq!(digits.len(), self.born.len(), "until the year 2286");
        self.bytes[self.born.clone()].copy_from_slice(digits.as_bytes());
    }
}

/// A slot's requests, and the answers to them, have its number.
fn opaque(slot: usize) -> i32 {
    i32::try_from(slot).expect("bounded by the command line")
}

/// Milliseconds since 1970.
fn wall() -> i64 {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)
}

impl Worker {
    fn new(
        kind: Kind,
        args: &LoadArgs,
        number: usize,
        session: Session,
        shares: Vec<Share>,
        goal: Rc<Goal>,
    ) -> Self {
        let queues = i32::try_from(args.queues).expect("bounded by the command line");
        let body = (0..args.size).map(|at| b'a' + (at % 26) as u8).collect::<Vec<_>>();
        let mut worker = Self {
            kind,
            session,
            goal,
            tally: Tally::new(),
            topic: Text::from(args.topic.as_str()),
            body: body.into(),
            queues,
            code: 0,
            begun: vec![None; args.window as usize],
            frames: Vec::new(),
            unsent: Vec::new(),
            shares,
        };
        let example = match kind {
            Kind::Pull => BrokerRequest::Pull(Box::new(worker.pull(0))),
            Kind::Send => BrokerRequest::Send(Box::new(worker.send(0))),
        };
        worker.code = codec::broker::request_code(&example);
        if kind == Kind::Send {
            let frame = |slot| Frame::new(opaque(slot), worker.send(number + slot));
            worker.frames = (0..args.window as usize).map(frame).collect();
        }
        worker
    }

    async fn run(mut self) -> Result<Tally, Failure> {
        let (now, born) = (Instant::now(), wall());
        for slot in 0..self.begun.len() {
            self.fill(now, born, slot);
        }
        while self.begun.iter().any(Option::is_some) {
            self.write().await?;
            self.session.wait().await?;
            // What arrived together arrived now, and is followed by what is written together.
            let (now, born) = (Instant::now(), wall());
            while let Some(answer) = self.next_answer()? {
                let opaque = match &answer {
                    Answer::Well(opaque) => *opaque,
                    Answer::Whole(header, _) => header.opaque,
                };
                let slot = usize::try_from(opaque).unwrap_or(usize::MAX);
                let Some(begun) = self.begun.get_mut(slot).and_then(Option::take) else {
                    return Err(Failure::new(format!(
                        "an answer to a request that was not asked: opaque {opaque}"
                    )));
                };
                self.take(slot, now - begun, &answer);
                self.fill(now, born, slot);
            }
        }
        Ok(self.tally)
    }

    /// Writes every request that was filled in.
    async fn write(&mut self) -> Result<(), Failure> {
        self.session.flush().await?;
        let slices = self.unsent.drain(..).map(|slot| IoSlice::new(&self.frames[slot].bytes));
        self.session.write(&mut slices.collect::<Vec<_>>()).await
    }

    fn next_answer(&mut self) -> Result<Option<Answer>, Failure> {
        match self.kind {
            Kind::Send => self.session.arrived_well(),
            Kind::Pull => {
                let answer = self.session.arrived()?;
                Ok(answer.map(|(header, body)| Answer::Whole(header, body)))
            }
        }
    }

    /// Puts a request into a free slot, unless the goal is reached. `born`: [`wall`].
    fn fill(&mut self, now: Instant, born: i64, slot: usize) {
        if self.goal.is_reached(now) {
            return;
        }
        self.begun[slot] = Some(now);
        match self.kind {
            Kind::Pull => {
                let pull = BrokerRequest::Pull(Box::new(self.pull(slot)));
                self.session.push(opaque(slot), &pull);
            }
            Kind::Send => {
                self.goal.left.set(self.goal.left.get() - 1);
                self.frames[slot].set_born(born);
                self.unsent.push(slot);
            }
        }
    }

    fn take(&mut self, slot: usize, took: Duration, answer: &Answer) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.tally.latencies.saturating_record(micros.max(1));
        let (header, body) = match answer {
            Answer::Whole(header, body) if !self.is_stored(header) => (header, body),
            Answer::Well(_) | Answer::Whole(..) => {
                self.tally.bytes += self.body.len() as u64;
                self.goal.done.set(self.goal.done.get() + 1);
                return;
            }
        };
        let reply = codec::broker::decode_response(self.code, header, body);
        match reply.map(|reply| reply.response) {
            Ok(BrokerResponse::Pulled(pulled)) => {
                let share = &mut self.shares[slot];
                let next = i64::try_from(pulled.next.get()).unwrap_or(i64::MAX);
                let got = u64::try_from(next.min(share.upto) - share.next).unwrap_or(0);
                share.next = if got == 0 || next >= share.upto { share.from } else { next };
                self.tally.bytes += body.len() as u64;
                self.goal.left.set(self.goal.left.get().saturating_sub(got));
                self.goal.done.set(self.goal.done.get() + got);
            }
            other => {
                self.tally.failed += 1;
                self.tally.why.get_or_insert_with(|| match other {
                    Ok(BrokerResponse::Refused { code, remark }) => format!("{code:?}: {remark}"),
                    Ok(BrokerResponse::Sent(sent)) => format!("{:?}", sent.status),
                    other => format!("{other:?}"),
                });
            }
        }
    }

    fn is_stored(&self, answer: &Header) -> bool {
        self.kind == Kind::Send && answer.code == Code::Success.number()
    }

    /// The `number`th message, which chooses its queue.
    fn send(&self, number: usize) -> Send {
        let queue = i32::try_from(number).unwrap_or(0) % self.queues;
        let to = QueueRef { topic: self.topic.clone(), queue };
        Send {
            default_queues: self.queues,
            born: Wall::from_millis(wall()),
            ..Send::new(Text::from_static("hotfire-bench"), to, self.body.clone())
        }
    }

    fn pull(&self, slot: usize) -> Pull {
        let share = self.shares[slot];
        Pull {
            group: Text::from_static("hotfire-bench"),
            from: QueueRef { topic: self.topic.clone(), queue: share.queue },
            offset: share.next,
            max_messages: BATCH,
            max_bytes: None,
            commit: None,
            hold_ms: None,
            subscription: Some(Text::from_static("*")),
            sub_version: 0,
            expression_type: Some(Text::from_static("TAG")),
        }
    }
}

/// The master to talk to: of the topic's route, or the first of the cluster.
async fn find_broker(namesrv: &str, topic: &str) -> Result<String, Failure> {
    let mut session = Session::connect(namesrv).await?;
    let route = NameRequest::Route { topic: topic.into() };
    let mut brokers = match session.ask_name(&route).await? {
        NameResponse::Route(route) => route.brokers,
        _ => Vec::new(),
    };
    if brokers.is_empty() {
        // The topic will be created by the first send.
        if let NameResponse::ClusterInfo(info) = session.ask_name(&NameRequest::ClusterInfo).await?
        {
            brokers = info.brokers.into_values().collect();
        }
    }
    let masters = brokers.iter().filter_map(|broker| broker.addrs.get(&BrokerId::MASTER));
    let first = masters.map(ToString::to_string).next();
    first.ok_or_else(|| Failure::new(format!("the name server {namesrv} knows no broker")))
}

/// What there is to pull, divided among all slots.
async fn shares(addr: &str, args: &LoadArgs) -> Result<Vec<Share>, Failure> {
    let mut session = Session::connect(addr).await?;
    let mut ranges = Vec::new();
    for queue in 0..i32::try_from(args.queues).expect("bounded by the command line") {
        let of = QueueRef { topic: args.topic.as_str().into(), queue };
        let min = session.ask(&BrokerRequest::MinOffset(of.clone())).await?.response;
        let max = session.ask(&BrokerRequest::MaxOffset(of)).await?.response;
        if let (BrokerResponse::Offset(min), BrokerResponse::Offset(max)) = (min, max)
            && max > min.max(0)
        {
            ranges.push(Share { queue, from: min.max(0), upto: max, next: min.max(0) });
        }
    }
    if ranges.is_empty() {
        return Err(Failure::new(format!(
            "topic {} holds no messages at {addr}: run hotfire bench send first",
            args.topic
        )));
    }
    Ok(divide(&ranges, args.connections as usize * args.window as usize))
}

/// `slots` shares of the ranges: slots beyond what a range can be cut into begin where it begins.
fn divide(ranges: &[Share], slots: usize) -> Vec<Share> {
    let cut = |slot: usize| {
        let range = ranges[slot % ranges.len()];
        let parts = slots.div_ceil(ranges.len());
        let parts = i64::try_from(parts).unwrap_or(i64::MAX);
        let part = i64::try_from(slot / ranges.len()).unwrap_or(0);
        let step = (range.upto - range.from) / parts;
        if step < i64::from(BATCH) {
            return range;
        }
        let from = range.from + step * part;
        Share { from, next: from, upto: from + step, ..range }
    };
    (0..slots).map(cut).collect()
}

/// A bar on standard error; nothing if that is no terminal.
async fn show_progress(
    goal: Rc<Goal>,
    begun: Instant,
    messages: Option<u64>,
    seconds: Option<u64>,
) {
    let length = messages.unwrap_or_else(|| seconds.unwrap_or(SECONDS) * 1000);
    let style = "{bar:40} {percent}% {msg}";
    let style = ProgressStyle::with_template(style).expect("a valid template");
    let bar = ProgressBar::new(length).with_style(style);
    loop {
        let done = goal.done.get();
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        bar.set_position(if messages.is_some() { done } else { millis }.min(length));
        bar.set_message(format!("{done} messages, {}/s", done * 1000 / millis.max(1)));
        rt::sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_a_queue_without_overlap_and_small_queues_are_not_cut() {
        let range = |queue, upto| Share { queue, from: 0, upto, next: 0 };
        let shares = divide(&[range(0, 640), range(1, 10)], 8);
        let cuts: Vec<_> =
            shares.iter().map(|share| (share.queue, share.from, share.upto)).collect();
        let small = (1, 0, 10);
        let expected =
            [(0, 0, 160), small, (0, 160, 320), small, (0, 320, 480), small, (0, 480, 640), small];
        assert_eq!(cuts, expected);
    }
}
