//! The command line: the words of `mqnamesrv` and `mqbroker`, and a few of our own.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::Failure;
use crate::config::ha::HaConf;
use crate::config::{self, BrokerConf, NamesrvConf, Settings, value};

/// A message broker and name server, compatible with Apache RocketMQ.
#[derive(Debug, Parser)]
#[command(name = "hotfire", version, max_term_width = 100)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure: this broker, or any that speaks the remoting protocol
    #[command(subcommand)]
    Bench(Bench),
    /// Run a broker
    Broker(BrokerArgs),
    /// Run a name server
    Namesrv(NamesrvArgs),
    /// Run a name server and a broker in one process, to try things out
    Standalone(StandaloneArgs),
    /// Look into a store, check it, repair it, while no broker runs on it
    #[command(subcommand)]
    Store(Store),
}

/// A broker's command line.
#[derive(Args, Debug, Default)]
pub struct BrokerArgs {
    /// The configuration file, e.g. broker.conf
    #[arg(short = 'c', long = "configFile", alias = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name servers, HOST:PORT with ; between them; overrides namesrvAddr
    #[arg(short = 'n', long = "namesrvAddr", alias = "namesrv", value_name = "ADDRS")]
    pub namesrv: Option<String>,
    /// The port to listen on; overrides listenPort
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The address to listen on; overrides bindAddress
    #[arg(long, value_name = "IP")]
    pub bind: Option<IpAddr>,
    /// Print every setting in force and exit
    #[arg(short = 'p', long = "printConfigItem")]
    pub print: bool,
    /// Print the important settings in force and exit
    #[arg(short = 'm', long = "printImportantConfig")]
    pub important: bool,
    /// Open a log that is damaged below its durable end, giving up what is behind the damage
    #[arg(long)]
    pub accept_damaged_log: bool,
}

/// A name server's command line.
#[derive(Args, Debug, Default)]
pub struct NamesrvArgs {
    /// The configuration file
    #[arg(short = 'c', long = "configFile", alias = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The port to listen on; overrides listenPort
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The address to listen on; overrides bindAddress
    #[arg(long, value_name = "IP")]
    pub bind: Option<IpAddr>,
    /// Print every setting in force and exit
    #[arg(short = 'p', long = "printConfigItem")]
    pub print: bool,
    /// Print the important settings in force and exit
    #[arg(short = 'm', long = "printImportantConfig")]
    pub important: bool,
}

/// The command line of both in one.
#[derive(Args, Debug)]
pub struct StandaloneArgs {
    /// The directory of the store and of the name server's file
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,
    /// The address to listen on and to tell clients
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::LOCALHOST)]
    pub host: Ipv4Addr,
    /// The name server's port
    #[arg(long, value_name = "PORT", default_value_t = 9876)]
    pub namesrv_port: u16,
    /// The broker's port
    #[arg(long, value_name = "PORT", default_value_t = 10911)]
    pub port: u16,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Append to a store alone: throughput, and the time of each turn
    Append(AppendArgs),
    /// Pull messages: throughput, and the time of each answer
    Pull(LoadArgs),
    /// Open stores whose broker was killed: time to the first pull that is answered
    Recover(RecoverArgs),
    /// Send to a broker that flushes before it answers, or waits for a slave: what that costs
    Replicate(ReplicateArgs),
    /// Send messages: throughput, and the time of each acknowledgement
    Send(LoadArgs),
    /// Start this binary: time to the first acknowledged send, memory at idle
    Startup(StartupArgs),
}

/// What to append.
#[derive(Args, Clone, Debug)]
pub struct AppendArgs {
    /// Records
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub records: u64,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..4 << 20))]
    pub size: u32,
    /// Records a second, at most [default: as many as it can]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// MiB of a CommitLog file
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=2047))]
    pub file_mib: u32,
    /// The directory that the stores are made in, and removed from
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A load.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// The broker, HOST:PORT
    #[arg(
        long,
        value_name = "ADDR",
        conflicts_with = "namesrv",
        default_value = "127.0.0.1:10911"
    )]
    pub addr: String,
    /// Find the broker by this name server, HOST:PORT
    #[arg(long, short = 'n', value_name = "ADDR")]
    pub namesrv: Option<String>,
    /// The topic
    #[arg(long, short = 't', default_value = "BenchmarkTest")]
    pub topic: String,
    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub window: u32,
    /// Bytes of a body (send), largest batch of an answer is 32 messages (pull)
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..1 << 24))]
    pub size: u32,
    /// Queues to spread over, from queue 0
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub queues: u32,
    /// Stop after this many messages
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub messages: Option<u64>,
    /// Stop after this many seconds [default: 10]
    #[arg(long, value_name = "S")]
    pub seconds: Option<u64>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How to measure the opening of a store.
