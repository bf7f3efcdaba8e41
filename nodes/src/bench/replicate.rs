//! What a promise costs: sends to a broker that flushes before it answers, or whose slave must hold
//! the message, or both. Another broker can be measured beside it, with the same configuration on
//! the same disk, in turns: this machine's mood is the same for both. Whoever has no turn is held
//! still: what one does while nothing is asked of it is not the other's cost.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hotfire_core::domain::{BrokerRequest, BrokerResponse, QueueRef, Send, SendStatus};
use hotfire_net::rt;
use hotfire_storage::text::Text;
use serde::Serialize;

use super::load::{self, Kind};
use super::node::{Node, Scratch, free_port, this};
use super::page_cache::Filled;
use super::report::LoadReport;
use super::session::Session;
use crate::Failure;
use crate::cli::{LoadArgs, ReplicateArgs};

/// A group that does not promise anything within this has failed to start.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(100);
/// The kernel counts processor time in hundredths of a second.
const TICKS: f64 = 100.0;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct ReplicateReport {
    flush: &'static str,
    slaves: u32,
    connections: u32,
    window: u32,
    size: u32,
    rounds: u32,
    full_cache: bool,
    hotfire: Row,
    beside: Option<Row>,
}

/// Medians of the rounds.
#[derive(Clone, Debug, Serialize)]
struct Row {
    per_second: f64,
    p50_us: u64,
    p99_us: u64,
    /// Processor seconds of all its brokers for a million messages.
    cpu_seconds_per_million: f64,
    /// Sends that were not answered SEND_OK, in all rounds.
    failed: u64,
}

/// Measures.
pub async fn run(args: &ReplicateArgs) -> Result<ReplicateReport, Failure> {
    let scratch = match &args.dir {
        Some(_) => None,
        None => Some(Scratch::new()?),
    };
    let dir = args.dir.clone().or(scratch.as_ref().map(|scratch| scratch.0.clone()));
    let dir = std::path::absolute(dir.unwrap_or_default()).map_err(Failure::new)?;
    let mut groups = vec![Group::start(args, &dir, "hotfire", None).await?];
    if let Some(beside) = &args.beside {
        groups.push(Group::start(args, &dir, "beside", Some(beside)).await?);
    }
    let _filled = if args.fill_cache { Some(Filled::new(&dir)?) } else { None };
    for _ in 0..args.warm_up.div_ceil(args.seconds) {
        for group in &mut groups {
            group.take_turn(args).await?;
        }
    }
    for group in &mut groups {
        group.rounds.clear();
    }
    for round in 0..args.rounds {
        for group in &mut groups {
            group.take_turn(args).await?;
            tracing::info!(round, who = group.name, rate = group.rounds.last().map(|r| r.rate));
        }
    }
    let mut rows = groups.iter().map(Group::row);
    let report = ReplicateReport {
        flush: if args.sync_flush { "SYNC_FLUSH" } else { "ASYNC_FLUSH" },
        slaves: args.slaves,
        connections: args.connections,
        window: args.window,
        size: args.size,
        rounds: args.rounds,
        full_cache: args.fill_cache,
        hotfire: rows.next().expect("it was started"),
        beside: rows.next(),
    };
    drop(groups);
    for name in ["hotfire", "beside"] {
        // What cannot be removed is a scratch directory's, or was never made.
        let _ = fs::remove_dir_all(dir.join(name));
    }
    Ok(report)
}

/// A master, and its slave if there is one.
struct Group {
    name: &'static str,
    addr: String,
    nodes: Vec<Node>,
    names: Node,
    rounds: Vec<Round>,
}

struct Round {
    rate: f64,
    report: LoadReport,
    cpu: f64,
}

