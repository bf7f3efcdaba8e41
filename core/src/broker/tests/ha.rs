//! A master and its slave, on disks in memory, over a wire that does what a test says.

mod opening;
mod topics;

use hotfire_storage::{Parting, part};

use super::*;
use crate::domain::{Code, StateKind};
use crate::ha::slave::SlaveEffect;
use crate::ha::{LinkId, MasterPolicy, SlavePolicy};

fn master_config(wanted: usize) -> BrokerConfig {
    BrokerConfig { role: Role::Master(MasterPolicy { wanted, ..policy() }), ..config() }
}

fn policy() -> MasterPolicy {
    MasterPolicy { batch: 700, ..MasterPolicy::default() }
}

fn slave_config() -> BrokerConfig {
    let policy = SlavePolicy { overlap: 300, ..SlavePolicy::default() };
    let role = Role::Slave { policy, master: Some("10.0.0.1:10912".into()) };
    let identity = BrokerIdentity { id: BrokerId(1), ..config().identity };
    BrokerConfig { identity, role, ..config() }
}

/// Two brokers and the connection between them.
struct Pair {
    master: Rig,
    slave: Broker<PlainDisk>,
    link: Option<LinkId>,
    links: u64,
    /// The connection loses all that the master says.
    is_mute: bool,
    answers: Vec<(i32, BrokerResponse)>,
    /// What the slave asked for.
    asked: Vec<StateKind>,
}

impl Pair {
    fn new(wanted: usize) -> Self {
        let master = Rig::open(PlainDisk::default(), master_config(wanted));
        Self::of(master, &PlainDisk::default())
    }

    fn of(master: Rig, slave: &PlainDisk) -> Self {
        Self::with(master, slave, slave_config())
    }

    fn with(master: Rig, slave: &PlainDisk, config: BrokerConfig) -> Self {
        let opened = Broker::open(slave.reopened(), settings(), config, at(0));
        let (slave, _) = opened.expect("it opens");
        let (answers, asked) = (Vec::new(), Vec::new());
        Self { master, slave, link: None, links: 0, is_mute: false, answers, asked }
    }

    /// Until nobody has anything to do.
    fn run(&mut self, ms: u64) {
        while self.step_slave(ms) | self.step_master(ms) {}
        self.slave.verify();
    }

    fn step_slave(&mut self, ms: u64) -> bool {
        let Some(effect) = self.slave.poll(at(ms)) else { return false };
        let master = &mut self.master.broker;
        match effect {
            Effect::Master(SlaveEffect::Connect { .. }) => {
                self.links += 1;
                let link = LinkId(self.links);
                self.link = Some(link);
                let peer = SocketAddr::from(([10, 0, 0, 2], 4_000));
                master.handle(at(ms), Input::Ha(HaInput::Opened { link, peer }));
                self.slave.handle(at(ms), Input::Ha(HaInput::Connected));
            }
            Effect::Master(SlaveEffect::Disconnect) => {
                if let Some(link) = self.link.take() {
                    master.handle(at(ms), Input::Ha(HaInput::Closed { link }));
                }
            }
            Effect::Master(SlaveEffect::Report(position)) => {
                let link = self.link.expect("who reports is connected");
                let offset = i64::try_from(position.get()).unwrap();
                master.handle(at(ms), Input::Ha(HaInput::Reported { link, offset }));
            }
            Effect::Group(GroupEffect::Fetch { kind, .. }) => self.asked.push(kind),
            Effect::Register => {}
            other => panic!("a slave that nobody asks does not {other:?}"),
        }
        true
    }

    fn step_master(&mut self, ms: u64) -> bool {
        let Some(effect) = self.master.broker.poll(at(ms)) else { return false };
        self.master.broker.verify();
        match effect {
            Effect::Answer { caller, response } => self.answers.push((caller.opaque, response)),
            Effect::HaFrame { link, span } => {
                let bytes = u64::from(span.len) + 12;
                let input = Input::Ha(HaInput::Taken { link, bytes });
                self.master.broker.handle(at(ms), input);
                let len = span.len as usize;
                let bytes = if len == 0 { Bytes::new() } else { self.master.broker.lease(span) };
                if self.link == Some(link) && !self.is_mute {
                    self.deliver(ms, span.at, bytes);
                }
            }
            Effect::HaClose { link, why }
                if self.link.take_if(|known| *known == link).is_some() =>
            {
                let why = why.to_string();
                self.slave.handle(at(ms), Input::Ha(HaInput::Ended { why }));
            }
            _ => {}
        }
        true
    }

