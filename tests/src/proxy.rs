//! A wire that does what a test says: bytes between two ports pass, are slow, vanish, or the
//! connection is reset.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How often what a test says is looked at.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Will {
    /// What one side says vanishes, and the other side learns nothing of it.
    swallows: [AtomicBool; 2],
    /// Counts the resets.
    resets: AtomicU64,
    /// Counts who connected.
    connections: AtomicU64,
    /// Bytes a look; 0: as many as come.
    pace: AtomicU64,
    ends: AtomicBool,
}

/// Listens until it is dropped.
pub struct Proxy {
    port: u16,
    will: Arc<Will>,
}

impl Proxy {
    /// Passes on what comes to `target`.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("some port is free");
        let port = listener.local_addr().expect("a bound address").port();
        let will = Arc::<Will>::default();
        let shared = Arc::clone(&will);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if shared.ends.load(Ordering::Relaxed) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let ways = [(near.try_clone(), far.try_clone(), 0), (Ok(far), Ok(near), 1)];
                for (from, to, way) in ways {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    let will = Arc::clone(&shared);
                    thread::spawn(move || carry(&from, &to, way, &will));
                }
            }
        });
        Self { port, will }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often somebody connected.
    pub fn connections(&self) -> u64 {
        self.will.connections.load(Ordering::Relaxed)
    }

    /// Does what those who connected say vanish, and what they are told?
    pub fn swallow(&self, said: bool, told: bool) {
        self.will.swallows[0].store(said, Ordering::Relaxed);
        self.will.swallows[1].store(told, Ordering::Relaxed);
    }

    /// Lets so many bytes a second pass each way; 0: as many as come.
    pub fn slow(&self, bytes_per_second: u64) {
        let looks = 1000 / u64::try_from(LOOK.as_millis()).expect("few");
        self.will.pace.store(bytes_per_second.div_ceil(looks), Ordering::Relaxed);
    }

    /// Ends every connection that there is.
    pub fn reset(&self) {
        self.will.resets.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.will.ends.store(true, Ordering::Relaxed);
        self.reset();
        // The listener looks when somebody comes.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, way: usize, will: &Will) {
    let born = will.resets.load(Ordering::Relaxed);
    let _ = from.set_read_timeout(Some(LOOK));
    let mut bytes = vec![0; 64 << 10];
    while will.resets.load(Ordering::Relaxed) == born {
        let pace = usize::try_from(will.pace.load(Ordering::Relaxed)).expect("few");
        let most = if pace == 0 { bytes.len() } else { pace.min(bytes.len()) };
        match from.read(&mut bytes[..most]) {
            Ok(0) => break,
            Ok(_) if will.swallows[way].load(Ordering::Relaxed) => {}
            Ok(len) => {
                if to.write_all(&bytes[..len]).is_err() {
                    break;
                }
                if pace > 0 {
                    thread::sleep(LOOK);
                }
            }
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
