//! A broker as a process: its disk, its port, its machine, and the driver that turns it.

use std::cell::Cell;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf, absolute};
use std::pin::pin;
use std::sync::Arc;

use hotfire_core::broker;
use hotfire_net::rt::{self, TcpListener};
use hotfire_net::server::Limits;
use hotfire_storage::mapped::MappedDisk;
use hotfire_storage::{PARTINGS_KEPT, Parting};
use tokio::sync::Notify;

use crate::Failure;
use crate::cli::{BrokerArgs, Read};
use crate::config::BrokerConf;
use crate::driver::{BrokerEdges, run_broker};
use crate::listen::listen;
use crate::opening::Opening;
use crate::refusal;
use crate::signals::Signals;

/// Runs one until an operator stops it.
pub async fn run(args: &BrokerArgs) -> Result<(), Failure> {
    let conf = match args.read()? {
        Read::Conf(conf) => conf,
        Read::Print(text) => {
            crate::say(&text);
            return Ok(());
        }
    };
    let signals = Signals::take()?;
    let broker = Broker::open(&conf).await?;
    let (name, at) = (&conf.name, broker.addr());
    tracing::info!("the broker {name} is ready on {at}, told to clients as {}", conf.advertised);
    tracing::info!("{}", conf.promise());
    if conf.namesrv.0.is_empty() {
        tracing::warn!("no name server is known (-n, or namesrvAddr); clients find no route");
    }
    let is_over = Cell::new(false);
    let mut stop = pin!(async {
        signals.stop().await;
        is_over.set(true);
    });
    let mut broker = broker;
    // A slave whose log is not its master's starts anew with what is.
    while let Some(parting) = Box::pin(broker.serve(&mut stop)).await?.filter(|_| !is_over.get()) {
        part_log(&conf, parting)?;
        broker = Broker::open(&conf).await?;
    }
    Ok(())
}

/// Takes out of a slave's log what is not its master's.
fn part_log(conf: &BrokerConf, parting: Parting) -> Result<(), Failure> {
    match parting {
        Parting::Cut(at) => tracing::warn!(
            "this slave's log is not its master's from {at} on: it is cut there, and copied again"
        ),
        Parting::Begin(at) => tracing::warn!(
            "the master has nothing any more of what is in this slave's log: it begins anew at {at}"
        ),
    }
    let (mut disk, commit_log_dir) = open_disk(conf, Arc::new(Notify::new()))?;
    let settings = hotfire_storage::Settings { commit_log_dir, ..conf.store() };
    let parted = hotfire_storage::part(&mut disk, &settings, parting);
    let kept = parted.map_err(|why| refusal::of_store(&why, &conf.root.0))?;
    if let Some(kept) = kept {
        let (root, bytes) = (conf.root.0.display(), kept.bytes);
        tracing::warn!(
            bytes,
            "what this slave's log had there is kept as {root}/{kept}: delete these files when \
             nobody needs them; those of the newest {PARTINGS_KEPT} times are kept"
        );
    }
    Ok(())
}

/// A broker that has everything it needs to serve.
pub struct Broker {
    machine: broker::Broker<MappedDisk>,
    wake: Arc<Notify>,
    listeners: Vec<TcpListener>,
    ha: Option<TcpListener>,
    limits: Limits,
    name_servers: Vec<String>,
    addr: SocketAddr,
}

