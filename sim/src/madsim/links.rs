//! The connections of one simulated client: the product's own client, frames and codecs, over
//! simulated streams. A client has one connection to each peer, opened by its first call.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use hotfire_net::client::{Client, ClientError, Notices, Options};
use hotfire_net::codec::{broker, namesrv};
use hotfire_net::rt;
use tokio::sync::{Notify, mpsc};

use super::world::World;
use crate::workload::{Ask, Event, Peer, Reply};

/// Longer than any model waits: models give up by themselves.
const CALL: Duration = Duration::from_secs(600);

/// What tasks of connections tell the client.
pub(super) enum News {
    Answered {
        link: Id,
        id: i32,
        life: u32,
        reply: Reply,
    },
    /// An answer that cannot be read.
    Broken {
        error: ClientError,
    },
    Ended {
        link: Id,
    },
    Noticed {
        link: Id,
        notice: hotfire_core::domain::BrokerNotice,
    },
    Opened {
        link: Id,
        opened: Result<Opened, ClientError>,
    },
}

/// A connection, told apart from the one to the same peer before it.
#[derive(Clone)]
pub(super) struct Id {
    peer: Peer,
    serial: u64,
}

pub(super) struct Opened {
    client: Client,
    notices: Notices,
    /// The process at the other end.
    life: u32,
}

/// All connections of a client.
pub(super) struct Links {
    world: Arc<World>,
    options: Options,
    open: BTreeMap<Peer, Link>,
    news: mpsc::UnboundedSender<News>,
    serial: u64,
}

struct Link {
    serial: u64,
    state: State,
    /// Nobody waits for anything on it any more.
    gone: Rc<Notify>,
}

enum State {
    Opening(Vec<Call>),
    Open { client: Client, life: u32 },
}

/// Something to be asked.
pub(super) struct Call {
    pub(super) id: i32,
    pub(super) ask: Ask,
    pub(super) oneway: bool,
}

impl Links {
    pub(super) fn new(world: Arc<World>, json: bool) -> (Self, mpsc::UnboundedReceiver<News>) {
        let (news, receiver) = mpsc::unbounded_channel();
        let options = Options { json, ..Options::default() };
        (Self { world, options, open: BTreeMap::new(), news, serial: 0 }, receiver)
    }

    /// Sends a request.
    pub(super) async fn call(&mut self, peer: Peer, call: Call) {
        if !self.open.contains_key(&peer) {
            self.dial(peer.clone());
        }
        let link = self.open.get_mut(&peer).expect("it was just opened");
        if let State::Opening(waiting) = &mut link.state {
            waiting.push(call);
        } else {
            self.start(&peer, call).await;
        }
    }

    /// Ends a connection; is there one?
    pub(super) fn close(&mut self, peer: &Peer) -> bool {
        let link = self.open.remove(peer);
        link.inspect(|link| link.gone.notify_waiters()).is_some()
    }

    /// Takes news in; what it means to the client. The error is what cannot be.
    pub(super) async fn take(&mut self, news: News) -> Result<Option<Event>, ClientError> {
        Ok(match news {
            News::Broken { error } => return Err(error),
            News::Answered { link, id, life, reply } => {
                self.is(&link).then_some(Event::Answered { id, life, reply })
            }
            News::Noticed { link, notice } => {
                self.is(&link).then_some(Event::Noticed(link.peer, notice))
            }
            News::Ended { link } | News::Opened { link, opened: Err(_) } => self.ended(link),
            News::Opened { link, opened: Ok(opened) } => {
                if self.is(&link) {
                    self.opened(link.peer, opened).await;
                }
                None
            }
        })
    }

    fn is(&self, id: &Id) -> bool {
        self.open.get(&id.peer).is_some_and(|link| link.serial == id.serial)
    }

    fn ended(&mut self, id: Id) -> Option<Event> {
        let is = self.is(&id) && self.close(&id.peer);
        is.then_some(Event::Closed(id.peer))
    }

