//! Name server and broker in one process, for trying things out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hotfire_core::domain::{NameRequest, NameResponse};
use hotfire_net::client::{Client, Options};
use hotfire_net::rt;

use crate::Failure;
use crate::broker::Broker;
use crate::cli::StandaloneArgs;
use crate::namesrv::Namesrv;
use crate::signals::Signals;

/// How long the broker's registration may take before it is worth a warning.
const REGISTRATION: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(2);

/// Runs both until an operator stops them.
pub async fn run(args: &StandaloneArgs) -> Result<(), Failure> {
    let signals = Signals::take()?;
    let (names_conf, mut broker_conf) = args.read();
    let names = Namesrv::open(&names_conf, "--namesrv-port").await?;
    let names_addr = reachable(names.addr());
    broker_conf.namesrv.0 = vec![names_addr.to_string()];
    let broker = Broker::open(&broker_conf).await?;
    let advertised = SocketAddr::from((broker_conf.advertised, broker.addr().port()));
    let (end_names, names_end) = tokio::sync::oneshot::channel::<()>();
    let names = rt::spawn_local(names.serve(async move {
        let _ = names_end.await;
    }));
    let stop = async move {
        rt::spawn_local(greet(names_addr, advertised, broker_conf.root.to_string()));
        signals.stop().await;
    };
    // Of a master there is nothing to be parted.
    let ended = Box::pin(broker.serve(stop)).await.map(drop);
    // The broker takes its leave of the name server, so that goes last.
    drop(end_names);
    let _ = names.await;
    ended
}

/// An address that a client of this machine can use.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = if addr.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { addr.ip() };
    SocketAddr::new(ip, addr.port())
}

/// Says that it is ready once a client that asks for a route is told one.
async fn greet(names: SocketAddr, broker: SocketAddr, store: String) {
    if rt::within(REGISTRATION, registered(names)).await.is_err() {
        tracing::warn!("the broker is not registered yet; clients may find no route");
    }
    crate::say(&format!(
        "Hotfire is ready; Ctrl-C stops it.\n  \
           name server  {names}\n  \
           broker       {broker}, its store in {store}\n\
         Try it:\n  \
           hotfire bench send -n {names}\n  \
           hotfire bench pull -n {names}\n\
         Or point any RocketMQ client at it; in Java:\n  \
           producer.setNamesrvAddr(\"{names}\");"
    ));
}

async fn registered(names: SocketAddr) {
    let names = names.to_string();
    loop {
        if let Ok((client, _)) = Client::connect(&names, Options::default()).await {
            let asked = client.ask_name_server(&NameRequest::ClusterInfo, REGISTRATION);
            if let Ok(NameResponse::ClusterInfo(info)) = asked.await
                && !info.brokers.is_empty()
            {
                return;
            }
        }
        rt::sleep(LOOK).await;
    }
}
