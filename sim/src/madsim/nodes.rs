//! The nodes of servers, and what `hotfire namesrv` does on one.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hotfire_core::machine::{Digest, Machine as _};
use hotfire_core::namesrv::{KvConfig, NameServer, NameServerConfig};
use hotfire_net::rt;
use hotfire_net::server::{self, Limits};
use hotfire_nodes::driver::{NamesrvEdges, run_namesrv};
use hotfire_storage::text::Text;
use tokio::sync::watch;

use super::disks::Berth;
use crate::oracle::image::Image;
use crate::trace::{Column, Mark};

/// Where brokers listen.
pub(super) const PORT: u16 = 10911;
/// `haListenPort`, unless it is set.
const HA_PORT: u16 = PORT + 1;

/// A server's node, whichever process runs on it.
pub(super) struct Host {
    /// Its name; a master's is also its broker name.
    pub(super) name: Text,
    /// A broker's name; its own, of who is none.
    pub(super) group: Text,
    /// A slave's place in it; 0: a master, or no broker.
    pub(super) number: u8,
    /// `host:port`.
    pub(super) addr: Text,
    pub(super) log: Column,
    /// A broker's place for its disk.
    pub(super) berth: Option<Berth>,
    /// The present process's number.
    pub(super) life: AtomicU32,
    /// The process serves.
    pub(super) is_up: AtomicBool,
    /// The process ended by itself.
    pub(super) has_exited: AtomicBool,
    /// A slave's operator gives its log up at the next start.
    pub(super) gives_up: AtomicBool,
    /// The last process that was asked to stop in order.
    stop: watch::Sender<u32>,
    last: Mutex<Option<Last>>,
}

/// What a process that stopped in order left.
pub(super) struct Last {
    pub(super) digest: u64,
    /// A broker's store.
    pub(super) image: Option<Image>,
}

impl Host {
    pub(super) fn new(name: String, addr: String, log: Column, berth: Option<Berth>) -> Self {
        let name = Text::from(name);
        Self {
            group: name.clone(),
            number: 0,
            name,
            addr: addr.into(),
            log,
            berth,
            life: AtomicU32::new(0),
            is_up: AtomicBool::new(false),
            has_exited: AtomicBool::new(false),
            gives_up: AtomicBool::new(false),
            stop: watch::channel(0).0,
            last: Mutex::new(None),
        }
    }

    /// The host of slave `number` of a master.
    pub(super) fn slave(
        name: String,
        master: &Text,
        number: u8,
        log: Column,
        berth: Berth,
    ) -> Self {
        let addr = format!("10.5.{}.{number}:{PORT}", &master["broker-".len()..]);
        Self { group: master.clone(), number, ..Self::new(name, addr, log, Some(berth)) }
    }

    /// Its address without its port.
    pub(super) fn ip(&self) -> Text {
        let (ip, _) = self.addr.split_once(':').expect("ours has a port");
        ip.into()
    }

    /// Where a broker lets slaves copy its log.
    pub(super) fn ha_addr(&self) -> String {
        format!("{}:{HA_PORT}", self.ip())
    }

    pub(super) fn is_slave(&self) -> bool {
        self.number > 0
    }

    /// A broker's place for its disk.
    pub(super) fn berth(&self) -> &Berth {
        self.berth.as_ref().expect("a broker has a disk")
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// Does this process serve?
    pub(super) fn is_life(&self, life: u32) -> bool {
        self.is_up() && self.life.load(Ordering::Relaxed) == life
    }

    /// Was this process, or a later one, asked to stop in order?
    pub(super) fn was_asked_to_stop(&self, life: u32) -> bool {
        *self.stop.borrow() >= life
    }

    /// Asks the present process to stop in order.
    pub(super) fn ask_to_stop(&self) {
        self.stop.send_replace(self.life.load(Ordering::Relaxed));
    }

    pub(super) async fn stopped(&self, life: u32) {
        // Its sender is this host.
        let _ = self.stop.subscribe().wait_for(|asked| *asked >= life).await;
    }

    /// What the last process left, if it stopped in order.
    pub(super) fn take_last(&self) -> Option<Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn leave(&self, digest: Digest, image: Option<Image>) {
        let last = Last { digest: digest.value(), image };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    pub(super) fn began(&self) -> u32 {
        let life = self.life.fetch_add(1, Ordering::Relaxed) + 1;
        self.has_exited.store(false, Ordering::Relaxed);
        self.take_last();
        life
    }

    pub(super) fn exited(&self) {
        self.is_up.store(false, Ordering::Relaxed);
        self.has_exited.store(true, Ordering::Relaxed);
    }
}

/// A name server's process. It keeps nothing: each starts empty.
pub(super) async fn name_server(host: Arc<Host>) {
    let life = host.began();
    let listener = server::bind(&host.addr).await.expect("the port is free again after a kill");
    host.is_up.store(true, Ordering::Relaxed);
    host.log.say(Mark::Up, format_args!("empty"));
    let machine = NameServer::new(NameServerConfig::default(), KvConfig::default(), rt::now());
    let edges = NamesrvEdges {
        listeners: vec![listener],
        limits: Limits::default(),
        save_kv: |_: &KvConfig| {},
    };
    let machine = run_namesrv(machine, edges, host.stopped(life)).await;
    machine.verify();
    let mut digest = Digest::new();
    machine.digest(&mut digest);
    host.leave(digest, None);
    host.log.say(Mark::Note, format_args!("stopped"));
    host.exited();
}
