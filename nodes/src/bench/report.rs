//! What was measured. `Display` is for people, `Serialize` for machines.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: u64,
    /// 90 of 100 are below.
    pub p90: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// 999 of 1000 are below.
    #[serde(rename = "p99.9")]
    pub p999: u64,
    /// None was longer.
    pub max: u64,
}

impl Percentiles {
    /// Of what was recorded.
    pub fn of(latencies: &Histogram<u64>) -> Self {
        Self {
            p50: latencies.value_at_quantile(0.5),
            p90: latencies.value_at_quantile(0.9),
            p99: latencies.value_at_quantile(0.99),
            p999: latencies.value_at_quantile(0.999),
            max: latencies.max(),
        }
    }
}

/// What a load brought.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// `send` or `pull`.
    pub kind: &'static str,
    /// The broker's address.
    pub broker: String,
    /// Connections.
    pub connections: u32,
    /// Requests in flight on each.
    pub window: u32,
    /// Messages acknowledged, or pulled.
    pub messages: u64,
    /// Requests that were refused.
    pub failed: u64,
    /// Why the first of them was.
    pub first_failure: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// Bytes of bodies sent, or of records pulled.
    pub bytes: u64,
    /// From a request's encoding to its answer.
    pub latency_us: Percentiles,
}

impl LoadReport {
    /// Messages a second.
    // Rates for people: what a float cannot hold exactly is not shown.
    #[allow(clippy::cast_precision_loss)]
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }
}

impl fmt::Display for LoadReport {
    #[allow(clippy::cast_precision_loss)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, broker, connections, window, messages, seconds, .. } = self;
        writeln!(f, "{kind} {broker}: {connections} connections × {window} in flight")?;
        let rate = self.rate();
        let megabytes = self.bytes as f64 / 1e6 / seconds;
        writeln!(f, "  {messages} messages in {seconds:.2} s")?;
        writeln!(f, "  {rate:.0} messages/s, {megabytes:.1} MB/s")?;
        let Percentiles { p50, p90, p99, p999, max } = &self.latency_us;
        write!(f, "  latency µs: p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}")?;
        if let Some(why) = &self.first_failure {
            write!(f, "\n  {} requests failed, the first: {why}", self.failed)?;
        }
        Ok(())
    }
}

/// What appending costs.
#[derive(Clone, Debug, Serialize)]
pub struct AppendReport {
    /// Records.
    pub records: u64,
    /// Bytes of a body.
    pub size: u32,
    /// MiB of a file.
    pub file_mib: u32,
    /// Most records a second, if they were held back.
    pub rate: Option<u64>,
    /// How long it took.
    pub seconds: f64,
    /// Of 64 appends, their way to the file, and a look at the disk.
    pub turn_us: Percentiles,
}

impl fmt::Display for AppendReport {
    #[allow(clippy::cast_precision_loss)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, size, file_mib, .. } = self;
        write!(f, "append: {records} records of {size} bytes into files of {file_mib} MiB")?;
        if let Some(rate) = self.rate {
            write!(f, ", at most {rate} a second")?;
        }
        let rate = *records as f64 / self.seconds;
        let Percentiles { p50, p99, p999, max, .. } = &self.turn_us;
        write!(f, "\n  {rate:>9.0} records/s   turn of 64, µs: p50 {p50}  p99 {p99}")?;
        write!(f, "  p99.9 {p999}  max {max}")?;
        Ok(())
    }
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MemoryKib {
    /// Heap and stacks: what the process alone needs.
    pub anonymous: u64,
    /// Mapped files, the store's and the program's own: cache that the system may take back.
    pub file_backed: u64,
}

/// What starting costs.
#[derive(Clone, Debug, Serialize)]
pub struct StartupReport {
    /// Starts of each kind.
    pub runs: usize,
    /// From exec to the first acknowledged send, of a standalone cluster: median, worst.
    pub standalone_ms: (f64, f64),
    /// The same of a broker beside a running name server.
    pub broker_ms: (f64, f64),
    /// The broker at idle.
    pub broker: MemoryKib,
    /// The name server at idle.
    pub namesrv: MemoryKib,
}

impl fmt::Display for StartupReport {
    #[allow(clippy::cast_precision_loss)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: u64| kib as f64 / 1024.0;
        writeln!(f, "exec to first acknowledged send      median      worst of {}", self.runs)?;
        for (name, (median, worst)) in
            [("standalone", self.standalone_ms), ("broker", self.broker_ms)]
        {
            writeln!(f, "  {name:<28} {median:>8.1} ms {worst:>8.1} ms")?;
        }
        write!(f, "memory at idle                    anonymous  file-backed")?;
        for (name, memory) in [("broker", self.broker), ("name server", self.namesrv)] {
            let (anonymous, file) = (mib(memory.anonymous), mib(memory.file_backed));
            write!(f, "\n  {name:<27} {anonymous:>8.1} MiB {file:>8.1} MiB")?;
        }
        Ok(())
    }
}