    /// Cut into pieces, as a socket may.
    fn deliver(&mut self, ms: u64, mut place: Physical, mut bytes: Bytes) {
        loop {
            let piece = bytes.split_to(bytes.len().min(97));
            let len = piece.len() as u64;
            let input = HaInput::Piece { at: place, bytes: piece };
            self.slave.handle(at(ms), Input::Ha(input));
            place = place.plus(len);
            if bytes.is_empty() {
                return;
            }
        }
    }

    fn send(&mut self, ms: u64, topic: &str, body: &'static [u8]) -> i32 {
        self.master.ask(ms, send(topic, body))
    }

    fn status(&self, opaque: i32) -> Option<SendStatus> {
        let answer = self.answers.iter().find(|(of, _)| *of == opaque);
        answer.map(|(_, response)| match response {
            BrokerResponse::Sent(sent) => sent.status,
            other => panic!("{other:?}"),
        })
    }

    fn cut_link(&mut self, ms: u64) {
        if let Some(link) = self.link.take() {
            self.master.broker.handle(at(ms), Input::Ha(HaInput::Closed { link }));
            let why = "cut".to_owned();
            self.slave.handle(at(ms), Input::Ha(HaInput::Ended { why }));
        }
    }

    /// Both logs hold the same bytes, and both know what is in them.
    fn check_same(&self) {
        let (master, slave) = (self.master.broker.store(), self.slave.store());
        assert_eq!(log(slave), log(master)[from(slave, master)..]);
        slave.verify_all().expect("queues and index follow the log");
        for (topic, id, range) in master.queues() {
            assert_eq!(slave.queue(topic, id).map(|own| own.max), Some(range.max), "{topic}/{id}");
        }
    }

    /// The slave starts anew, on what it made of its disk.
    fn restart_slave(self, change: impl FnOnce(&mut PlainDisk)) -> Self {
        let mut slave = self.slave;
        slave.stop(at(0)).expect("a clean stop");
        let mut disk = slave.into_store().into_disk().reopened();
        change(&mut disk);
        let mut master = self.master;
        if let Some(link) = self.link {
            master.broker.handle(at(0), Input::Ha(HaInput::Closed { link }));
        }
        Self { links: self.links, answers: self.answers, ..Self::of(master, &disk) }
    }
}

fn from(slave: &Store<PlainDisk>, master: &Store<PlainDisk>) -> usize {
    usize::try_from(slave.start().since(master.start())).unwrap()
}

fn log(store: &Store<PlainDisk>) -> Vec<u8> {
    let (start, end) = (store.start().get(), store.written().end().get());
    let paths = store.disk().paths().filter(|path| path.starts_with("commitlog/"));
    let mut bytes: Vec<u8> =
        paths.flat_map(|path| store.disk().file(path).unwrap().to_vec()).collect();
    bytes.truncate(usize::try_from(end - start).unwrap());
    bytes
}

#[test]
fn a_slave_has_the_masters_log_byte_for_byte_whatever_becomes_of_the_connection() {
    let mut pair = Pair::new(0);
    for n in 0..60_u64 {
        let ms = 1 + n * 7;
        let bodies: [&[u8]; 3] = [b"short", &[7; 900], &[3; 250]];
        pair.send(ms, ["one", "two"][(n % 2) as usize], bodies[(n % 3) as usize]);
        if n % 5 == 3 {
            pair.cut_link(ms);
        }
        if n % 9 != 4 {
            pair.run(ms);
        }
    }
    pair.run(10_000);
    pair.check_same();
    let pair = pair.restart_slave(|_| {});
    let mut pair = pair;
    pair.send(1, "one", b"later");
    pair.run(20);
    pair.check_same();
}