    fn dial(&mut self, peer: Peer) {
        self.serial += 1;
        let id = Id { peer: peer.clone(), serial: self.serial };
        let state = State::Opening(Vec::new());
        let link = Link { serial: self.serial, state, gone: Rc::default() };
        self.open.insert(peer, link);
        let (world, news, options) = (Arc::clone(&self.world), self.news.clone(), self.options);
        rt::spawn_local(async move {
            let addr = world.addr(&id.peer);
            let opened = Client::connect(&addr, options).await.map(|(client, notices)| {
                // The listener has the connection as of now, so this process it is.
                Opened { client, notices, life: world.life_at(&id.peer) }
            });
            // A client that is no more needs no news.
            let _ = news.send(News::Opened { link: id, opened });
        });
    }

    async fn opened(&mut self, peer: Peer, opened: Opened) {
        let Opened { client, notices, life } = opened;
        let link = self.open.get_mut(&peer).expect("it was just compared");
        let state = std::mem::replace(&mut link.state, State::Open { client, life });
        let id = Id { peer: peer.clone(), serial: link.serial };
        rt::spawn_local(listen(id, notices, Rc::clone(&link.gone), self.news.clone()));
        let State::Opening(waiting) = state else { unreachable!("a connection opens once") };
        for call in waiting {
            self.start(&peer, call).await;
        }
    }

    /// Puts a request on an open connection. What has to wait for the answer goes its own way, but
    /// only after the request is queued: requests leave in the order in which they are made.
    async fn start(&mut self, peer: &Peer, call: Call) {
        let link = &self.open[peer];
        let State::Open { client, life } = &link.state else { unreachable!("it is open") };
        if call.oneway {
            // An end of the connection is told by its listener.
            let _ = client.tell(|ask, into| encode(ask, &call.ask, into));
            return;
        }
        let (client, gone, life) = (client.clone(), Rc::clone(&link.gone), *life);
        let id = Id { peer: peer.clone(), serial: link.serial };
        let news = self.news.clone();
        let mut waits: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            let answered = tokio::select! {
                biased;
                () = gone.notified() => return,
                answered = ask(&client, &call.ask) => answered,
            };
            let _ = news.send(match answered {
                Ok(reply) => News::Answered { link: id, id: call.id, life, reply },
                Err(error @ ClientError::Decode(_)) => News::Broken { error },
                // Its listener tells the end; a model gives up by itself.
                Err(_) => return,
            });
        });
        let is_pending = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx).is_pending())).await;
        if is_pending {
            rt::spawn_local(waits);
        }
    }
}

fn encode(
    ask: hotfire_net::codec::Ask,
    what: &Ask,
    into: &mut BytesMut,
) -> hotfire_net::head_writer::Outgoing {
    match what {
        Ask::Broker(request) => broker::encode_request(ask, request, into),
        Ask::Name(request) => namesrv::encode_request(ask, request, into),
    }
}

async fn ask(client: &Client, what: &Ask) -> Result<Reply, ClientError> {
    Ok(match what {
        Ask::Broker(request) => {
            let reply = client.ask_broker(request, CALL).await?;
            Reply::Broker(reply.response, vec![reply.records])
        }
        Ask::Name(request) => Reply::Name(client.ask_name_server(request, CALL).await?),
    })
}

async fn listen(
    link: Id,
    mut notices: Notices,
    gone: Rc<Notify>,
    news: mpsc::UnboundedSender<News>,
) {
    loop {
        let notice = tokio::select! {
            biased;
            () = gone.notified() => return,
            notice = notices.recv() => notice,
        };
        let Some(notice) = notice else {
            let _ = news.send(News::Ended { link });
            return;
        };
        if let Some(notice) = broker::decode_notice(&notice.header, &notice.body) {
            let _ = news.send(News::Noticed { link: link.clone(), notice });
        }
    }
}