impl Group {
    async fn start(
        args: &ReplicateArgs,
        dir: &Path,
        name: &'static str,
        command: Option<&String>,
    ) -> Result<Self, Failure> {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).map_err(Failure::new)?;
        let (names, port, ha_port) = (free_port()?, free_port()?, free_port()?);
        let names_conf = dir.join("names.conf");
        let text = format!(
            "bindAddress=127.0.0.1\nlistenPort={names}\nkvConfigPath={}/kv.json\n",
            dir.display()
        );
        fs::write(&names_conf, text).map_err(Failure::new)?;
        // Slaves learn from it where their master is.
        let names_node =
            Node::start(Command::new(this()?).arg("namesrv").arg("-c").arg(names_conf))?;
        let role = match args.slaves {
            0 => "ASYNC_MASTER".to_owned(),
            slaves => format!("SYNC_MASTER\ninSyncReplicas={}", slaves + 1),
        };
        let told = format!("namesrvAddr=127.0.0.1:{names}");
        let lines =
            format!("{told}\nlistenPort={port}\nhaListenPort={ha_port}\nbrokerRole={role}\n");
        let conf = conf(args, &dir, 0, &lines)?;
        let mut nodes = vec![start(command, &conf)?];
        for id in 1..=args.slaves {
            let (own, own_ha) = (free_port()?, free_port()?);
            let lines =
                format!("{told}\nlistenPort={own}\nhaListenPort={own_ha}\nbrokerRole=SLAVE\n");
            nodes.push(start(command, &self::conf(args, &dir, id, &lines)?)?);
        }
        let addr = format!("127.0.0.1:{port}");
        let mut group = Self { name, addr, nodes, names: names_node, rounds: Vec::new() };
        group.await_promise().await?;
        group.hold(true)?;
        Ok(group)
    }

    /// Stops its processes, or lets them go on.
    fn hold(&self, still: bool) -> Result<(), Failure> {
        self.nodes.iter().chain([&self.names]).try_for_each(|node| node.hold(still))
    }

    /// A round, with the machine to itself; what is dirty behind it is nobody else's to write.
    async fn take_turn(&mut self, args: &ReplicateArgs) -> Result<(), Failure> {
        self.hold(false)?;
        self.await_promise().await?;
        self.load(args).await?;
        self.hold(true)?;
        rustix::fs::sync();
        Ok(())
    }

    /// Until a send is answered SEND_OK: the slave follows.
    async fn await_promise(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut why = None;
        while begun.elapsed() < PATIENCE {
            self.nodes.iter_mut().try_for_each(Node::check)?;
            match self.try_send().await {
                Ok(BrokerResponse::Sent(sent)) if sent.status == SendStatus::Ok => return Ok(()),
                Ok(other) => why = Some(format!("{other:?}")),
                Err(refusal) => why = Some(refusal.to_string()),
            }
            rt::sleep(RETRY).await;
        }
        Err(Failure::new(format!("{} promises nothing: {why:?}", self.name)))
    }

    async fn try_send(&self) -> Result<BrokerResponse, Failure> {
        let to = QueueRef { topic: Text::from_static("BenchmarkTest"), queue: 0 };
        let send = Send::new(Text::from_static("hotfire-bench"), to, &b"first"[..]);
        let mut session = Session::connect(&self.addr).await?;
        Ok(session.ask(&BrokerRequest::Send(Box::new(send))).await?.response)
    }

    async fn load(&mut self, args: &ReplicateArgs) -> Result<(), Failure> {
        let load = LoadArgs {
            addr: self.addr.clone(),
            namesrv: None,
            topic: "BenchmarkTest".into(),
            connections: args.connections,
            window: args.window,
            size: args.size,
            queues: 4,
            messages: None,
            seconds: Some(args.seconds),
            json: false,
        };
        let before = self.cpu()?;
        let report = load::run(Kind::Send, &load).await?;
        let cpu = self.cpu()? - before;
        self.rounds.push(Round { rate: report.rate(), report, cpu });
        Ok(())
    }

    /// Processor seconds of its processes so far.
    fn cpu(&self) -> Result<f64, Failure> {
        let mut sum = 0;
        for node in &self.nodes {
            let stat = fs::read_to_string(format!("/proc/{}/stat", node.id()));
            let stat = stat.map_err(Failure::new)?;
            // Behind the name, which may hold anything: state is the third field, utime the 14th.
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
            let spent = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
            sum += spent.sum::<u64>();
        }
        Ok(f64::from(u32::try_from(sum).unwrap_or(u32::MAX)) / TICKS)
    }

    fn row(&self) -> Row {
        let messages = |round: &Round| round.report.messages.max(1);
        #[allow(clippy::cast_precision_loss)]
        let per_million = |round: &Round| round.cpu * 1e6 / messages(round) as f64;
        Row {
            per_second: median(self.rounds.iter().map(|round| round.rate)),
            p50_us: median(self.rounds.iter().map(|round| round.report.latency_us.p50)),
            p99_us: median(self.rounds.iter().map(|round| round.report.latency_us.p99)),
            cpu_seconds_per_million: median(self.rounds.iter().map(per_million)),
            failed: self.rounds.iter().map(|round| round.report.failed).sum(),
        }
    }
}

/// The one in the middle.
fn median<N: PartialOrd + Copy + Default>(of: impl Iterator<Item = N>) -> N {
    let mut all: Vec<_> = of.collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn start(command: Option<&String>, conf: &Path) -> Result<Node, Failure> {
    match command {
        None => Node::start(Command::new(this()?).arg("broker").arg("-c").arg(conf)),
        Some(command) => {
            let text = format!("exec {command} -c '{}'", conf.display());
            Node::start(Command::new("sh").arg("-c").arg(text))
        }
    }
}

fn conf(args: &ReplicateArgs, dir: &Path, id: u32, lines: &str) -> Result<PathBuf, Failure> {
    let dir = dir.join(format!("broker-{id}"));
    let (root, path) = (dir.display(), dir.join("broker.conf"));
    let flush = if args.sync_flush { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
    let text = format!(
        "bindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\nbrokerName=bench\n\
         brokerId={id}\nfastListenPort=0\nautoCreateTopicEnable=true\nflushDiskType={flush}\n\
         storePathRootDir={root}/store\nstorePathCommitLog={root}/store/commitlog\n{lines}"
    );
    let written = fs::create_dir_all(&dir).and_then(|()| fs::write(&path, text));
    written.map_err(Failure::new).map(|()| path)
}

impl fmt::Display for ReplicateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flush, slaves, connections, window, size, rounds, full_cache, .. } = self;
        let cache = if *full_cache { "; the page cache was full" } else { "" };
        let waits = match slaves {
            0 => "no slave is waited for".to_owned(),
            1 => "one slave is waited for".to_owned(),
            many => format!("{many} slaves are waited for"),
        };
        writeln!(
            f,
            "{flush}, {waits}: {connections} connections × {window} in flight, {size} bytes; \
             medians of {rounds}{cache}"
        )?;
        let mut rows = vec![("hotfire", &self.hotfire)];
        rows.extend(self.beside.as_ref().map(|row| ("the other", row)));
        for (who, row) in &rows {
            let Row { per_second, p50_us, p99_us, cpu_seconds_per_million, failed } = row;
            write!(
                f,
                "  {who:<10} {per_second:>9.0} messages/s   p50 {p50_us:>7} µs   p99 {p99_us:>7} \
                 µs   {cpu_seconds_per_million:>5.1} CPU s a million"
            )?;
            writeln!(
                f,
                "{}",
                if *failed > 0 { format!("   {failed} FAILED") } else { String::new() }
            )?;
        }
        if let Some(beside) = &self.beside {
            write!(f, "  ratio {:.1}", self.hotfire.per_second / beside.per_second)?;
        }
        Ok(())
    }
}
