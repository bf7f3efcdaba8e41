//! Which seeds are run: a range, fresh ones, or those of a list.

use std::fs;
use std::path::PathBuf;
// The clock of the operator, for patience and fresh seeds. No run sees it.
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use hotfire_sim::ring::Ring;

#[derive(Args)]
pub(crate) struct Seeds {
    /// How many seeds
    #[arg(long, default_value_t = 100)]
    pub(crate) seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 1)]
    pub(crate) from: u64,
}

#[derive(Args)]
pub(crate) struct More {
    /// Run fresh seeds, as many as this many seconds allow in each ring; they begin where the
    /// operator's clock says
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seconds: Option<u64>,
    /// Run the seeds in a file, `RING SEED` a line, each in its ring; `#` begins a comment
    #[arg(long, conflicts_with_all = ["seeds", "from", "seconds"])]
    seed_list: Option<PathBuf>,
}

/// Seeds to run, in their order.
pub(crate) enum Batch {
    Fresh {
        from: u64,
        patience: Duration,
    },
    /// Each with the name of its ring.
    Listed(Vec<(String, u64)>),
    Range(std::ops::Range<u64>),
}

impl Batch {
    pub(crate) fn new(seeds: &Seeds, more: &More) -> Result<Self, String> {
        if let Some(seconds) = more.seconds {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            // A second apart is a million seeds apart: two nights do not run the same ones.
            let from = since.map_or(0, |since| since.as_secs()) * 1_000_000;
            return Ok(Self::Fresh { from, patience: Duration::from_secs(seconds) });
        }
        let Some(path) = &more.seed_list else {
            return Ok(Self::Range(seeds.from..seeds.from.saturating_add(seeds.seeds)));
        };
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let seeds = lines.filter(|line| !line.is_empty()).map(|line| {
            let (ring, seed) = line.split_once(' ').unwrap_or_default();
            let seed = seed.trim().parse().ok();
            let seed = seed.filter(|_| Ring::ALL.iter().any(|known| known.name() == ring));
            let seed = seed.ok_or_else(|| failed(&format_args!("{line:?} is not `RING SEED`")));
            Ok::<_, String>((ring.to_owned(), seed?))
        });
        Ok(Self::Listed(seeds.collect::<Result<_, _>>()?))
    }

    /// Those that are to be run in this ring.
    pub(crate) fn of(&self, ring: Ring) -> Self {
        match self {
            Self::Fresh { from, patience } => Self::Fresh { from: *from, patience: *patience },
            Self::Listed(seeds) => {
                let own = seeds.iter().filter(|(of, _)| of == ring.name());
                Self::Listed(own.cloned().collect())
            }
            Self::Range(range) => Self::Range(range.clone()),
        }
    }

    /// The rings that a list names.
    pub(crate) fn rings(&self) -> Option<Vec<Ring>> {
        let Self::Listed(seeds) = self else { return None };
        let is_named = |ring: &Ring| seeds.iter().any(|(of, _)| of == ring.name());
        Some(Ring::ALL.into_iter().filter(is_named).collect())
    }

    /// Seed number `at`, if it is to be run.
    pub(crate) fn seed(&self, at: u64, since: Instant) -> Option<u64> {
        match self {
            Self::Fresh { from, patience } => {
                (since.elapsed() < *patience).then(|| from.wrapping_add(at))
            }
            Self::Listed(seeds) => seeds.get(usize::try_from(at).ok()?).map(|(_, seed)| *seed),
            Self::Range(range) => range.start.checked_add(at).filter(|seed| range.contains(seed)),
        }
    }
}

impl std::fmt::Display for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fresh { from, .. } => write!(f, "fresh seeds from {from}"),
            Self::Listed(_) => write!(f, "listed seeds"),
            Self::Range(range) => write!(f, "seeds {}..{}", range.start, range.end),
        }
    }
}
