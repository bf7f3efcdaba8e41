//! The connections between slaves and master: bytes in order, late, cut anywhere, or swallowed.

use std::collections::BTreeMap;

use bytes::Bytes;
use hotfire_core::broker::HaInput;
use hotfire_core::ha::LinkId;
use hotfire_storage::position::Physical;

use super::impostor;
use crate::choose::{Choose, Stream, pick};
use crate::plan::NetFaults;

/// What travels on a connection.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    wire: u64,
    /// To the master?
    to_master: bool,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Opened,
    Connected,
    /// No connection came about.
    Refused,
    Report(i64),
    Piece(Physical, Bytes, u64),
    Taken(u64),
    Ended,
}

/// A connection.
#[derive(Debug)]
struct Wire {
    /// `None`: a stranger's.
    slave: Option<usize>,
    /// Does what is sent to a stranger find room?
    reads: bool,
    /// Does a stranger acknowledge what it is sent?
    parrots: bool,
    /// Somebody else is where the master should be, and has said nothing yet; bytes of a file.
    impostor: Option<u64>,
    /// Does each end still have it?
    master_has: bool,
    slave_has: bool,
    /// When the last parcel arrives, each way.
    last: [u64; 2],
    /// Swallows what is said, each way.
    mute: [bool; 2],
}

/// All of them.
#[derive(Debug)]
pub(super) struct Wires {
    net: NetFaults,
    luck: Stream,
    known: BTreeMap<u64, Wire>,
    next: u64,
    calm: bool,
}

type Sent = Vec<(u64, Parcel)>;

impl Wires {
    pub(super) fn new(net: NetFaults, luck: Stream) -> Self {
        Self { net, luck, known: BTreeMap::new(), next: 1, calm: false }
    }

    fn latency(&mut self) -> u64 {
        let (least, most) = (self.net.latency_min_us, self.net.latency_max_us);
        let stall = !self.calm && self.luck.chance(self.net.stall, "wire.stall");
        let most = if stall { self.net.stall_max_us.max(most) } else { most };
        self.luck.range(least, most.max(least) + 1, "wire.latency")
    }

    fn carry(&mut self, now: u64, wire: u64, to_master: bool, what: What) -> Sent {
        let latency = self.latency();
        let Some(known) = self.known.get_mut(&wire) else { return Vec::new() };
        let last = &mut known.last[usize::from(to_master)];
        *last = (now + latency).max(*last + 1);
        let when = *last;
        // Mute ends hear no goodbyes either.
        if known.mute[usize::from(to_master)] {
            return Vec::new();
        }
        vec![(when, Parcel { wire, to_master, what })]
    }

    fn newest(&self, slave: usize) -> Option<u64> {
        let mut wires = self.known.iter().rev();
        wires.find(|(_, wire)| wire.slave == Some(slave) && wire.slave_has).map(|(id, _)| *id)
    }

    fn open(&mut self, now: u64, slave: Option<usize>) -> (u64, &mut Wire) {
        let id = self.next;
        self.next += 1;
        let wire = Wire {
            slave,
            reads: true,
            parrots: false,
            impostor: None,
            master_has: true,
            slave_has: true,
            last: [now, now],
            mute: [false, false],
        };
        (id, self.known.entry(id).or_insert(wire))
    }

    /// A slave connects where its master should be, and somebody else is there.
    pub(super) fn mislead(&mut self, now: u64, slave: usize, file_len: u64) -> Sent {
        let (id, wire) = self.open(now, Some(slave));
        (wire.master_has, wire.impostor) = (false, Some(file_len));
        self.carry(now, id, false, What::Connected)
    }

    pub(super) fn connect(&mut self, now: u64, slave: usize, master_is_up: bool) -> Sent {
        let (id, wire) = self.open(now, Some(slave));
        wire.master_has = master_is_up;
        if !master_is_up {
            return self.carry(now, id, false, What::Refused);
        }
        let mut sent = self.carry(now, id, true, What::Opened);
        sent.extend(self.carry(now, id, false, What::Connected));
        sent
    }

    pub(super) fn report(&mut self, now: u64, slave: usize, position: Physical) -> Sent {
        let Some(id) = self.newest(slave) else { return Vec::new() };
        let offset = i64::try_from(position.get()).expect("logs are short");
        self.carry(now, id, true, What::Report(offset))
    }

