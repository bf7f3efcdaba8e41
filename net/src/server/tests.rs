//! A real listening server: what each kind of garbage does, while a neighbour works on
//! undisturbed.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hotfire_core::domain::{BrokerRequest, Caller, Code, NameRequest, NameResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::client::{Client, ClientError, Options};
use crate::codec::{Ask, broker, namesrv};
use crate::rt::TcpStream;

const SOON: Duration = Duration::from_secs(5);

fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(rt::run_local(test))
}

/// A server that answers every GET_KV_CONFIG with its key, and everything else as unsupported.
async fn echo(limits: Limits) -> (Server<NameRequest>, String) {
    let server = Server::new(limits, namesrv::decode_request);
    let listener = bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound").to_string();
    server.listen(listener);
    let turns = server.clone();
    rt::spawn_local(async move {
        let mut into = BytesMut::new();
        loop {
            turns.inbox().ready().await;
            while let Some(arrival) = turns.inbox().next() {
                let Arrival::Request { caller, request } = arrival else { continue };
                if !caller.oneway {
                    let frame = respond(&caller, request, &mut into);
                    turns.outbox().answer(caller.conn, frame);
                }
            }
        }
    });
    (server, addr)
}

fn respond(caller: &Caller, request: NameRequest, into: &mut BytesMut) -> Outgoing {
    let response = match request {
        NameRequest::GetKv { key, .. } => NameResponse::KvValue(key),
        NameRequest::Malformed { why } => {
            NameResponse::Refused { code: Code::SystemError, remark: why }
        }
        _ => NameResponse::Refused { code: Code::RequestCodeNotSupported, remark: "no".into() },
    };
    namesrv::encode_response(caller, &response, into)
}

fn get(key: &str) -> NameRequest {
    NameRequest::GetKv { namespace: "n".into(), key: key.into() }
}

async fn works(client: &Client) {
    let answer = client.ask_name_server(&get("k"), SOON).await.expect("an answer");
    assert_eq!(answer, NameResponse::KvValue("k".into()));
}

async fn client(addr: &str) -> Client {
    Client::connect(addr, Options::default()).await.expect("connects").0
}

/// Is the stream closed by the server, without a byte of answer?
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match rt::within(SOON, stream.read_to_end(&mut rest)).await {
        Ok(Ok(_)) => rest.is_empty(),
        Ok(Err(error)) => error.kind() == io::ErrorKind::ConnectionReset,
        Err(_) => false,
    }
}

