//! Wall clocks: each node has its own, which jumps. Monotonic time is the world's.

use hotfire_storage::time::{Mono, Now, Wall};

use crate::choose::{Choose as _, Stream};
use crate::plan::ClockFaults;

/// Wall time of the start of a run, in milliseconds since 1970.
const START_MS: i64 = 1_700_000_000_000;
/// How far clocks are apart at first, at most.
const DAY_MS: u64 = 86_400_000;

/// A jump to come.
#[derive(Clone, Copy, Debug)]
struct Jump {
    /// Behind so many sends.
    sends: u64,
    node: usize,
    by_ms: i64,
}

/// Those of all nodes.
#[derive(Debug)]
pub(super) struct Clocks {
    /// How far each is off.
    off_ms: Vec<i64>,
    jumps: Vec<Jump>,
}

impl Clocks {
    pub(super) fn draw(luck: &mut Stream, plan: &ClockFaults, nodes: usize, sends: u64) -> Self {
        let count = luck.below(u64::from(plan.jumps) + 1, "clock.jumps");
        let mut by = |most: u64| {
            let by = i64::try_from(luck.below(most.max(1), "clock.jump")).expect("small");
            if by > 0 && luck.chance(500, "clock.jump.back") { -by } else { by }
        };
        let apart = if count > 0 { plan.jump_max_ms.min(DAY_MS) } else { 0 };
        let off_ms = (0..nodes).map(|_| by(apart)).collect();
        let by_ms: Vec<i64> = (0..count).map(|_| by(plan.jump_max_ms)).collect();
        let mut jump = |by_ms| Jump {
            sends: 1 + luck.below(sends, "clock.jump.when"),
            node: luck.index(nodes, "clock.jump.whose"),
            by_ms,
        };
        Self { off_ms, jumps: by_ms.into_iter().map(&mut jump).collect() }
    }

    /// Are a node's and its master's apart?
    pub(super) fn are_apart(&self, node: usize) -> bool {
        self.off_ms[node] != self.off_ms[0]
    }

    /// What a node's clocks show.
    pub(super) fn now(&self, node: usize, world_us: u64) -> Now {
        let off_ms = self.off_ms.get(node).copied().unwrap_or_default();
        let world_ms = i64::try_from(world_us / 1000).expect("runs are short");
        Now {
            mono: Mono::from_micros(world_us),
            wall: Wall::from_millis(START_MS + world_ms + off_ms),
        }
    }

    /// So many messages were sent. Whose clocks jump now, and how far?
    pub(super) fn sent(&mut self, sends: u64) -> Vec<(usize, i64)> {
        let (now, later) = self.jumps.iter().partition(|jump| jump.sends <= sends);
        self.jumps = later;
        let now: Vec<Jump> = now;
        for jump in &now {
            self.off_ms[jump.node] += jump.by_ms;
        }
        now.into_iter().map(|jump| (jump.node, jump.by_ms)).collect()
    }
}