#[test]
fn a_slave_takes_no_messages() {
    let mut pair = Pair::new(0);
    pair.run(0);
    let request = send("one", b"x");
    pair.slave.handle(at(1), Input::Request { caller: caller(1), request });
    let answer = std::iter::from_fn(|| pair.slave.poll(at(1))).find_map(|effect| match effect {
        Effect::Answer { response, .. } => Some(response),
        _ => None,
    });
    let refused = matches!(
        answer,
        Some(BrokerResponse::Refused { code: Code::ServiceNotAvailable, ref remark })
            if remark.contains("send to its master")
    );
    assert!(refused, "{answer:?}");
}

#[test]
fn a_send_waits_for_as_many_replicas_as_wanted_and_says_what_came_of_it() {
    let mut pair = Pair::new(1);
    let alone = pair.send(1, "t", b"alone");
    while pair.step_master(1) {}
    assert_eq!(pair.status(alone), Some(SendStatus::SlaveNotAvailable));
    pair.run(2);
    let held = pair.send(3, "t", b"held");
    while pair.step_master(3) {}
    assert_eq!(pair.status(held), None, "it is on its way");
    let confirmed = pair.master.broker.confirmed().end();
    assert!(confirmed < pair.master.broker.store().written().end(), "nobody sees it");
    pair.run(3);
    assert_eq!(pair.status(held), Some(SendStatus::Ok));
    assert_eq!(pair.master.broker.confirmed().end(), pair.master.broker.store().written().end());

    pair.is_mute = true;
    let lost = pair.send(10, "t", b"lost");
    pair.run(10);
    pair.run(3_009);
    assert_eq!(pair.status(lost), None);
    pair.run(3_010);
    assert_eq!(pair.status(lost), Some(SendStatus::FlushSlaveTimeout));
    let written = pair.master.broker.store().written().end();
    assert!(pair.master.broker.confirmed().end() < written, "a replica may still have it");
    pair.run(15_009);
    assert!(pair.master.broker.confirmed().end() < written);
    pair.run(15_010);
    assert_eq!(pair.master.broker.confirmed().end(), written, "not for ever");
}

#[test]
fn a_slave_whose_end_is_not_the_masters_is_cut_where_the_logs_part() {
    let mut pair = Pair::new(0);
    for n in 0..9 {
        pair.send(n, "t", &[5; 200]);
    }
    pair.run(10);
    pair.check_same();
    // The slave was a master for a while: it has what the master never had.
    let common = pair.slave.store().written().end();
    let mut pair = pair.restart_slave(|disk| {
        let (mut store, _) = Store::open(disk.reopened(), settings(), |_| false).expect("it opens");
        let own = hotfire_storage::record::Draft {
            topic: "t",
            queue_id: 0,
            flag: 0,
            sys_flag: hotfire_storage::record::SysFlag::default(),
            born: Wall::from_millis(1),
            born_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            store_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 2)),
            reconsume_times: 0,
            prepared: Physical::ZERO,
            body: &[9; 333],
            properties: &[],
        };
        store.append(Wall::from_millis(77), &own).expect("there is room");
        while store.poll().is_some() {}
        store.close().expect("a clean stop");
        *disk = store.into_disk().reopened();
    });
    assert!(pair.slave.store().written().end() > common);
    pair.send(20, "t", &[6; 400]);
    pair.run(21);
    assert_eq!(pair.slave.parting(), Some(Parting::Cut(common)));
    let mut pair = pair.restart_slave(|disk| {
        part(disk, &settings(), Parting::Cut(common)).expect("it is cut");
        *disk = disk.reopened();
    });
    assert_eq!(pair.slave.store().written().end(), common);
    pair.run(30);
    pair.check_same();
}

#[test]
fn a_slave_that_has_more_than_its_master_is_cut_as_well() {
    for lost in [1, 4, 9] {
        let mut pair = Pair::new(0);
        for n in 0..10 {
            pair.send(n, "t", &[5; 200]);
        }
        pair.run(10);
        // The power failed: the master's log ends earlier now.
        let ends: Vec<_> = pair.master.broker.store().records_from(Physical::ZERO).collect();
        let end = ends[ends.len() - lost].physical();
        let Pair { master, slave, .. } = pair;
        let mut broker = master.broker;
        broker.stop(at(11)).expect("a clean stop");
        let mut disk = broker.into_store().into_disk().reopened();
        part(&mut disk, &settings(), Parting::Cut(end)).expect("it is cut");
        let master = Rig::open(disk.reopened(), master_config(0));
        assert_eq!(master.broker.store().written().end(), end);
        let mut slave = slave;
        slave.stop(at(11)).expect("a clean stop");
        let mut pair = Pair::of(master, &slave.into_store().into_disk());
        pair.run(20);
        // That nothing more comes is known once the master says so, having nothing else to say.
        pair.run(5_020);
        assert_eq!(pair.slave.parting(), Some(Parting::Cut(end)), "{lost} lost");
    }
}

