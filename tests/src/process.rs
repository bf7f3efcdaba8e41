//! Processes of the built binary.

use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Long: it only matters when all is lost.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The `hotfire` binary: the one that `HOTFIRE_BIN` names, or this workspace's, built if need be.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("HOTFIRE_BIN") {
            return path.into();
        }
        let this = std::env::current_exe().expect("a test knows its own path");
        let profile = this.ancestors().nth(2).expect("target/<profile>/deps/<test>");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let release = profile.ends_with("release").then_some("--release");
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "hotfire-nodes", "--bin", "hotfire"])
            .args(release)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the binary does not build");
        profile.join("hotfire")
    })
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("some port is free");
    listener.local_addr().expect("a bound address").port()
}

/// A running `hotfire`. Killed when dropped.
pub struct Hotfire {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    log: Vec<String>,
}

/// How a process ended.
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Lines of its standard error.
    pub stderr: Vec<String>,
}

impl Ended {
    /// The one line that it said before it exited with code 2.
    pub fn refusal(&self) -> &str {
        let said = self.stderr.join("\n");
        assert_eq!(self.status.code(), Some(2), "{said}");
        assert_eq!(self.stderr.len(), 1, "one line, not:\n{said}");
        assert!(said.starts_with("hotfire: "), "{said}");
        &self.stderr[0]
    }
}

impl Hotfire {
    /// Starts `hotfire` with these arguments.
    pub fn start<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(binary());
        command.args(args);
        Self::spawn(command)
    }

    /// Starts a command that ends up as `hotfire`.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .env_remove("HOTFIRE_LOG")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let out = lines(child.stdout.take().expect("piped"));
        let err = lines(child.stderr.take().expect("piped"));
        Self { child, out, err, log: Vec::new() }
    }

    /// Starts a standalone cluster on `data` and waits until it is ready.
    pub fn standalone(data: &Path, namesrv: u16, port: u16) -> Self {
        let mut node = Self::start(standalone_args(data, namesrv, port));
        node.wait_for("ready");
        node
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with `word` on standard output, and returns it.
    pub fn wait_for(&mut self, word: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.out.recv_timeout(left) {
                Ok(line) if line.contains(word) => return line,
                Ok(_) => {}
                Err(why) => {
                    let said = self.drain().join("\n");
                    panic!("no line with {word:?} ({why}); it said:\n{said}");
                }
            }
        }
    }

    /// Waits until a line with `word` was logged, and returns it.
    pub fn wait_for_log(&mut self, word: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.log.iter().find(|line| line.contains(word)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.err.recv_timeout(left) else {
                panic!("no log line with {word:?}:\n{}", self.log.join("\n"));
            };
            self.log.push(line);
        }
    }

    /// Lines logged so far.
    pub fn drain(&mut self) -> &[String] {
        self.log.extend(self.err.try_iter());
        &self.log
    }

    /// Asks it to stop, as an operator's SIGTERM does, and waits.
    pub fn stop(self) -> Ended {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("still running");
        self.child.wait().expect("a child can be waited for");
    }

    /// Is it still running?
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Its standard error closes when it ends: an event to wait for, not a clock to ask.
            let left = deadline.saturating_duration_since(Instant::now());
            match self.err.recv_timeout(left) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end:\n{}", self.log.join("\n"));
                }
            }
        }
        let status = self.child.wait().expect("a child can be waited for");
        Ended { status, stderr: std::mem::take(&mut self.log) }
    }
}

impl Drop for Hotfire {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command line of a standalone cluster.
pub fn standalone_args(data: &Path, namesrv: u16, port: u16) -> Vec<String> {
    let data = data.to_str().expect("a printable temporary directory");
    let (namesrv, port) = (namesrv.to_string(), port.to_string());
    let args = ["standalone", "--data", data, "--namesrv-port", &namesrv, "--port", &port];
    args.map(str::to_owned).to_vec()
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