    /// A frame, in pieces as a socket may cut it.
    pub(super) fn frame(&mut self, now: u64, link: LinkId, at: Physical, bytes: Bytes) -> Sent {
        let mut sent = Vec::new();
        let (mut at, mut rest, mut head) = (at, bytes, 12);
        loop {
            let len = rest.len();
            let is_cut = len > 1 && self.luck.chance(300, "wire.cut_piece");
            let len = if is_cut { 1 + self.luck.index(len - 1, "wire.piece") } else { len };
            let piece = rest.split_to(len);
            let cost = piece.len() as u64 + std::mem::take(&mut head);
            sent.extend(self.carry(now, link.0, false, What::Piece(at, piece, cost)));
            at = at.plus(len as u64);
            if rest.is_empty() {
                return sent;
            }
        }
    }

    /// The master closes; what it wrote arrives first.
    pub(super) fn close(&mut self, now: u64, link: LinkId) -> Sent {
        let sent = self.carry(now, link.0, false, What::Ended);
        if let Some(wire) = self.known.get_mut(&link.0) {
            wire.master_has = false;
        }
        sent
    }

    /// The slave closes.
    pub(super) fn hang_up(&mut self, now: u64, slave: usize) -> Sent {
        let Some(id) = self.newest(slave) else { return Vec::new() };
        let sent = self.carry(now, id, true, What::Ended);
        if let Some(wire) = self.known.get_mut(&id) {
            wire.slave_has = false;
        }
        sent
    }

    /// A process died. Its kernel says so, unless the power is gone.
    pub(super) fn died(&mut self, now: u64, node: usize, power: bool) -> Sent {
        let mut sent = Vec::new();
        let of = |wire: &Wire| node == 0 || wire.slave == Some(node);
        let ids: Vec<u64> =
            self.known.iter().filter(|(_, wire)| of(wire)).map(|(id, _)| *id).collect();
        for id in ids {
            if !power {
                sent.extend(self.carry(now, id, node != 0, What::Ended));
            }
            let wire = self.known.get_mut(&id).expect("it was just listed");
            if node == 0 {
                wire.master_has = false;
            } else {
                wire.slave_has = false;
            }
            if power {
                wire.mute = [true, true];
            }
        }
        self.known.retain(|_, wire| wire.master_has || wire.slave_has);
        sent
    }

    /// Cuts a connection: both ends learn of it, or one of them later on.
    pub(super) fn cut(&mut self, now: u64, luck: &mut Stream) -> Sent {
        let Some(id) = self.any(luck) else { return Vec::new() };
        let mut sent = self.carry(now, id, true, What::Ended);
        sent.extend(self.carry(now, id, false, What::Ended));
        let wire = self.known.get_mut(&id).expect("it was just chosen");
        wire.mute = [true, true];
        if luck.chance(300, "wire.half_open") {
            sent.truncate(1);
        }
        sent
    }

    /// Cuts a slave's connection, as both ends hear.
    pub(super) fn cut_of(&mut self, now: u64, slave: usize) -> Sent {
        let Some(id) = self.newest(slave) else { return Vec::new() };
        let mut sent = self.carry(now, id, true, What::Ended);
        sent.extend(self.carry(now, id, false, What::Ended));
        sent
    }

    /// A connection swallows what is said on it from now on, one way or both.
    pub(super) fn mute(&mut self, luck: &mut Stream) {
        let Some(id) = self.any(luck) else { return };
        let ways = luck.index(3, "wire.mute");
        let wire = self.known.get_mut(&id).expect("it was just chosen");
        // What is lost of a stream stays lost: no later byte may arrive, whatever strikes next.
        wire.mute = [wire.mute[0] || ways != 1, wire.mute[1] || ways != 0];
    }

    fn any(&mut self, luck: &mut Stream) -> Option<u64> {
        let ids: Vec<u64> = self.known.keys().copied().collect();
        if ids.is_empty() { None } else { Some(ids[luck.index(ids.len(), "wire.which")]) }
    }

    /// Nothing bad happens from now on; mute connections stay mute, and are given up.
    pub(super) fn heal(&mut self) {
        self.calm = true;
    }

