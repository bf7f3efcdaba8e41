//! One connection, used the way a busy client uses it: many requests in flight, few system calls.

use std::fmt;
use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use hotfire_core::domain::{BrokerRequest, NameRequest, NameResponse};
use hotfire_net::codec::{self, Ask};
use hotfire_net::frame::{Frame, FrameDecoder, FrameLimits};
use hotfire_net::head_writer::Outgoing;
use hotfire_net::header::Header;
use hotfire_net::rt::TcpStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Failure;

/// An answer.
pub enum Answer {
    /// Success, and the number of the request.
    Well(i32),
    /// Anything.
    Whole(Header, Bytes),
}

/// A connection to a broker or a name server.
pub struct Session {
    addr: String,
    stream: TcpStream,
    decoder: FrameDecoder,
    /// Frames that wait for [`Session::flush`].
    out: BytesMut,
    scratch: BytesMut,
}

impl Session {
    /// Connects.
    pub async fn connect(addr: &str) -> Result<Self, Failure> {
        let fail = |why| {
            Failure::new(format!("cannot connect to {addr}: {why}; does a broker run there?"))
        };
        let stream = TcpStream::connect(addr).await.map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        Ok(Self {
            addr: addr.to_owned(),
            stream,
            decoder: FrameDecoder::new(FrameLimits::default()),
            out: BytesMut::new(),
            scratch: BytesMut::new(),
        })
    }

    /// Queues a request; its answer carries `opaque`.
    pub fn push(&mut self, opaque: i32, request: &BrokerRequest) {
        let frame = codec::broker::encode_request(Ask::json(opaque), request, &mut self.scratch);
        self.append(frame);
    }

    fn append(&mut self, frame: Outgoing) {
        self.out.extend_from_slice(&frame.head);
        for piece in frame.body.into_pieces() {
            self.out.extend_from_slice(&piece);
        }
    }

    /// Writes everything queued.
    pub async fn flush(&mut self) -> Result<(), Failure> {
        let written = self.stream.write_all_buf(&mut self.out).await;
        written.map_err(|why| self.lost(why))
    }

    /// Writes requests that are encoded already, from where they are.
    pub async fn write(&mut self, mut frames: &mut [IoSlice<'_>]) -> Result<(), Failure> {
        while !frames.is_empty() {
            let written = self.stream.write_vectored(frames).await;
            match written.map_err(|why| self.lost(why))? {
                0 => return Err(self.lost("the other side takes nothing")),
                written => IoSlice::advance_slices(&mut frames, written),
            }
        }
        Ok(())
    }

    /// The next answer that has arrived; `None` if [`Session::wait`] has to bring more bytes.
    pub fn arrived(&mut self) -> Result<Option<(Header, Bytes)>, Failure> {
        while let Some(frame) = self.next_frame()? {
            if let Some(answer) = self.answer(frame)? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// The same, if success is all that is asked for: it is not taken apart then. Whoever makes
    /// load beside a broker is to cost little.
    pub fn arrived_well(&mut self) -> Result<Option<Answer>, Failure> {
        loop {
            let well = self.decoder.pass_over(Header::answers_well);
            if let Some(opaque) = well.map_err(|why| self.lost(why))? {
                return Ok(Some(Answer::Well(opaque)));
            }
            let Some(frame) = self.next_frame()? else {
                return Ok(None);
            };
            if let Some((header, body)) = self.answer(frame)? {
                return Ok(Some(Answer::Whole(header, body)));
            }
        }
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, Failure> {
        self.decoder.next_frame().map_err(|why| self.lost(why))
    }

    /// A broker may ask its client, too; a load has nothing to say to that.
    fn answer(&self, frame: Frame) -> Result<Option<(Header, Bytes)>, Failure> {
        let header = Header::decode(&frame).map_err(|why| self.lost(why))?;
        Ok(header.is_response().then_some((header, frame.body)))
    }

    /// Waits for more bytes.
    pub async fn wait(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(self.decoder.read_into()).await {
            Ok(0) => Err(self.lost("the other side closed it")),
            Ok(_) => Ok(()),
            Err(why) => Err(self.lost(why)),
        }
    }

    /// The answer to one request, alone in flight.
    pub async fn ask(&mut self, request: &BrokerRequest) -> Result<codec::broker::Reply, Failure> {
        self.push(0, request);
        let (header, body) = self.round_trip().await?;
        let code = codec::broker::request_code(request);
        codec::broker::decode_response(code, &header, &body).map_err(|why| self.lost(why))
    }

    /// The answer of a name server to one request, alone in flight.
    pub async fn ask_name(&mut self, request: &NameRequest) -> Result<NameResponse, Failure> {
        let ask = Ask::json(0);
        let frame = codec::namesrv::encode_request(ask, request, &mut self.scratch);
        self.append(frame);
        let (header, body) = self.round_trip().await?;
        let code = codec::namesrv::request_code(request);
        codec::namesrv::decode_response(code, &header, &body).map_err(|why| self.lost(why))
    }

    async fn round_trip(&mut self) -> Result<(Header, Bytes), Failure> {
        self.flush().await?;
        loop {
            if let Some(answer) = self.arrived()? {
                return Ok(answer);
            }
            self.wait().await?;
        }
    }

    fn lost(&self, why: impl fmt::Display) -> Failure {
        Failure::new(format!("the connection to {} broke: {why}", self.addr))
    }
}
