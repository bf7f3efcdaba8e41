//! Queues within bodies: as values, and as the keys of tables (wire.md 6).

use std::fmt;
use std::marker::PhantomData;

use hotfire_core::domain::{MessageQueue, Text};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::body;

/// A queue.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueBody {
    broker_name: Text,
    queue_id: i32,
    topic: Text,
}

impl From<&MessageQueue> for QueueBody {
    fn from(queue: &MessageQueue) -> Self {
        let MessageQueue { topic, broker_name, queue } = queue.clone();
        Self { broker_name, queue_id: queue, topic }
    }
}

impl From<QueueBody> for MessageQueue {
    fn from(QueueBody { broker_name, queue_id, topic }: QueueBody) -> Self {
        Self { topic, broker_name, queue: queue_id }
    }
}

/// A table by queue, as it is read.
pub(super) struct ByQueue<V>(pub(super) Vec<(MessageQueue, V)>);

impl<V> Default for ByQueue<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByQueue<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Rows(PhantomData))
    }
}

struct Rows<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Rows<V> {
    type Value = ByQueue<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table whose keys are queues")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByQueue<V>, A::Error> {
        let mut rows = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, V>()? {
            let queue: QueueBody = serde_json::from_str(&key).map_err(A::Error::custom)?;
            rows.push((queue.into(), value));
        }
        Ok(ByQueue(rows))
    }
}

/// Writes a table whose keys are objects. They are no strings: the original's clients since 5.4
/// fail on any other form.
pub(super) fn write_by_queue<'a, V: Serialize>(
    rows: impl IntoIterator<Item = (&'a MessageQueue, V)>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for (number, (queue, value)) in rows.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend(body::write(&QueueBody::from(queue)));
        out.push(b':');
        out.extend(body::write(&value));
    }
    out.push(b'}');
}
