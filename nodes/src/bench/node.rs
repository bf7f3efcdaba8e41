//! What a measurement starts: processes that end with it, ports and directories of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::Failure;

/// A child process; ended when dropped.
pub struct Node(Child);

impl Node {
    /// Starts it, as an operator would, without its log.
    pub fn start(command: &mut Command) -> Result<Self, Failure> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).env("HOTFIRE_LOG", "error");
        quiet.spawn().map(Self).map_err(|why| Failure::new(format!("cannot start: {why}")))
    }

    /// Fails if it ended; what it said is on standard error already.
    pub fn check(&mut self) -> Result<(), Failure> {
        match self.0.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Failure::new(format!("it ended at once: {status}"))),
            Err(why) => Err(Failure::new(why)),
        }
    }

    /// Stops it where it is, or lets it go on.
    pub fn hold(&self, still: bool) -> Result<(), Failure> {
        let signal = if still { Signal::STOP } else { Signal::CONT };
        kill_process(Pid::from_child(&self.0), signal).map_err(Failure::new)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory of our own, gone when dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Makes it.
    pub fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("hotfire-bench-{}", std::process::id()));
        let made = fs::create_dir(&path);
        made.map_err(|why| Failure::new(format!("cannot create {}: {why}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program that runs.
pub fn this() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(Failure::new)
}

/// A port on which nothing listens now.
pub fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::new)?;
    listener.local_addr().map(|addr| addr.port()).map_err(Failure::new)
}

/// In milliseconds.
pub fn median_and_worst(mut runs: Vec<Duration>) -> (f64, f64) {
    runs.sort_unstable();
    let millis = |took: Option<&Duration>| took.map_or(0.0, |took| took.as_secs_f64() * 1e3);
    (millis(runs.get(runs.len() / 2)), millis(runs.last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let runs = [3, 1, 2].map(Duration::from_millis).to_vec();
        assert_eq!(median_and_worst(runs), (2.0, 3.0));
    }
}
