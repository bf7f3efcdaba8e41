//! Peers at the replication port that are no slaves. Each is refused or dropped with a line in the
//! log at most; none counts as a replica, none costs memory, and the master goes on serving.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hotfire_tests::audit::{Audit, Fate};
use hotfire_tests::group::Group;
use hotfire_tests::process::PATIENCE;
use hotfire_tests::wire::Client;

/// Bytes of anonymous memory that a process has.
fn memory(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("since 4.5");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("listening");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// Reads until the master closes; how many bytes it said.
fn until_closed(mut stream: &TcpStream) -> usize {
    let (mut bytes, mut all) = (vec![0; 64 << 10], 0);
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return all,
            Ok(len) => all += len,
            Err(why) => {
                let is_over = why.kind() == std::io::ErrorKind::ConnectionReset;
                assert!(is_over, "the master does not close: {why}");
                return all;
            }
        }
    }
}

/// Bytes that look like chance, always the same.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Sends until one is answered SEND_OK: the slave follows.
fn await_promise(audit: &Audit, client: &mut Client) {
    let deadline = Instant::now() + PATIENCE;
    while audit.send(client, 0, 20) != Fate::Promised {
        assert!(Instant::now() < deadline, "no send is answered SEND_OK");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn whoever_is_no_slave_changes_nothing() {
    let lines = "brokerRole=SYNC_MASTER\nslaveTimeout=1000\nhaHousekeepingInterval=2000\n\
                 haSendHeartbeatInterval=500";
    let mut group = Group::start(lines, "haSendHeartbeatInterval=500");
    let (port, ha) = (group.master.port, group.master.ha_port);
    let mut client = Client::connect(port).expect("listening");
    let audit = group.audit();
    await_promise(&audit, &mut client);
    for _ in 0..200 {
        assert_eq!(audit.send(&mut client, 1, 32 << 10), Fate::Promised);
    }
    let id = group.master.process().id();
    let before = memory(id);

    // Words that end a connection at once: the master tells where its log ends, or nothing.
    let said = [(-1, 0), (i64::MIN, 0), (i64::MAX, 12), (1 << 40, 12)];
    for (position, answer) in said {
        let mut stream = connect(ha);
        stream.write_all(&i64::to_be_bytes(position)).expect("sent");
        assert_eq!(until_closed(&stream), answer, "{position}");
    }
    // An acknowledgement of what was not sent.
    let mut liar = connect(ha);
    liar.write_all(&[0; 8]).expect("sent");
    liar.write_all(&i64::to_be_bytes(1 << 40)).expect("sent");
    until_closed(&liar);
    // Noise, in one piece. Its first eight bytes may be a position; what follows is none.
    let mut noisy = connect(ha);
    let _ = noisy.write_all(&noise(1 << 20));
    until_closed(&noisy);
    // Many that say nothing, and some that ask for everything and read nothing.
    let silent: Vec<_> = (0..2000).map(|_| connect(ha)).collect();
    let deaf: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = connect(ha);
            let _ = stream.write_all(&[0; 8]);
            stream
        })
        .collect();
    let before_them = audit.counts().promised;
    for _ in 0..100 {
        audit.send(&mut client, 2, 20);
    }
    // One connection more or less: the slave may have lost its own, and came back.
    let promised = audit.counts().promised - before_them;
    assert!(promised > 50, "{promised} promised");
    let grown = memory(id).saturating_sub(before);
    assert!(grown < 100 << 20, "{} MiB more", grown >> 20);
    drop((silent, deaf));
    await_promise(&audit, &mut client);

    // Without the slave nobody is promised anything, whatever strangers say.
    group.slave.kill();
    let mut stranger = connect(ha);
    stranger.write_all(&[0; 8]).expect("sent");
    let mut outcomes = Vec::new();
    for _ in 0..10 {
        stranger.write_all(&i64::to_be_bytes(1)).expect("sent");
        outcomes.push(audit.send(&mut client, 3, 20));
    }
    assert!(outcomes.iter().all(|fate| matches!(fate, Fate::Stored(_))), "{outcomes:?}");
    let log = group.master.process().drain();
    assert!(log.len() < 100, "{} lines:\n{}", log.len(), log.join("\n"));
    group.slave.start();
    await_promise(&audit, &mut client);
    group.wait_until_same();
    audit.check(port);
    audit.check_log(group.slave.log());
}