#[derive(Args, Clone, Debug)]
pub struct RecoverArgs {
    /// Where the stores are filled; 14 GB for the store of many messages, 4 GB for the other
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Which store
    #[arg(long, value_enum, default_value_t = RecoverWhat::Both)]
    pub what: RecoverWhat,
    /// Messages in the store of many messages
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: u64,
    /// Queues in the store of many queues, 8 a topic, 5 messages each
    #[arg(
        long,
        default_value_t = 200_000,
        value_parser = clap::value_parser!(u32).range(8..1 << 24)
    )]
    pub queues: u32,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Messages at the end that no checkpoint covers
    #[arg(long, default_value_t = 300_000)]
    pub tail: u64,
    /// Starts to take the median of
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Another broker, started in turn on the same files: a command that takes -c FILE
    #[arg(long, value_name = "COMMAND")]
    pub beside: Option<String>,
    /// Have the kernel drop the store's pages before each start
    #[arg(long)]
    pub cold: bool,
    /// Keep the stores for the next run
    #[arg(long)]
    pub keep: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How to measure what a promise costs.
#[derive(Args, Clone, Debug)]
pub struct ReplicateArgs {
    /// Flush before a send is answered (SYNC_FLUSH)
    #[arg(long)]
    pub sync_flush: bool,
    /// Slaves that a send waits for (SYNC_MASTER); 0: none, and none is started
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1))]
    pub slaves: u32,
    /// Connections
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub window: u32,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..1 << 24))]
    pub size: u32,
    /// Rounds to take medians of
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Seconds of a round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Fill the memory that is free with page cache first, as it is on a machine that has run for
    /// a while: writes a file of that size to DIR
    #[arg(long)]
    pub fill_cache: bool,
    /// Seconds of sends before the first round, in turns as well
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub warm_up: u64,
    /// Another broker, measured in turns: a command that takes -c FILE
    #[arg(long, value_name = "COMMAND")]
    pub beside: Option<String>,
    /// Where the stores lie, some gigabytes; what is made there is removed
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Which stores to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RecoverWhat {
    /// One after the other
    Both,
    /// The one of many messages
    Messages,
    /// The one of many queues
    Queues,
}

/// How to measure a start.
#[derive(Args, Clone, Debug)]
pub struct StartupArgs {
    /// Starts to take the median of
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Seconds of idleness before memory is read
    #[arg(long, default_value_t = 2)]
    pub idle_seconds: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Print messages as they lie in the log, from a position on
    Dump(DumpArgs),
    /// Say what is in it: log, checkpoint, queues, files
    Inspect(InspectArgs),
    /// Say what a start would change, ask, and do it
    Repair(RepairArgs),
    /// Check every invariant of the formats; exit code 0: sound, 1: damaged, 2: not checked
    Verify(VerifyArgs),
}

/// A store, and how to read it.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// The store's directory, storePathRootDir of its broker
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The broker's configuration; without it sizes of files are taken from the files
    #[arg(short = 'c', long = "configFile", alias = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to dump.
#[derive(Args, Clone, Debug)]
pub struct DumpArgs {
    /// The store.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The position in the log; between two messages the next one is found
    #[arg(long, value_name = "OFFSET")]
    pub from: u64,
    /// How many messages at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub count: u64,
    /// Print bodies too
    #[arg(long)]
    pub body: bool,
    /// Read it whoever has it: for snapshots, which nobody writes to
    #[arg(long)]
    pub no_lock: bool,
}

/// What to inspect.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// The store.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Queues of this topic only
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Read it whoever has it: for snapshots, which nobody writes to
    #[arg(long)]
    pub no_lock: bool,
}

