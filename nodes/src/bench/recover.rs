//! How long a killed broker takes to open: from exec to the first pull that is answered with a
//! message. Two stores, one of many messages and one of many queues, are filled once; each start
//! finds them as the kill left them. Another broker can be measured in turn on the same files and
//! the same configuration.

mod fill;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hotfire_core::domain::{BrokerRequest, BrokerResponse, Pull, QueueRef};
use hotfire_net::rt;
use hotfire_storage::text::Text;
use rustix::fs::Advice;
use serde::Serialize;

use self::fill::Shape;
use super::node::{Node, free_port, median_and_worst, this};
use super::session::Session;
use crate::Failure;
use crate::cli::{BrokerArgs, Read, RecoverArgs, RecoverWhat};

/// A start that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two attempts to connect: small beside what is measured.
const RETRY: Duration = Duration::from_millis(1);
/// Queues of a topic, as Apache has it by default.
const QUEUES: u32 = 8;
/// Messages of each queue in the store of many queues.
const FEW: u64 = 5;
/// In that store, one topic in so many gets messages that no checkpoint covers.
const BUSY: u32 = 10;

/// What was measured of both stores.
#[derive(Clone, Debug, Serialize)]
pub struct RecoverReport {
    stores: Vec<StoreReport>,
}

/// What was measured of one store.
#[derive(Clone, Debug, Serialize)]
struct StoreReport {
    store: &'static str,
    messages: u64,
    body_bytes: usize,
    queues: u64,
    /// Messages behind the checkpoint.
    tail: u64,
    log_bytes: u64,
    /// Was the store's data read from the medium?
    cold: bool,
    runs: u32,
    /// Median and worst.
    hotfire_ms: (f64, f64),
    beside_ms: Option<(f64, f64)>,
    /// Why the other broker did not open the store.
    beside_failed: Option<String>,
}

/// Measures.
pub async fn run(args: &RecoverArgs) -> Result<RecoverReport, Failure> {
    let mut stores = Vec::new();
    if args.what != RecoverWhat::Queues {
        let shape = Shape {
            topics: 1,
            queues: QUEUES,
            messages: args.messages,
            body: args.size,
            tail: args.tail.min(args.messages),
            busy_topics: 1,
        };
        stores.push(Bench::new(args, "messages", shape, "")?.measure().await?);
    }
    if args.what != RecoverWhat::Messages {
        let topics = args.queues.div_ceil(QUEUES);
        let messages = u64::from(topics * QUEUES) * FEW;
        let shape = Shape {
            topics,
            queues: QUEUES,
            messages,
            body: args.size,
            tail: args.tail.min(messages / 2),
            busy_topics: topics.div_ceil(BUSY),
        };
        // Default files would take a terabyte: 6 MB a queue.
        let conf = "mappedFileSizeConsumeQueue=1000\n";
        stores.push(Bench::new(args, "queues", shape, conf)?.measure().await?);
    }
    Ok(RecoverReport { stores })
}

/// One store and what is done to it.
struct Bench<'a> {
    args: &'a RecoverArgs,
    name: &'static str,
    shape: Shape,
    dir: PathBuf,
    port: u16,
}

impl<'a> Bench<'a> {
    fn new(
        args: &'a RecoverArgs,
        name: &'static str,
        shape: Shape,
        conf: &str,
    ) -> Result<Self, Failure> {
        let dir = std::path::absolute(args.dir.join(name)).map_err(Failure::new)?;
        fs::create_dir_all(&dir).map_err(Failure::new)?;
        let (port, root) = (free_port()?, dir.display());
        let text = format!(
            "bindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\nbrokerName=bench\n\
             brokerId=0\nlistenPort={port}\nhaListenPort=0\nfastListenPort=0\n\
             storePathRootDir={root}/store\n\
             storePathCommitLog={root}/store/commitlog\n{conf}"
        );
        fs::write(dir.join("broker.conf"), text).map_err(Failure::new)?;
        Ok(Self { args, name, shape, dir, port })
    }

    fn conf(&self) -> PathBuf {
        self.dir.join("broker.conf")
    }

    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn saved(&self) -> PathBuf {
        self.dir.join("saved")
    }

    async fn measure(&self) -> Result<StoreReport, Failure> {
        self.prepare()?;
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        let mut beside_failed = None;
        for run in 0..self.args.runs {
            let mut command = Command::new(this()?);
            ours.push(self.start(command.arg("broker").arg("-c").arg(self.conf())).await?);
            tracing::info!(store = self.name, run, took = ?ours.last(), "hotfire is open");
            if let (Some(beside), None) = (&self.args.beside, &beside_failed) {
                let text = format!("exec {beside} -c '{}'", self.conf().display());
                match self.start(Command::new("sh").arg("-c").arg(text)).await {
                    Ok(took) => theirs.push(took),
                    Err(why) => beside_failed = Some(why.to_string()),
                }
                tracing::info!(store = self.name, run, took = ?theirs.last(), "the other is open");
            }
        }
        let report = StoreReport {
            store: self.name,
            messages: self.shape.messages,
            body_bytes: self.shape.body,
            queues: u64::from(self.shape.topics) * u64::from(self.shape.queues),
            tail: self.shape.tail,
            log_bytes: bytes_below(&self.store().join("commitlog")).map_err(Failure::new)?,
            cold: self.args.cold,
            runs: self.args.runs,
            hotfire_ms: median_and_worst(ours),
            beside_ms: (!theirs.is_empty()).then(|| median_and_worst(theirs)),
            beside_failed,
        };
        if !self.args.keep {
            fs::remove_dir_all(&self.dir).map_err(Failure::new)?;
        }
        Ok(report)
    }

