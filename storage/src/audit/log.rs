//! The log, record by record.

use super::{Audit, Depth, Derived, LogFile, Weight, What};
use crate::chain::Chain;
use crate::position::Physical;
use crate::record::{Crc, Damage, Verdict, check};
use crate::recover::Teller;
use crate::resync::{good, next_good, rest};
use crate::seam::Disk;

pub(super) fn walk<D: Disk>(
    disk: &D,
    chain: &Chain,
    depth: Depth,
    audit: &mut Audit,
    derived: &mut Derived,
    teller: &mut Teller<'_>,
) {
    audit.start = Physical::new(chain.start());
    let file = |number: u64| Physical::new(chain.start() + number * chain.file_len());
    for start in (0..chain.count() as u64).map(file) {
        let first = good(disk, chain, start, Crc::Skip);
        let first_stored = first.map(|record| record.store_time());
        audit.log_files.push(LogFile { path: chain.path(start.get()), start, first_stored });
    }
    let mut at = match depth {
        Depth::All => audit.start,
        Depth::Ends => {
            let begun = audit.log_files.iter().rev().find(|file| file.first_stored.is_some());
            begun.map_or(audit.start, |file| file.start)
        }
    };
    let crc = crc(audit, depth);
    let mut damaged: Option<(Physical, Damage)> = None;
    while let Some(rest) = rest(disk, chain, at) {
        teller.done(at.get() - chain.start(), audit.records);
        match check(rest, at, crc(at)) {
            Verdict::Blank { len } => at = at.plus(u64::from(len)),
            Verdict::Good(record) => {
                audit.records += 1;
                audit.last_stored = Some(record.store_time());
                if depth == Depth::All {
                    derived.queues.meet(disk, chain, &record, audit);
                }
                if let Some(items) = &mut derived.items {
                    items.meet(disk, &record, audit);
                }
                at = at.plus(u64::from(record.size()));
            }
            Verdict::Bad(damage) => {
                let Some(next) = next_good(disk, chain, at) else {
                    damaged = is_used(disk, chain, at.get()).then_some((at, damage));
                    break;
                };
                let len = next.get() - at.get();
                let (path, within) = place(chain, at);
                audit.find(&path, within, Weight::Damage, What::Record { damage, len });
                at = next;
            }
        }
    }
    audit.end = at;
    if let Some((at, damage)) = damaged {
        judge_tail(chain, at, damage, audit);
    }
}

/// What is asked of the record at a position: a CRC over all of it where the checkpoint says that
/// each has one.
fn crc(audit: &Audit, depth: Depth) -> impl Fn(Physical) -> Crc + use<> {
    let durable = audit.checkpoint.and_then(|checkpoint| checkpoint.durable);
    let checked = durable.and_then(|durable| durable.checked);
    move |at| match depth {
        Depth::Ends => Crc::Skip,
        Depth::All if checked.is_some_and(|checked| checked <= at) => Crc::Whole,
        Depth::All => Crc::Verify,
    }
}

/// Bytes behind the last record. A crash leaves a torn record; Apache's brokers leave what they
/// cut. Neither lies below what a checkpoint calls durable.
fn judge_tail(chain: &Chain, at: Physical, damage: Damage, audit: &mut Audit) {
    let is_ours = audit.durable().is_some();
    let is_lost = audit.durable().is_some_and(|durable| at < durable);
    let is_torn = !audit.clean || !is_ours;
    let weight = if is_lost || !is_torn { Weight::Damage } else { Weight::Note };
    let (path, within) = place(chain, at);
    audit.find(&path, within, weight, What::Tail { damage });
}

/// The file and the offset in it.
pub(super) fn place(chain: &Chain, at: Physical) -> (String, u64) {
    let start = chain.file_start(at.get());
    (chain.path(start), at.get() - start)
}

/// Is anything behind `at` not zero?
pub(super) fn is_used<D: Disk>(disk: &D, chain: &Chain, at: u64) -> bool {
    let mut parts = chain.parts(at, chain.room_end());
    parts.any(|(file, from, to)| !disk.is_zero(file, from, to))
}
