//! A blocking client of the remoting protocol: JSON headers, one request at a time.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::process::PATIENCE;

/// Request codes.
pub mod code {
    /// GET_ROUTEINFO_BY_TOPIC
    pub const ROUTE: i32 = 105;
    /// GET_BROKER_RUNTIME_INFO
    pub const RUNTIME_INFO: i32 = 28;
    /// GET_MAX_OFFSET
    pub const MAX_OFFSET: i32 = 30;
    /// PULL_MESSAGE
    pub const PULL: i32 = 11;
    /// QUERY_CONSUMER_OFFSET
    pub const QUERY_OFFSET: i32 = 14;
    /// UPDATE_CONSUMER_OFFSET
    pub const UPDATE_OFFSET: i32 = 15;
    /// HEART_BEAT
    pub const HEARTBEAT: i32 = 34;
    /// NOTIFY_CONSUMER_IDS_CHANGED, of a broker
    pub const CONSUMER_IDS_CHANGED: i64 = 40;
    /// LOCK_BATCH_MQ
    pub const LOCK: i32 = 41;
    /// UNLOCK_BATCH_MQ
    pub const UNLOCK: i32 = 42;
    /// REGISTER_BROKER
    pub const REGISTER_BROKER: i64 = 103;
    /// UNREGISTER_BROKER
    pub const UNREGISTER_BROKER: i64 = 104;
    /// SEND_MESSAGE_V2
    pub const SEND: i32 = 310;
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    opaque: i64,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The response code.
    pub code: i64,
    /// The request's number.
    pub opaque: i64,
    /// Words about an error.
    pub remark: String,
    /// The header's fields.
    pub fields: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A stored message, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number in its queue.
    pub offset: i64,
    /// Its body.
    pub body: Vec<u8>,
    /// All of it, as it lies in the log.
    pub bytes: Vec<u8>,
}

impl Client {
    /// Connects to a port of this machine.
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, opaque: 0 })
    }

    /// Our own port.
    pub fn port(&self) -> u16 {
        self.stream.local_addr().expect("connected").port()
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent; answers can still be read.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        self.opaque += 1;
        let fields: BTreeMap<_, _> = fields.iter().copied().collect();
        let header = json!({
            "code": code, "language": "RUST", "version": 475, "opaque": self.opaque, "flag": 0,
            "extFields": fields,
        });
        self.write(&frame(header.to_string().as_bytes(), body))?;
        let answer = self.answer()?;
        assert_eq!(answer.opaque, self.opaque, "the answer to another question");
        Ok(answer)
    }

    /// The next answer; `UnexpectedEof` if the connection was closed.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let length = self.number()?;
        let mark = self.number()?;
        assert!((4..1 << 24).contains(&length), "an answer of {length} bytes");
        let header_len = mark & 0xff_ffff;
        assert_eq!(mark >> 24, 0, "a JSON question is answered in JSON");
        let mut header = vec![0; header_len];
        self.stream.read_exact(&mut header)?;
        let mut body = vec![0; length - 4 - header_len];
        self.stream.read_exact(&mut body)?;
        let header: Value = serde_json::from_slice(&header)?;
        let fields = header["extFields"].as_object().into_iter().flatten();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
        Ok(Answer {
            code: header["code"].as_i64().expect("an answer has a code"),
            opaque: header["opaque"].as_i64().expect("an answer has a number"),
            remark: header["remark"].as_str().unwrap_or_default().to_owned(),
            fields: fields.map(|(key, value)| (key.clone(), text(value))).collect(),
            body,
        })
    }

    fn number(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4];
        self.stream.read_exact(&mut bytes)?;
        Ok(usize::try_from(u32::from_be_bytes(bytes)).expect("32 bits fit"))
    }

    /// Sends a message; the answer's queue offset if it was acknowledged.
    pub fn send(&mut self, topic: &str, queue: i32, body: &[u8]) -> io::Result<i64> {
        let answer = self.try_send(topic, queue, body)?;
        if answer.code != 0 {
            return Err(io::Error::other(format!("{}: {}", answer.code, answer.remark)));
        }
        Ok(answer.fields["queueOffset"].parse().expect("an offset"))
    }

    /// Sends a message, whatever the answer.
    pub fn try_send(&mut self, topic: &str, queue: i32, body: &[u8]) -> io::Result<Answer> {
        self.try_send_with(topic, queue, "", body)
    }

    /// The same, with properties as encoded.
    pub fn try_send_with(
        &mut self,
        topic: &str,
        queue: i32,
        properties: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        let queue = queue.to_string();
        let fields = [
            ("a", "tests"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ];
        self.ask(code::SEND, &fields, body)
    }

    /// Every message of a queue, and at least `least`: an answer is held until there are so many.
    pub fn pull_all(&mut self, topic: &str, queue: i32, least: usize) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        let mut next = 0_i64;
        loop {
            let hold = messages.len() < least;
            let answer = self.pull(topic, queue, next, hold)?;
            match answer.code {
                0 => messages.extend(split(&answer.body)),
                // PULL_NOT_FOUND: the end.
                19 if !hold => return Ok(messages),
                other => {
                    let had = messages.len();
                    let why = format!("{other} after {had} messages: {}", answer.remark);
                    return Err(io::Error::other(why));
                }
            }
            next = answer.fields["nextBeginOffset"].parse().expect("an offset");
        }
    }

    fn pull(&mut self, topic: &str, queue: i32, offset: i64, hold: bool) -> io::Result<Answer> {
        let (queue, offset) = (queue.to_string(), offset.to_string());
        let millis = (PATIENCE.as_millis() / 2).to_string();
        let fields = [
            ("consumerGroup", "tests"),
            ("topic", topic),
            ("queueId", &queue),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            // 4: the subscription is here; 2: the answer may be held.
            ("sysFlag", if hold { "6" } else { "4" }),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", &millis),
            ("subscription", "*"),
            ("subVersion", "0"),
            ("expressionType", "TAG"),
        ];
        self.ask(code::PULL, &fields, b"")
    }
}

/// A frame with a JSON header.
pub fn frame(header: &[u8], body: &[u8]) -> Vec<u8> {
    let number = |len: usize| u32::try_from(len).expect("a small frame").to_be_bytes();
    let mut frame = number(4 + header.len() + body.len()).to_vec();
    frame.extend(number(header.len()));
    frame.extend(header);
    frame.extend(body);
    frame
}

/// The messages in the body of an answer to a pull.
fn split(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let word = |bytes: &[u8], at: usize| {
        u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    };
    while !bytes.is_empty() {
        let (message, rest) = bytes.split_at(word(bytes, 0) as usize);
        assert_eq!(word(message, 4), 0xdaa3_20a7, "a message of the first version");
        let offset = i64::from_be_bytes(message[20..28].try_into().expect("eight bytes"));
        // Both hosts are IPv4: the body's length stands at 84.
        let len = word(message, 84) as usize;
        let (body, all) = (message[88..88 + len].to_vec(), message.to_vec());
        messages.push(Message { offset, body, bytes: all });
        bytes = rest;
    }
    messages
}
