//! A broker that is stopped in order says so to every name server.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use hotfire_tests::group::{Names, Node};
use hotfire_tests::process::PATIENCE;
use hotfire_tests::wire::{Client, code, frame};
use serde_json::{Value, json};

/// What a name server of ours is asked: the code and the fields; `None`: the connection ended.
type Heard = Option<(i64, BTreeMap<String, String>)>;

/// A name server that says yes to everything, and what it hears.
fn listener() -> (u16, Receiver<Heard>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("some port is free");
    let port = listener.local_addr().expect("bound").port();
    let (told, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let told = told.clone();
            thread::spawn(move || {
                while hear(&stream, &told).is_some() {}
                let _ = told.send(None);
            });
        }
    });
    (port, heard)
}

fn hear(mut stream: &TcpStream, told: &Sender<Heard>) -> Option<()> {
    let mut sizes = [0; 8];
    stream.read_exact(&mut sizes).ok()?;
    let number = |at: usize| u32::from_be_bytes(sizes[at..at + 4].try_into().expect("four bytes"));
    let (length, header_len) = (number(0) as usize, number(4) as usize);
    let mut rest = vec![0; length - 4];
    stream.read_exact(&mut rest).ok()?;
    let header: Value = serde_json::from_slice(&rest[..header_len]).expect("a JSON header");
    let fields = header["extFields"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fields = fields.map(|(key, value)| (key.clone(), text(value))).collect();
    told.send(Some((header["code"].as_i64()?, fields))).ok()?;
    let answer = json!({
        "code": 0, "language": "JAVA", "version": 475, "opaque": header["opaque"], "flag": 1,
        "extFields": {},
    });
    stream.write_all(&frame(answer.to_string().as_bytes(), b"")).ok()
}

fn has_route(names: &mut Client) -> bool {
    let answer = names.ask(code::ROUTE, &[("topic", "TBW102")], b"").expect("an answer");
    answer.code == 0
}

#[test]
fn a_stop_unregisters_from_every_name_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, second) =
        (Names::start(dir.path(), "first", ""), Names::start(dir.path(), "second", ""));
    let (port, heard) = listener();
    let lines =
        format!("namesrvAddr=127.0.0.1:{};127.0.0.1:{port};127.0.0.1:{}", first.port, second.port);
    let mut broker = Node::new(dir.path(), "broker", &lines);
    broker.start();
    let mut names: Vec<Client> =
        [first.port, second.port].map(|port| Client::connect(port).expect("listening")).into();
    let deadline = Instant::now() + PATIENCE;
    while !names.iter_mut().all(has_route) {
        assert!(Instant::now() < deadline, "it does not register");
        thread::sleep(Duration::from_millis(20));
    }
    let next = || heard.recv_timeout(PATIENCE).expect("something is heard");
    assert_eq!(next().expect("no end").0, code::REGISTER_BROKER);

    let ended = broker.stop();
    assert!(ended.status.success(), "{:?}", ended.stderr);
    assert!(!names.iter_mut().any(has_route), "a route to a broker that is no more");
    let farewell = loop {
        let (code, fields) = next().expect("it takes its leave before it hangs up");
        if code == code::UNREGISTER_BROKER {
            break fields;
        }
    };
    let field = |name: &str| farewell[name].as_str();
    assert_eq!(field("brokerName"), "pair");
    assert_eq!((field("clusterName"), field("brokerId")), ("DefaultCluster", "0"));
    assert_eq!(field("brokerAddr"), format!("127.0.0.1:{}", broker.port));
    assert_eq!(next(), None, "nothing is said after that");
}
