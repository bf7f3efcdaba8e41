//! The KV configuration: namespace to key to value. The only thing a name server keeps.

use std::collections::BTreeMap;

use hotfire_storage::text::Text;

use crate::machine::Digest;

/// The table of `kvConfig.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvConfig(BTreeMap<Text, BTreeMap<Text, Text>>);

impl KvConfig {
    /// A table read from its file.
    pub fn new(table: BTreeMap<Text, BTreeMap<Text, Text>>) -> Self {
        Self(table)
    }

    /// The whole table, to be written to its file.
    pub fn table(&self) -> &BTreeMap<Text, BTreeMap<Text, Text>> {
        &self.0
    }

    pub(super) fn get(&self, namespace: &str, key: &str) -> Option<&Text> {
        self.0.get(namespace)?.get(key)
    }

    pub(super) fn namespace(&self, namespace: &str) -> Option<&BTreeMap<Text, Text>> {
        self.0.get(namespace)
    }

    /// Sets a value; says whether that changed anything.
    pub(super) fn put(&mut self, namespace: Text, key: Text, value: Text) -> bool {
        let table = self.0.entry(namespace).or_default();
        table.insert(key, value.clone()) != Some(value)
    }

    /// Removes a value; says whether that changed anything.
    pub(super) fn remove(&mut self, namespace: &str, key: &str) -> bool {
        self.0.get_mut(namespace).is_some_and(|table| table.remove(key).is_some())
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        for (namespace, table) in &self.0 {
            into.bytes(namespace.as_bytes());
            for (key, value) in table {
                into.bytes(key.as_bytes());
                into.bytes(value.as_bytes());
            }
        }
    }
}