impl Broker {
    /// Takes what it needs, or says what is in the way. The port first: a store takes longer, and
    /// whoever is refused the port should not have recovered a store for nothing.
    pub async fn open(conf: &BrokerConf) -> Result<Self, Failure> {
        let mut listeners = vec![listen(conf.bind, conf.port, "--port").await?];
        let addr = listeners[0].local_addr().map_err(Failure::new)?;
        if let Some(port) = conf.fast_port() {
            listeners.push(listen(conf.bind, port, "fastListenPort (0: none)").await?);
        }
        let ha = match conf.ha_port() {
            Some(port) => Some(listen(conf.bind, port, "haListenPort (0: none)").await?),
            None => None,
        };
        let wake = Arc::new(Notify::new());
        let (disk, commit_log_dir) = open_disk(conf, Arc::clone(&wake))?;
        let settings = hotfire_storage::Settings { commit_log_dir, ..conf.store() };
        // The standard library's hasher is seeded by the system.
        let seed = std::hash::RandomState::new().build_hasher().finish();
        let (machine_conf, mut opening) = (conf.machine(seed), Opening::begin());
        let opened =
            broker::Broker::open_watched(disk, settings, machine_conf, rt::now(), &mut opening);
        drop(opening);
        let (machine, found) = opened.map_err(|why| refusal::of_broker(&why, &conf.root.0))?;
        let hotfire_storage::Opened { clean, end, records, cut, queues, .. } = found;
        let hotfire_storage::Opened { index_damaged, indexed_from, .. } = found;
        tracing::info!(clean, %end, records, ?cut, queues, seed, "{} is open", conf.root);
        if let Some(damaged) = index_damaged {
            tracing::warn!(%indexed_from, "{damaged} was damaged; it was made anew from the log");
        }
        Ok(Self {
            machine,
            wake,
            addr,
            listeners,
            ha,
            limits: conf.connections.limits(),
            name_servers: conf.namesrv.0.clone(),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop`, then closes the store. As a slave, perhaps earlier: then the log is to
    /// be parted from what is not its master's.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<Option<Parting>, Failure> {
        let Self { machine, wake, listeners, ha, limits, name_servers, .. } = self;
        let edges = BrokerEdges { listeners, name_servers, ha, limits, wake };
        let (machine, stopped) = run_broker(machine, edges, stop).await;
        stopped.map_err(|why| {
            Failure::new(format!(
                "the store was not closed cleanly, the next start repairs it: {why}"
            ))
        })?;
        tracing::info!("the broker has stopped, its store is closed");
        Ok(machine.parting())
    }
}

fn open_disk(conf: &BrokerConf, wake: Arc<Notify>) -> Result<(MappedDisk, String), Failure> {
    let root = &conf.root.0;
    let disk = MappedDisk::open(root, move || wake.notify_one());
    let mut disk = disk.map_err(|why| refusal::of_lock(&why))?;
    let dir = place_commit_log(root, &conf.commit_log.0).map_err(|why| {
        let place = conf.commit_log.0.display();
        Failure::new(format!("cannot use storePathCommitLog = {place}: {why}"))
    })?;
    disk.set_usage(&dir, conf.memory.usage());
    Ok((disk, dir))
}

/// The name of the default directory in the root.
const COMMIT_LOG: &str = "commitlog";

/// The CommitLog's directory relative to the root. One that lies elsewhere is reached by a link
/// in the root: the store's paths stay below one directory.
fn place_commit_log(root: &Path, wanted: &Path) -> io::Result<String> {
    if wanted.as_os_str().is_empty() {
        return Ok(COMMIT_LOG.into());
    }
    let (root, wanted) = (absolute(root)?, absolute(wanted)?);
    if let Ok(inside) = wanted.strip_prefix(&root) {
        let parts: Option<Vec<_>> = inside.iter().map(|part| part.to_str()).collect();
        let parts = parts.filter(|parts| !parts.is_empty() && !parts.contains(&".."));
        let parts = parts.ok_or_else(|| io::Error::other("it is not a directory of the root"))?;
        return Ok(parts.join("/"));
    }
    fs::create_dir_all(&wanted)?;
    let link = root.join(COMMIT_LOG);
    let found: Option<PathBuf> = match fs::symlink_metadata(&link) {
        Ok(_) => Some(fs::read_link(&link).unwrap_or_else(|_| link.clone())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => None,
        Err(why) => return Err(why),
    };
    match found {
        None => symlink(&wanted, &link)?,
        Some(target) if target == wanted => {}
        Some(target) => {
            let target = target.display();
            return Err(io::Error::other(format!("the store has its log at {target} already")));
        }
    }
    Ok(COMMIT_LOG.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_elsewhere_is_reached_by_a_link_that_is_not_bent_later() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("store");
        fs::create_dir(&root).expect("made");
        let place = |path: PathBuf| place_commit_log(&root, &path);
        assert_eq!(place(PathBuf::new()).expect("the default"), "commitlog");
        assert_eq!(place(root.join("a/log")).expect("inside"), "a/log");
        assert!(place(root.clone()).is_err(), "the root itself");
        let elsewhere = dir.path().join("fast/log");
        for _ in 0..2 {
            assert_eq!(place(elsewhere.clone()).expect("linked"), "commitlog");
        }
        assert_eq!(fs::read_link(root.join("commitlog")).expect("a link"), elsewhere);
        let why = place(dir.path().join("other")).expect_err("it has a log").to_string();
        assert!(why.starts_with("the store has its log at "), "{why}");
    }
}
