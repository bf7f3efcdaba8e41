//! A name server as a process: its file, its port, its machine, and the driver that turns it.

use std::net::SocketAddr;

use hotfire_core::namesrv::{KvConfig, NameServer};
use hotfire_net::rt::{self, TcpListener};
use hotfire_net::server::Limits;

use crate::Failure;
use crate::cli::{NamesrvArgs, Read};
use crate::config::NamesrvConf;
use crate::driver::{NamesrvEdges, run_namesrv};
use crate::kv_file::KvFile;
use crate::listen::listen;
use crate::signals::Signals;

/// Runs one until an operator stops it.
pub async fn run(args: &NamesrvArgs) -> Result<(), Failure> {
    let conf = match args.read()? {
        Read::Conf(conf) => conf,
        Read::Print(text) => {
            crate::say(&text);
            return Ok(());
        }
    };
    let signals = Signals::take()?;
    let namesrv = Namesrv::open(&conf, "--port").await?;
    tracing::info!("the name server is ready on {}", namesrv.addr());
    namesrv.serve(signals.stop()).await;
    Ok(())
}

/// A name server that has everything it needs to serve.
pub struct Namesrv {
    machine: NameServer,
    file: KvFile,
    listener: TcpListener,
    limits: Limits,
    addr: SocketAddr,
}

impl Namesrv {
    /// Takes what it needs, or says what is in the way. `flag` chooses another port.
    pub async fn open(conf: &NamesrvConf, flag: &str) -> Result<Self, Failure> {
        let listener = listen(conf.bind, conf.port, flag).await?;
        let (file, kv) = KvFile::open(&conf.kv_path.0)?;
        Ok(Self {
            machine: NameServer::new(conf.machine(), kv, rt::now()),
            file,
            addr: listener.local_addr().map_err(Failure::new)?,
            listener,
            limits: conf.connections.limits(),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop`.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { machine, file, listener, limits, .. } = self;
        let save_kv = move |kv: &KvConfig| {
            if let Err(why) = file.save(kv) {
                tracing::error!("{file} was not replaced, a restart forgets the change: {why}");
            }
        };
        run_namesrv(machine, NamesrvEdges { listeners: vec![listener], limits, save_kv }, stop)
            .await;
        tracing::info!("the name server has stopped");
    }
}