#[test]
fn garbage_ends_its_own_connection_and_no_other() {
    run(async {
        let (server, addr) = echo(Limits::default()).await;
        let neighbour = client(&addr).await;
        works(&neighbour).await;
        let broken_json = b"\0\0\0\x0a\0\0\0\x06{\"code";
        let short_binary = b"\0\0\0\x09\x01\0\0\x05\x00\x69\x0c\x01\xdf";
        for garbage in [
            &b"\xff\xff\xff\xff\0\0\0\0"[..],
            b"\0\0\0\0\0\0\0\0",
            b"\x7f\xff\xff\xff\0\0\0\0",
            b"\0\0\0\x08\0\0\0\xff",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            broken_json,
            short_binary,
        ] {
            let mut stream = TcpStream::connect(&addr).await.expect("connects");
            stream.write_all(garbage).await.expect("sent");
            assert!(is_closed(&mut stream).await, "{garbage:?}");
            works(&neighbour).await;
        }
        // Half a frame, then silence or an end: nobody is hurt, and nobody waits for the rest.
        let mut half = TcpStream::connect(&addr).await.expect("connects");
        half.write_all(b"\0\0\x01\0\0\0").await.expect("sent");
        works(&neighbour).await;
        drop(half);
        works(&neighbour).await;
        while server.outbox().len() > 1 {
            rt::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn what_can_be_answered_is_answered() {
    run(async {
        let (_server, addr) = echo(Limits::default()).await;
        let client = client(&addr).await;
        let refused = client.ask_broker(&BrokerRequest::Unsupported { code: 4711 }, SOON).await;
        let refused = refused.expect("an answer").response;
        let code = Code::RequestCodeNotSupported;
        let remark = "no".to_owned();
        assert_eq!(refused, hotfire_core::domain::BrokerResponse::Refused { code, remark });
        let no_key = |ask: Ask, into: &mut BytesMut| ask.begin(101, into).finish(Bytes::new());
        let answer = client.call(SOON, no_key).await.expect("an answer");
        assert_eq!(answer.header.code, 1);
        let remark = answer.header.remark.expect("a remark");
        assert_eq!(remark, "the custom field <namespace> is null");
    });
}

#[test]
fn many_requests_share_a_connection_and_oneway_ones_stay_unanswered() {
    run(async {
        let (_server, addr) = echo(Limits::default()).await;
        let binary = Options { json: false, ..Options::default() };
        let (client, mut notices) = Client::connect(&addr, binary).await.expect("connects");
        let requests: Vec<_> = (0..500).map(|number| get(&number.to_string())).collect();
        let (done, mut answers) = tokio::sync::mpsc::channel(500);
        for request in requests {
            let (client, done) = (client.clone(), done.clone());
            rt::spawn_local(async move {
                client.tell(|ask, into| namesrv::encode_request(ask, &request, into)).expect("up");
                let answer = client.ask_name_server(&request, SOON).await.expect("an answer");
                done.send((request, answer)).await.expect("counted");
            });
        }
        for _ in 0..500 {
            let (request, answer) = answers.recv().await.expect("500 of them");
            let NameRequest::GetKv { key, .. } = request else { unreachable!("asked above") };
            assert_eq!(answer, NameResponse::KvValue(key));
        }
        assert_eq!(client.pending(), 0);
        assert!(notices.try_recv().is_err());
    });
}

#[test]
fn a_connection_too_many_is_closed_and_place_is_found_again() {
    run(async {
        let limits = Limits { max_connections: 1, ..Limits::default() };
        let (_server, addr) = echo(limits).await;
        let first = client(&addr).await;
        works(&first).await;
        let mut second = TcpStream::connect(&addr).await.expect("accepted");
        assert!(is_closed(&mut second).await);
        works(&first).await;
        drop(first);
        loop {
            let third = client(&addr).await;
            if third.ask_name_server(&get("k"), SOON).await.is_ok() {
                break;
            }
        }
    });
}

#[test]
fn silence_is_ended_after_its_time_but_not_a_conversation() {
    run(async {
        let limits = Limits { idle: Duration::from_millis(150), ..Limits::default() };
        let (_server, addr) = echo(limits).await;
        let talker = client(&addr).await;
        let mut silent = TcpStream::connect(&addr).await.expect("connects");
        for _ in 0..8 {
            works(&talker).await;
            rt::sleep(Duration::from_millis(50)).await;
        }
        assert!(is_closed(&mut silent).await);
        works(&talker).await;
    });
}

#[test]
fn a_peer_that_does_not_read_is_not_read_and_then_closed() {
    run(async {
        let limits = Limits {
            max_in_flight_bytes: 64 << 10,
            max_backlog_bytes: 64 << 10,
            stall: Duration::from_millis(300),
            ..Limits::default()
        };
        let (server, addr) = echo(limits).await;
        let neighbour = client(&addr).await;
        let mut deaf = TcpStream::connect(&addr).await.expect("connects");
        let request = get(&"k".repeat(30_000));
        let frame = namesrv::encode_request(Ask::json(1), &request, &mut BytesMut::new()).to_vec();
        let flood = async { while deaf.write_all(&frame).await.is_ok() {} };
        rt::within(Duration::from_secs(20), flood).await.expect("the server gives it up");
        works(&neighbour).await;
        assert_eq!(server.outbox().len(), 1);
    });
}

#[test]
fn shutdown_writes_what_is_queued_and_then_closes() {
    run(async {
        let (server, addr) = echo(Limits::default()).await;
        let client = client(&addr).await;
        works(&client).await;
        let request = get("last");
        let (answer, ()) = tokio::join!(client.ask_name_server(&request, SOON), async {
            // Just long enough for the answer to be queued, wherever it then is.
            rt::sleep(Duration::from_millis(50)).await;
            server.shutdown(SOON).await;
        });
        assert_eq!(answer.expect("before the end"), NameResponse::KvValue("last".into()));
        assert!(server.outbox().is_empty());
        rt::within(SOON, client.closed()).await.expect("closed");
        let late = client.ask_name_server(&request, SOON).await;
        assert!(matches!(late, Err(ClientError::Closed)));
        assert!(TcpStream::connect(&addr).await.is_err());
    });
}

#[test]
fn an_answer_that_does_not_come_is_given_up_in_time() {
    run(async {
        let server: Server<BrokerRequest> = Server::new(Limits::default(), broker::decode_request);
        let listener = bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound").to_string();
        server.listen(listener);
        let client = client(&addr).await;
        let asked = client.ask_name_server(&get("k"), Duration::from_millis(30)).await;
        assert!(matches!(asked, Err(ClientError::TimedOut)));
        assert_eq!(client.pending(), 0);
    });
}