#[test]
fn a_store_that_is_no_copy_of_the_masters_is_left_alone() {
    let mut other = Rig::new();
    for n in 0..10 {
        other.ask(n, send("t", &[8; 300]));
    }
    other.run(10);
    other.broker.stop(at(11)).expect("a clean stop");
    let disk = other.broker.into_store().into_disk();
    let mut pair = Pair::of(Rig::open(PlainDisk::default(), master_config(0)), &disk);
    let end = pair.slave.store().written().end();
    for round in 1..50_u64 {
        if round == 20 {
            for n in 0..20 {
                pair.send(round * 1_000 + n, "t", &[5; 200]);
            }
        }
        pair.run(round * 1_000 + 20);
        assert_eq!((pair.slave.parting(), pair.slave.store().written().end()), (None, end));
    }
}

#[test]
fn a_slave_whose_log_is_deleted_at_the_master_begins_with_a_file_of_it() {
    let mut pair = Pair::new(0);
    for n in 0..10 {
        pair.send(n, "t", &[5; 200]);
    }
    pair.run(10);
    let old = pair.slave.store().written().end();
    pair.cut_link(11);
    for n in 0..60 {
        pair.send(12 + n, "t", &[6; 400]);
        while pair.step_master(12 + n) {}
    }
    let store = &mut pair.master.broker.store;
    while store.start() <= old {
        store.sync(store.flushed().end(), store.committed());
        store.sync_queues();
        while store.poll().is_some() {}
        store.delete_oldest_log_file().expect("it is on the medium");
        while store.poll().is_some() {}
    }
    let start = store.start();
    pair.run(5_000);
    assert_eq!(pair.slave.parting(), Some(Parting::Begin(start)));
    let mut pair = pair.restart_slave(|disk| {
        part(disk, &settings(), Parting::Begin(start)).expect("it begins there");
        *disk = disk.reopened();
    });
    assert_eq!(pair.slave.store().start(), start);
    pair.run(20);
    pair.check_same();
    let units = pair.slave.store().queue("t", 0).expect("it has messages");
    assert_eq!(units, pair.master.broker.store().queue("t", 0).expect("as the master"));
}

#[test]
fn with_too_few_replicas_nothing_is_stored() {
    let policy = MasterPolicy { wanted: 1, least: 1, ..policy() };
    let config = BrokerConfig { role: Role::Master(policy), ..config() };
    let mut pair = Pair::of(Rig::open(PlainDisk::default(), config), &PlainDisk::default());
    let refused = pair.send(1, "t", b"alone");
    while pair.step_master(1) {}
    let answer = pair.answers.iter().find(|(of, _)| *of == refused).map(|(_, answer)| answer);
    let is_refused = matches!(
        answer,
        Some(BrokerResponse::Refused { code: Code::SystemError, remark })
            if remark.starts_with("IN_SYNC_REPLICAS_NOT_ENOUGH")
    );
    assert!(is_refused, "{answer:?}");
    assert_eq!(pair.master.broker.store().written().end(), Physical::ZERO);
    pair.run(2);
    let held = pair.send(3, "t", b"held");
    pair.run(3);
    assert_eq!(pair.status(held), Some(SendStatus::Ok));
}

