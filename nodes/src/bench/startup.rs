//! From exec to the first acknowledged send on an empty store, and memory at idle. Starts this
//! very binary as an operator would.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hotfire_core::domain::{BrokerRequest, BrokerResponse, QueueRef, Send};
use hotfire_net::rt;
use hotfire_storage::text::Text;

use super::node::{Node, Scratch, free_port, median_and_worst, this};
use super::report::{MemoryKib, StartupReport};
use super::session::Session;
use crate::Failure;
use crate::cli::StartupArgs;

/// A start that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts to connect: small beside what is measured.
const RETRY: Duration = Duration::from_micros(200);

/// Measures.
pub async fn run(args: &StartupArgs) -> Result<StartupReport, Failure> {
    let scratch = Scratch::new()?;
    let mut standalone = Vec::new();
    let mut broker = Vec::new();
    let mut memory = None;
    for run in 0..args.runs {
        let dir = scratch.0.join(format!("standalone-{run}"));
        standalone.push(start_standalone(&dir).await?);
        let dir = scratch.0.join(format!("apart-{run}"));
        let is_last = run + 1 == args.runs;
        let idle = is_last.then(|| Duration::from_secs(args.idle_seconds));
        let (took, found) = start_apart(&dir, idle).await?;
        broker.push(took);
        memory = found.or(memory);
    }
    let (broker_memory, namesrv) = memory.ok_or_else(|| Failure::new("no run, no memory"))?;
    Ok(StartupReport {
        runs: standalone.len(),
        standalone_ms: median_and_worst(standalone),
        broker_ms: median_and_worst(broker),
        broker: broker_memory,
        namesrv,
    })
}

async fn start_standalone(dir: &Path) -> Result<Duration, Failure> {
    let (namesrv, port) = (free_port()?, free_port()?);
    let begun = Instant::now();
    let mut node =
        Node::start(Command::new(this()?).arg("standalone").arg("--data").arg(dir).args([
            "--namesrv-port",
            &namesrv.to_string(),
            "--port",
            &port.to_string(),
        ]))?;
    first_send(&mut node, port, begun).await
}

type Memory = Option<(MemoryKib, MemoryKib)>;

async fn start_apart(dir: &Path, idle: Option<Duration>) -> Result<(Duration, Memory), Failure> {
    let (namesrv_port, port) = (free_port()?, free_port()?);
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        let written = fs::create_dir_all(dir).and_then(|()| fs::write(&path, text));
        written.map_err(Failure::new).map(|()| path)
    };
    let root = dir.display();
    let namesrv_conf = write(
        "namesrv.conf",
        &format!("bindAddress=127.0.0.1\nlistenPort={namesrv_port}\nkvConfigPath={root}/kv.json\n"),
    )?;
    let broker_conf = write(
        "broker.conf",
        &format!(
            "bindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nbrokerName=bench\nlistenPort={port}\n\
                 haListenPort=0\nfastListenPort=0\n\
             namesrvAddr=127.0.0.1:{namesrv_port}\nstorePathRootDir={root}/store\n"
        ),
    )?;
    let namesrv = Node::start(Command::new(this()?).arg("namesrv").arg("-c").arg(namesrv_conf))?;
    let begun = Instant::now();
    let mut broker = Node::start(Command::new(this()?).arg("broker").arg("-c").arg(broker_conf))?;
    let took = first_send(&mut broker, port, begun).await?;
    let Some(idle) = idle else { return Ok((took, None)) };
    rt::sleep(idle).await;
    Ok((took, Some((memory(&broker)?, memory(&namesrv)?))))
}

/// Connects as soon as that works, sends, and waits for the acknowledgement.
async fn first_send(node: &mut Node, port: u16, begun: Instant) -> Result<Duration, Failure> {
    let addr = format!("127.0.0.1:{port}");
    let mut session = loop {
        match Session::connect(&addr).await {
            Ok(session) => break session,
            Err(why) if begun.elapsed() > PATIENCE => return Err(why),
            Err(_) => node.check()?,
        }
        rt::sleep(RETRY).await;
    };
    let to = QueueRef { topic: Text::from_static("Startup"), queue: 0 };
    let send = Send::new(Text::from_static("hotfire-bench"), to, &b"first"[..]);
    let reply = session.ask(&BrokerRequest::Send(Box::new(send))).await?;
    match reply.response {
        BrokerResponse::Sent(_) => Ok(begun.elapsed()),
        other => Err(Failure::new(format!("the first send was refused: {other:?}"))),
    }
}

fn memory(node: &Node) -> Result<MemoryKib, Failure> {
    let path = format!("/proc/{}/smaps_rollup", node.id());
    let text = fs::read_to_string(&path)
        .map_err(|why| Failure::new(format!("cannot read {path}: {why}")))?;
    memory_of(&text).ok_or_else(|| Failure::new(format!("cannot understand {path}")))
}

fn memory_of(smaps: &str) -> Option<MemoryKib> {
    let field = |name: &str| {
        let line = smaps.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let anonymous = field("Anonymous:")?;
    Some(MemoryKib { anonymous, file_backed: field("Rss:")?.saturating_sub(anonymous) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_split_into_what_is_needed_and_what_is_cache() {
        let smaps = "5600-7ffd [rollup]\nRss:  5000 kB\nPss: 1 kB\nAnonymous:  1200 kB\n";
        let memory = memory_of(smaps).expect("both fields");
        assert_eq!((memory.anonymous, memory.file_backed), (1200, 3800));
        assert!(memory_of("Rss: 1 kB\n").is_none());
    }
}
