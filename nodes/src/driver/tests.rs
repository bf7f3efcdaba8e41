//! Both drivers over sockets, with a store in memory: natively over real ones, under madsim over
//! simulated ones, where the same seed gives the same run.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hotfire_core::broker::{Broker, BrokerConfig};
use hotfire_core::domain::{
    BrokerId, BrokerIdentity, BrokerRequest, BrokerResponse, NameRequest, NameResponse, Pull,
    QueueRef, Send,
};
use hotfire_core::namesrv::{KvConfig, NameServer, NameServerConfig};
use hotfire_net::client::{Client, Options};
use hotfire_net::rt;
use hotfire_net::server::{self, Limits};
use hotfire_storage::Settings;
use hotfire_storage::plain::PlainDisk;
use tokio::sync::{Notify, oneshot};

use super::*;

const SOON: Duration = Duration::from_secs(5);

#[cfg(madsim)]
fn run<F: Future>(test: F) -> F::Output {
    let config = madsim::Config::default();
    madsim::runtime::Runtime::with_seed_and_config(1, config).block_on(test)
}

#[cfg(not(madsim))]
fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(rt::run_local(test))
}

async fn connect(addr: &str) -> Client {
    Client::connect(addr, Options::default()).await.expect("connects").0
}

fn broker(addr: &str, name_servers: usize) -> Broker<PlainDisk> {
    let identity = BrokerIdentity {
        cluster: "c".into(),
        broker_name: "b".into(),
        addr: addr.into(),
        id: BrokerId::MASTER,
    };
    let mut config = BrokerConfig::new(identity, addr.parse().expect("an address"), addr.into());
    config.name_servers = name_servers;
    let settings = Settings {
        commit_log_file: 1 << 20,
        index_slots: 10,
        index_items: 20,
        ..Settings::default()
    };
    Broker::open(PlainDisk::default(), settings, config, rt::now()).expect("opens").0
}

fn send(topic: &str) -> BrokerRequest {
    let to = QueueRef { topic: topic.into(), queue: 0 };
    BrokerRequest::Send(Box::new(Send::new("p", to, "hello")))
}

fn pull(topic: &str, offset: i64) -> BrokerRequest {
    BrokerRequest::Pull(Box::new(Pull {
        group: "g".into(),
        from: QueueRef { topic: topic.into(), queue: 0 },
        offset,
        max_messages: 32,
        max_bytes: None,
        commit: None,
        hold_ms: Some(5_000),
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: None,
    }))
}

struct Names {
    addr: String,
    stop: oneshot::Sender<()>,
    saved: Rc<RefCell<Vec<KvConfig>>>,
}

async fn name_server(at: &str) -> Names {
    let listener = server::bind(at).await.expect("a free port");
    let addr = listener.local_addr().expect("bound").to_string();
    let machine = NameServer::new(NameServerConfig::default(), KvConfig::default(), rt::now());
    let saved = Rc::new(RefCell::new(Vec::new()));
    let keep = Rc::clone(&saved);
    let edges = NamesrvEdges {
        listeners: vec![listener],
        limits: Limits::default(),
        save_kv: move |kv: &KvConfig| keep.borrow_mut().push(kv.clone()),
    };
    let (stop, stopped) = oneshot::channel();
    rt::spawn_local(run_namesrv(machine, edges, async {
        let _ = stopped.await;
    }));
    Names { addr, stop, saved }
}

async fn route(names: &Client, topic: &str) -> Option<String> {
    let asked = names.ask_name_server(&NameRequest::Route { topic: topic.into() }, SOON).await;
    match asked.expect("an answer") {
        NameResponse::Route(route) => Some(route.brokers[0].addrs[&BrokerId::MASTER].to_string()),
        _ => None,
    }
}

#[test]
fn a_message_travels_and_the_name_server_knows_the_way() {
    run(async {
        let names = name_server("127.0.0.1:0").await;
        let listener = server::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound").to_string();
        let edges = BrokerEdges {
            listeners: vec![listener],
            name_servers: vec![names.addr.clone()],
            ha: None,
            limits: Limits::default(),
            wake: Arc::new(Notify::new()),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let running = rt::spawn_local(run_broker(broker(&addr, 1), edges, async {
            let _ = stopped.await;
        }));
        let (client, lookup) = (connect(&addr).await, connect(&names.addr).await);
        let sent = client.ask_broker(&send("T"), SOON).await.expect("an answer").response;
        assert!(matches!(sent, BrokerResponse::Sent(_)), "{sent:?}");
        // The answer came after the registration, so the route is there at once.
        assert_eq!(route(&lookup, "T").await.as_deref(), Some(&*addr));
        let pulled = client.ask_broker(&pull("T", 0), SOON).await.expect("an answer");
        assert!(pulled.records.windows(5).any(|bytes| bytes == b"hello"));
        // A pull that is held, and the message that it waits for.
        let (held, message) = (pull("T", 1), send("T"));
        let (pulled, sent) = tokio::join!(client.ask_broker(&held, SOON), async {
            rt::sleep(Duration::from_millis(50)).await;
            client.ask_broker(&message, SOON).await
        });
        assert!(matches!(sent.expect("an answer").response, BrokerResponse::Sent(_)));
        assert!(!pulled.expect("an answer").records.is_empty());
        // A stop takes leave, answers, and closes.
        drop(stop);
        let (_, stopped) = running.await.expect("no panic");
        stopped.expect("memory does not fail");
        assert_eq!(route(&lookup, "T").await, None);
        rt::within(SOON, client.closed()).await.expect("closed");
        drop(names.stop);
    });
}

#[test]
fn a_name_server_that_comes_back_is_told_again() {
    run(async {
        let first = name_server("127.0.0.1:0").await;
        let at = first.addr.clone();
        let listener = server::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound").to_string();
        let edges = BrokerEdges {
            listeners: vec![listener],
            name_servers: vec![at.clone()],
            ha: None,
            limits: Limits::default(),
            wake: Arc::new(Notify::new()),
        };
        rt::spawn_local(run_broker(broker(&addr, 1), edges, std::future::pending()));
        let known = || async {
            let lookup = connect(&at).await;
            while route(&lookup, "TBW102").await.is_none() {
                rt::sleep(Duration::from_millis(10)).await;
            }
            lookup
        };
        let lookup = rt::within(SOON, known()).await.expect("registered");
        drop(first.stop);
        rt::within(SOON, lookup.closed()).await.expect("the name server is gone");
        rt::sleep(Duration::from_millis(100)).await;
        let _second = name_server(&at).await;
        rt::within(SOON, known()).await.expect("registered again");
    });
}

#[test]
fn a_kv_change_is_kept_before_it_is_acknowledged() {
    run(async {
        let names = name_server("127.0.0.1:0").await;
        let client = connect(&names.addr).await;
        let put = NameRequest::PutKv { namespace: "n".into(), key: "k".into(), value: "v".into() };
        let answer = client.ask_name_server(&put, SOON).await.expect("an answer");
        assert_eq!(answer, NameResponse::Done);
        assert_eq!(names.saved.borrow().len(), 1);
        assert_eq!(names.saved.borrow()[0].table()["n"]["k"], "v");
    });
}