    /// A stranger connects to the master, says some positions, and goes or stays. `acts`: it may
    /// say what a slave might.
    pub(super) fn stranger(&mut self, now: u64, luck: &mut Stream, end: u64, acts: bool) -> Sent {
        let (id, wire) = self.open(now, None);
        wire.reads = luck.chance(500, "stranger.reads");
        wire.parrots = acts && luck.chance(500, "stranger.parrots");
        let mut sent = self.carry(now, id, true, What::Opened);
        let end = i64::try_from(end).expect("logs are short");
        let mut later = now;
        for number in 0..luck.below(5, "stranger.reports") {
            // Behind its first word, what it says must be more than it can have been sent.
            let is_free = acts || number == 0;
            let all = [end, 0, 1, end / 2, end + 1, i64::MAX, -1, i64::MIN];
            let words = if is_free { &all[..] } else { &all[5..] };
            later += luck.below(3_000_000, "stranger.pause");
            sent.extend(self.carry(later, id, true, What::Report(*pick(luck, words, "stranger"))));
        }
        if luck.chance(500, "stranger.goes") {
            sent.extend(self.carry(later, id, true, What::Ended));
        }
        sent
    }

    /// Of a parcel to a slave: to which.
    pub(super) fn slave_of(&self, parcel: &Parcel) -> Option<usize> {
        let wire = self.known.get(&parcel.wire).filter(|_| !parcel.to_master)?;
        wire.slave
    }

    /// Of a parcel to the master: whose it is.
    pub(super) fn of_slave(&self, parcel: &Parcel) -> Option<usize> {
        self.known.get(&parcel.wire).filter(|_| parcel.to_master)?.slave
    }

    /// Which slave is at the other end.
    pub(super) fn behind(&self, link: LinkId) -> Option<usize> {
        self.known.get(&link.0)?.slave
    }

    /// Who hears what, if the end is there that it was sent to.
    pub(super) fn arrive(&mut self, parcel: &Parcel) -> Option<(usize, HaInput)> {
        let link = LinkId(parcel.wire);
        let wire = self.known.get_mut(&parcel.wire)?;
        let has = if parcel.to_master { wire.master_has } else { wire.slave_has };
        if !has {
            return None;
        }
        let host = wire.slave.map_or(200, |slave| u8::try_from(slave + 1).expect("few"));
        let peer = ([10, 0, 0, host], 4000).into();
        let at = if parcel.to_master { 0 } else { wire.slave? };
        let input = match &parcel.what {
            What::Opened => HaInput::Opened { link, peer },
            What::Connected => HaInput::Connected,
            What::Report(offset) => HaInput::Reported { link, offset: *offset },
            What::Piece(at, bytes, _) => HaInput::Piece { at: *at, bytes: bytes.clone() },
            What::Taken(bytes) => HaInput::Taken { link, bytes: *bytes },
            What::Ended if parcel.to_master => {
                wire.master_has = false;
                HaInput::Closed { link }
            }
            What::Ended | What::Refused => {
                wire.slave_has = false;
                HaInput::Ended { why: "it ended".into() }
            }
        };
        Some((at, input))
    }

    /// What a stranger, or an impostor, does with what it is sent.
    pub(super) fn swallow(&mut self, now: u64, parcel: &Parcel) -> Sent {
        let mut sent: Sent = self.taken(now, parcel).into_iter().collect();
        if let What::Report(asked) = parcel.what
            && let Some(wire) = self.known.get_mut(&parcel.wire)
            && let Some(file_len) = wire.impostor.take()
        {
            for (at, bytes) in impostor::answers(&mut self.luck, asked, file_len) {
                sent.extend(self.frame(now, LinkId(parcel.wire), at, bytes));
            }
            if self.luck.chance(500, "impostor.goes") {
                sent.extend(self.carry(now, parcel.wire, false, What::Ended));
            }
        }
        if let What::Piece(at, bytes, _) = &parcel.what
            && self.known.get(&parcel.wire).is_some_and(|wire| wire.parrots)
        {
            let end = at.plus(bytes.len() as u64).get();
            let report = What::Report(i64::try_from(end).expect("logs are short"));
            sent.extend(self.carry(now, parcel.wire, true, report));
        }
        sent
    }

    /// The other kernel took a piece: the master's socket has room again.
    pub(super) fn taken(&mut self, now: u64, parcel: &Parcel) -> Option<(u64, Parcel)> {
        let What::Piece(_, _, cost) = &parcel.what else { return None };
        self.known.get(&parcel.wire).filter(|wire| wire.reads)?;
        self.carry(now, parcel.wire, true, What::Taken(*cost)).pop()
    }
}