#[test]
fn a_slave_answers_pulls_and_sends_consumers_back_to_a_master_that_lives() {
    let mut pair = Pair::new(0);
    pair.send(1, "t", b"one");
    pair.run(2);
    // Of the topic a slave learns when it asks; here it is told.
    let json = state::topics_json(&pair.master.broker.topics);
    pair.slave.handle(at(3), Input::Fetched { kind: StateKind::Topics, json: Some(json.into()) });
    let pull_at = |pair: &mut Pair, ms, offset| {
        let request = pull("t", offset, Some(9_000));
        pair.slave.handle(at(ms), Input::Request { caller: caller(1), request });
        let mut effects = std::iter::from_fn(|| pair.slave.poll(at(ms)));
        effects.find_map(|effect| match effect {
            Effect::Answer { response: BrokerResponse::Pulled(pulled), .. } => {
                Some((pulled.code, pulled.suggest))
            }
            Effect::Answer { response, .. } => panic!("{response:?}"),
            _ => None,
        })
    };
    assert_eq!(pull_at(&mut pair, 4, 0), Some((Code::Success, 0)));
    assert_eq!(pull_at(&mut pair, 5, 1), Some((Code::PullRetryImmediately, 0)), "ask the master");
    pair.cut_link(6);
    assert_eq!(pull_at(&mut pair, 7, 1), None, "held: nobody else can be asked");
}

/// What waits for a file gets it from the stop, which waits for all that is under way.
#[test]
fn a_slave_that_stops_takes_nothing_into_a_store_that_is_closed() {
    let mut pair = Pair::new(0);
    pair.send(1, "t", &[5; 1000]);
    pair.run(1);
    pair.slave.store.disk_mut().hold_completions(true);
    for ms in 2..12 {
        pair.send(ms, "t", &[5; 1000]);
        pair.run(ms);
    }
    let end = pair.slave.store().written().end();
    assert!(end < pair.master.broker.store().written().end(), "it waits for a file");
    pair.slave.stop(at(13)).expect("a clean stop");
    while pair.slave.poll(at(13)).is_some() {}
    assert_eq!(pair.slave.store().written().end(), end);
    let disk = pair.slave.into_store().into_disk().reopened();
    let (again, opened) = Broker::open(disk, settings(), slave_config(), at(14)).expect("it opens");
    assert_eq!((opened.clean, again.store().written().end()), (true, end));
}

/// `offsetCheckInSlave` is off. A consumer that were moved would commit what it has consumed long
/// ago, or skip what its master has.
#[test]
fn a_slave_leaves_a_consumer_where_it_is_whatever_it_lacks() {
    let mut pair = Pair::new(0);
    pair.send(1, "t", b"one");
    pair.run(2);
    let json = state::topics_json(&pair.master.broker.topics);
    pair.slave.handle(at(3), Input::Fetched { kind: StateKind::Topics, json: Some(json.into()) });
    let pull_at = |pair: &mut Pair, ms, queue, offset| {
        let BrokerRequest::Pull(mut wanted) = pull("t", offset, None) else { unreachable!() };
        wanted.from.queue = queue;
        let request = BrokerRequest::Pull(wanted);
        pair.slave.handle(at(ms), Input::Request { caller: caller(1), request });
        let mut effects = std::iter::from_fn(|| pair.slave.poll(at(ms)));
        effects.find_map(|effect| match effect {
            Effect::Answer { response: BrokerResponse::Pulled(pulled), .. } => {
                Some((pulled.code, pulled.next.get()))
            }
            _ => None,
        })
    };
    let there = Some((Code::PullRetryImmediately, 7));
    assert_eq!(pull_at(&mut pair, 4, 0, 7), there, "beyond its end: its master may be there");
    assert_eq!(pull_at(&mut pair, 4, 1, 7), there, "it has nothing of this queue");
    pair.cut_link(6);
    let gone = Some((Code::PullNotFound, 7));
    assert_eq!((pull_at(&mut pair, 7, 0, 7), pull_at(&mut pair, 7, 1, 7)), (gone, gone));
}

#[test]
fn consumers_that_are_far_behind_are_sent_to_a_slave() {
    let config = BrokerConfig { far_behind: Some(1_000), ..config() };
    let mut rig = Rig::open(PlainDisk::default(), config);
    for n in 0..40 {
        rig.sent(n, "t", &[1; 200]);
    }
    assert_eq!(rig.pulled(50, "t", 0).suggest, 1, "eight messages are left");
    assert_eq!(rig.pulled(51, "t", 32).suggest, 0);
}