    /// Fills the store, unless an earlier run kept it, and saves what a start changes.
    fn prepare(&self) -> Result<(), Failure> {
        let whole = self.dir.join("filled");
        let told = format!("{:?}", self.shape);
        if fs::read_to_string(&whole).is_ok_and(|found| found == told) {
            return Ok(());
        }
        for old in [self.store(), self.saved()] {
            if old.exists() {
                fs::remove_dir_all(old).map_err(Failure::new)?;
            }
        }
        let args = BrokerArgs { config: Some(self.conf()), ..BrokerArgs::default() };
        let Read::Conf(conf) = args.read()? else {
            return Err(Failure::new("a configuration that is printed is not run"));
        };
        fill::fill(&self.store(), conf.store(), &self.shape)?;
        self.save().map_err(Failure::new)?;
        fs::write(whole, told).map_err(Failure::new)
    }

    /// Copies what recovery changes: everything but the log and the queues, which it only
    /// completes, and which are complete.
    fn save(&self) -> io::Result<()> {
        fs::create_dir_all(self.saved())?;
        for entry in fs::read_dir(self.store())? {
            let entry = entry?;
            if !is_data(&entry.file_name()) {
                copy(&entry.path(), &self.saved().join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// As the kill left it.
    fn restore(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.store())? {
            let entry = entry?;
            if is_data(&entry.file_name()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        for entry in fs::read_dir(self.saved())? {
            let entry = entry?;
            copy(&entry.path(), &self.store().join(entry.file_name()))?;
        }
        rustix::fs::syncfs(File::open(self.store())?)?;
        if self.args.cold {
            forget(&self.store())?;
        }
        Ok(())
    }

    /// From exec to the first message pulled; then the process is killed.
    async fn start(&self, command: &mut Command) -> Result<Duration, Failure> {
        self.restore().map_err(Failure::new)?;
        let begun = Instant::now();
        let mut node = Node::start(command)?;
        let mut why = None;
        while begun.elapsed() < PATIENCE {
            node.check()?;
            match self.pull().await {
                Ok(()) => return Ok(begun.elapsed()),
                Err(refusal) => why = Some(refusal),
            }
            rt::sleep(RETRY).await;
        }
        Err(why.unwrap_or_else(|| Failure::new("no answer")))
    }

    async fn pull(&self) -> Result<(), Failure> {
        let mut session = Session::connect(&format!("127.0.0.1:{}", self.port)).await?;
        let pull = Pull {
            group: Text::from_static("hotfire-bench"),
            from: QueueRef { topic: Text::from(Shape::topic(0)), queue: 0 },
            offset: 0,
            max_messages: 1,
            max_bytes: None,
            commit: None,
            hold_ms: None,
            subscription: Some(Text::from_static("*")),
            sub_version: 0,
            expression_type: Some(Text::from_static("TAG")),
        };
        let reply = session.ask(&BrokerRequest::Pull(Box::new(pull))).await?;
        match reply.response {
            BrokerResponse::Pulled(pulled) if pulled.next.get() == 1 => Ok(()),
            other => Err(Failure::new(format!("the first pull was refused: {other:?}"))),
        }
    }
}

fn is_data(name: &std::ffi::OsStr) -> bool {
    name == "commitlog" || name == "consumequeue"
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn bytes_below(dir: &Path) -> io::Result<u64> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// Has the kernel forget the pages of every file; directories and inodes it keeps.
fn forget(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return Ok(rustix::fs::fadvise(File::open(path)?, 0, None, Advice::DontNeed)?);
    }
    fs::read_dir(path)?.try_for_each(|entry| forget(&entry?.path()))
}

impl fmt::Display for RecoverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for store in &self.stores {
            write!(f, "{between}{store}")?;
            between = "\n";
        }
        Ok(())
    }
}

impl fmt::Display for StoreReport {
    // Rates for people: what a float cannot hold exactly is not shown.
    #[allow(clippy::cast_precision_loss)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, body_bytes, queues, tail, runs, .. } = self;
        let gigabytes = self.log_bytes as f64 / 1e9;
        let cache = if self.cold { "cold" } else { "warm" };
        writeln!(
            f,
            "{}: {messages} messages of {body_bytes} bytes, {queues} queues, {gigabytes:.1} GB of \
             log, {tail} messages behind the checkpoint, killed; page cache {cache}",
            self.store
        )?;
        writeln!(f, "  exec to first pull answered    median      worst of {runs}")?;
        let mut rows = vec![("hotfire", self.hotfire_ms)];
        rows.extend(self.beside_ms.map(|took| ("the other", took)));
        for (who, (median, worst)) in rows {
            writeln!(f, "  {who:<24} {median:>9.0} ms {worst:>9.0} ms")?;
        }
        match (self.beside_ms, &self.beside_failed) {
            (Some((median, _)), _) => write!(f, "  ratio {:.1}", median / self.hotfire_ms.0),
            (None, Some(why)) => write!(f, "  the other did not open it: {why}"),
            (None, None) => write!(f, "  nothing to compare with"),
        }
    }
}