/// What to repair.
#[derive(Args, Clone, Debug)]
pub struct RepairArgs {
    /// The store.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Compute all queues and the index from the log again, whatever they hold
    #[arg(long)]
    pub rebuild: bool,
    /// Cut a log that is damaged below its durable end, giving up what is behind the damage
    #[arg(long, alias = "accept-damaged-log")]
    pub accept_rot: bool,
}

/// What to verify.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The store.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Read it whoever has it: for snapshots, which nobody writes to
    #[arg(long)]
    pub no_lock: bool,
}

/// What came of reading settings.
#[derive(Debug)]
pub enum Read<T> {
    /// Run with these.
    Conf(T),
    /// Print this and exit.
    Print(String),
}

impl BrokerArgs {
    /// The settings in force: defaults, then the file, then the command line.
    pub fn read(&self) -> Result<Read<BrokerConf>, Failure> {
        let mut conf = BrokerConf::default();
        load(self.config.as_deref(), &mut conf)?;
        if let Some(text) = &self.namesrv {
            let expected = |expected| Failure::new(format!("-n \"{text}\": expected {expected}"));
            conf.namesrv = value::addrs(text).map_err(expected)?;
        }
        conf.port = self.port.unwrap_or(conf.port);
        conf.bind = self.bind.unwrap_or(conf.bind);
        conf.accept_damaged_log = self.accept_damaged_log;
        Ok(print_or_run(conf, self.print, self.important))
    }
}

impl NamesrvArgs {
    /// The settings in force: defaults, then the file, then the command line.
    pub fn read(&self) -> Result<Read<NamesrvConf>, Failure> {
        let mut conf = NamesrvConf::default();
        load(self.config.as_deref(), &mut conf)?;
        conf.port = self.port.unwrap_or(conf.port);
        conf.bind = self.bind.unwrap_or(conf.bind);
        Ok(print_or_run(conf, self.print, self.important))
    }
}

impl StandaloneArgs {
    /// The settings of both: everything at the given host, everything below the given directory.
    pub fn read(&self) -> (NamesrvConf, BrokerConf) {
        let namesrv = NamesrvConf {
            bind: IpAddr::V4(self.host),
            port: self.namesrv_port,
            kv_path: value::Place(self.data.join("namesrv").join("kvConfig.json")),
            ..NamesrvConf::default()
        };
        // Listening everywhere is no address to tell a client.
        let everywhere = self.host.is_unspecified();
        let broker = BrokerConf {
            name: "broker-a".into(),
            bind: IpAddr::V4(self.host),
            port: self.port,
            advertised: if everywhere { config::host::ipv4() } else { self.host },
            root: value::Place(self.data.join("store")),
            // To try things out needs no slave, and fewer ports that may be taken.
            fast_port: Some(0),
            ha: HaConf { port: Some(0), ..HaConf::default() },
            ..BrokerConf::default()
        };
        (namesrv, broker)
    }
}

fn load<T: Settings>(file: Option<&Path>, conf: &mut T) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    for warning in config::load(file, conf).map_err(Failure::new)? {
        tracing::warn!("{warning}");
    }
    Ok(())
}

fn print_or_run<T: Settings>(conf: T, all: bool, important: bool) -> Read<T> {
    if all || important { Read::Print(config::print(&conf, !all)) } else { Read::Conf(conf) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_words_of_mqbroker_are_understood() {
        let cli = Cli::try_parse_from(["hotfire", "broker", "-n", "a:1;b:2", "-m"]).expect("fine");
        let Command::Broker(args) = cli.command else { panic!("a broker was asked for") };
        let Read::Print(text) = args.read().expect("valid") else { panic!("-m prints") };
        assert!(text.contains("namesrvAddr=a:1;b:2"), "{text}");
        assert!(!text.contains("flushCommitLogLeastPages"), "{text}");
    }

    #[test]
    fn a_bad_name_server_says_what_was_expected() {
        let args = BrokerArgs { namesrv: Some("nowhere".into()), ..BrokerArgs::default() };
        let failure = args.read().expect_err("no port").to_string();
        let expected = "-n \"nowhere\": expected addresses as host:port, with ; between them";
        assert_eq!(failure, expected);
    }
}
