//! Bytes that no client should send. Each gets the protocol's own error or a closed connection;
//! nobody else notices, and the process goes on.

use std::io::ErrorKind;

use hotfire_tests::process::{Hotfire, free_port};
use hotfire_tests::wire::{Answer, Client, frame};

/// What may come of it.
enum Fate {
    /// An answer with this code.
    Answered(i64),
    /// A closed connection, and one line in the log.
    Closed,
    /// The peer left by itself, in the middle of a frame.
    Left,
}

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    fate: Fate,
}

fn cases() -> Vec<Case> {
    let closed = |name, bytes: &[u8]| Case { name, bytes: bytes.to_vec(), fate: Fate::Closed };
    let header = |text: &str| frame(text.as_bytes(), b"");
    let answered =
        |name, text, code| Case { name, bytes: header(text), fate: Fate::Answered(code) };
    let mut half = header(r#"{"code":310,"opaque":1,"flag":0}"#);
    half.truncate(half.len() - 5);
    vec![
        closed("negative length", &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        closed("zero length", &[0, 0, 0, 0, 0, 0, 0, 0]),
        closed("length too small for a header", &[0, 0, 0, 3, 0, 0, 0]),
        closed("huge length", &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 10]),
        closed("one byte over the limit", &[1, 0, 0, 0, 0, 0, 0, 10]),
        closed("header beyond the frame", &[0, 0, 0, 8, 0, 0, 0, 200, 1, 2, 3, 4]),
        closed("unknown serialisation", &[0, 0, 0, 8, 9, 0, 0, 4, 1, 2, 3, 4]),
        closed("broken JSON", &header("{\"code\":310,")),
        closed("JSON of another shape", &header("[1,2,3]")),
        closed("binary header cut short", &[0, 0, 0, 8, 1, 0, 0, 4, 0, 105, 12, 1]),
        closed("code of the wrong type", &header(r#"{"code":{},"opaque":1,"flag":0}"#)),
        Case { name: "half a frame, then the end", bytes: half, fate: Fate::Left },
        answered("unknown request", r#"{"code":31999,"opaque":1,"flag":0}"#, 3),
        answered(
            "field of the wrong type",
            r#"{"code":30,"opaque":1,"flag":0,"extFields":{"topic":"T","queueId":"many"}}"#,
            1,
        ),
        answered("field missing", r#"{"code":11,"opaque":1,"flag":0,"extFields":{}}"#, 1),
    ]
}

fn judge(case: &Case, answer: &std::io::Result<Answer>) {
    let name = case.name;
    match (&case.fate, answer) {
        (Fate::Answered(code), Ok(answer)) => {
            assert_eq!(answer.code, *code, "{name}: {}", answer.remark);
            assert_eq!(answer.opaque, 1, "{name}");
            assert!(!answer.remark.is_empty(), "{name}: an error says why");
        }
        (Fate::Closed | Fate::Left, Err(why)) => {
            // A close with unread bytes is a reset.
            let closed = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
            assert!(closed.contains(&why.kind()), "{name}: {why}");
        }
        (_, other) => panic!("{name}: {other:?}"),
    }
}

#[test]
fn bad_bytes_are_answered_or_closed_and_nobody_else_notices() {
    let data = tempfile::tempdir().expect("a directory");
    let (namesrv, port) = (free_port(), free_port());
    let mut node = Hotfire::standalone(data.path(), namesrv, port);
    let mut bystander = Client::connect(port).expect("listening");
    let (mut sent, mut ports) = (0, Vec::new());
    for case in cases() {
        let mut client = Client::connect(port).expect("listening");
        client.write(&case.bytes).expect("written");
        if !matches!(case.fate, Fate::Answered(_)) {
            // Best effort: it may be closed already.
            let _ = client.finish();
        }
        ports.push(client.port());
        judge(&case, &client.answer());
        let peer_noticed = bystander.send("Bystander", 0, case.name.as_bytes());
        assert_eq!(peer_noticed.expect(case.name), sent, "{}", case.name);
        sent += 1;
        assert!(node.is_alive(), "{}: the process is gone", case.name);
    }
    let mut names = Client::connect(namesrv).expect("listening");
    names.write(&[0x7f, 0xff, 0xff, 0xff]).expect("written");
    let _ = names.finish();
    assert!(names.answer().is_err(), "the name server closes, too");
    let least = usize::try_from(sent).expect("a few");
    let messages = bystander.pull_all("Bystander", 0, least).expect("readable");
    assert_eq!(messages.len(), least);
    let ended = node.stop();
    let log = ended.stderr.join("\n");
    assert_eq!(ended.status.code(), Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    for (case, port) in cases().iter().zip(ports) {
        let peer = format!("peer=127.0.0.1:{port} ");
        let lines = ended.stderr.iter().filter(|line| line.contains(&peer)).count();
        let fine = match case.fate {
            Fate::Answered(_) => lines == 0,
            Fate::Closed | Fate::Left => lines == 1,
        };
        assert!(fine, "{}: {lines} lines in the log:\n{log}", case.name);
    }
}

#[test]
fn a_huge_length_allocates_nothing() {
    let data = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let node = Hotfire::standalone(data.path(), free_port(), port);
    let anonymous = || {
        let smaps = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", node.id()));
        let smaps = smaps.expect("Linux tells");
        let line = smaps.lines().find(|line| line.starts_with("Anonymous:")).expect("a line");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number")
    };
    let before = anonymous();
    let open = |_| {
        let mut client = Client::connect(port).expect("listening");
        // The largest frame that is allowed, announced and never sent.
        client.write(&[0, 0xff, 0xff, 0xf0, 0, 0, 0, 10, b'{']).expect("written");
        client
    };
    let clients: Vec<Client> = (0..64).map(open).collect();
    // An answer on a later connection shows that the earlier ones were read.
    Client::connect(port).expect("listening").send("Later", 0, b"x").expect("acknowledged");
    let grown = anonymous().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB for 64 half frames of 16 MiB");
    drop(clients);
}
