//! A broker group of real processes: a name server, a master, a slave that follows it through a
//! [`Proxy`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::audit::{Audit, Scene};
use crate::process::{Ended, Hotfire, PATIENCE, free_port};
use crate::proxy::Proxy;

/// The topic of all messages.
pub const TOPIC: &str = "Replicated";

/// A process that may be down.
pub struct Node {
    conf: PathBuf,
    root: PathBuf,
    /// Where clients find it.
    pub port: u16,
    /// Where slaves do.
    pub ha_port: u16,
    process: Option<Hotfire>,
}

/// A name server, on a port of its own.
pub struct Names {
    /// Where it answers.
    pub port: u16,
    _process: Hotfire,
}

impl Names {
    /// Starts one with these further lines in its file, which lies in `dir` under `name`.
    pub fn start(dir: &Path, name: &str, lines: &str) -> Self {
        let port = free_port();
        let (conf, kv) = (dir.join(format!("{name}.conf")), dir.join(format!("{name}.json")));
        let text = format!(
            "bindAddress=127.0.0.1\nlistenPort={port}\nkvConfigPath={}\n{lines}\n",
            kv.display()
        );
        fs::write(&conf, text).expect("written");
        let conf = conf.to_str().expect("a printable temporary directory");
        let mut process = Hotfire::start(["namesrv", "-c", conf]);
        process.wait_for_log("is ready on");
        Self { port, _process: process }
    }
}

impl Node {
    /// One that is down yet: its files lie in `dir` under `name`, and these are further lines of
    /// its `broker.conf`.
    pub fn new(dir: &Path, name: &str, lines: &str) -> Self {
        let (port, ha_port, root) = (free_port(), free_port(), dir.join(name));
        let conf = dir.join(format!("{name}.conf"));
        let text = format!(
            "brokerName=pair\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nlistenPort={port}\n\
             haListenPort={ha_port}\nfastListenPort=0\nstorePathRootDir={}\n\
             mappedFileSizeCommitLog=1048576\nmaxMessageSize=65536\n{lines}\n",
            root.display()
        );
        fs::write(&conf, text).expect("written");
        Self { conf, root, port, ha_port, process: None }
    }

    /// Where its store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        let conf = self.conf.to_str().expect("a printable temporary directory");
        let mut process = Hotfire::start(["broker", "-c", conf]);
        process.wait_for_log("is ready on");
        self.process = Some(process);
    }

    /// The process.
    pub fn process(&mut self) -> &mut Hotfire {
        self.process.as_mut().expect("it runs")
    }

    /// An operator's SIGTERM, and how it ended.
    pub fn stop(&mut self) -> Ended {
        self.process.take().expect("it runs").stop()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// The bytes of its log's files, by name.
    pub fn log(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.root.join("commitlog")).expect("it has a log");
        let files = files.map(|entry| entry.expect("readable").path());
        let name = |path: &Path| path.file_name().expect("it has one").to_string_lossy().into();
        let named = files.map(|path| (name(&path), fs::read(&path).expect("readable")));
        named.filter(|(name, _): &(String, _)| name.bytes().all(|b| b.is_ascii_digit())).collect()
    }
}

/// All of them.
pub struct Group {
    /// Takes messages.
    pub master: Node,
    /// Copies it.
    pub slave: Node,
    /// The wire between them.
    pub wire: Proxy,
    /// Knows them.
    pub names: Names,
    scene: Scene,
}

impl Group {
    /// Starts a master with these further lines in its `broker.conf`; the slave gets the second.
    pub fn start(master: &str, slave: &str) -> Self {
        Self::start_with("", master, slave)
    }

    /// The same, with further lines in the name server's file.
    pub fn start_with(names: &str, master: &str, slave: &str) -> Self {
        let scene = Scene::new();
        let dir = scene.path();
        let names = Names::start(dir, "names", names);
        let told = format!("namesrvAddr=127.0.0.1:{}", names.port);
        let mut master = Node::new(dir, "master", &format!("brokerId=0\n{told}\n{master}"));
        master.start();
        let wire = Proxy::to(master.ha_port);
        let lines = format!(
            "brokerId=1\nbrokerRole=SLAVE\nhaMasterAddress=127.0.0.1:{}\n{told}\n{slave}",
            wire.port()
        );
        let mut slave = Node::new(dir, "slave", &lines);
        slave.start();
        Self { master, slave, wire, names, scene }
    }

    /// Begins to write down what the master acknowledges.
    pub fn audit(&self) -> Audit {
        Audit::begin(self.scene.path(), TOPIC)
    }

    /// Waits until both logs are the same, byte for byte.
    pub fn wait_until_same(&self) {
        let deadline = Instant::now() + PATIENCE * 2;
        while !self.is_same() {
            assert!(Instant::now() < deadline, "the logs do not become the same");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Files that are allocated ahead hold nothing.
    fn is_same(&self) -> bool {
        let (ours, theirs) = (self.master.log(), self.slave.log());
        let is_empty = |bytes: &Vec<u8>| bytes.iter().all(|byte| *byte == 0);
        let names = ours.keys().chain(theirs.keys());
        names.into_iter().all(|name| match (ours.get(name), theirs.get(name)) {
            (Some(one), Some(other)) => one == other,
            (Some(only), None) | (None, Some(only)) => is_empty(only),
            (None, None) => true,
        })
    }
}
