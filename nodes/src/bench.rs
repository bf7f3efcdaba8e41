//! Measuring, by the remoting protocol: Hotfire and Apache's broker with the same tool.
//!
//! | room | what |
//! |---|---|
//! | [`append`] | the store alone |
//! | [`session`] | one pipelined connection |
//! | [`load`] | connections × window of sends or pulls, until enough |
//! | [`report`] | what was measured, for people and for machines |
//! | [`node`] | processes, ports and directories that end with the measurement |
//! | [`page_cache`] | memory as it is on a machine that has run for a while |
//! | [`recover`] | from exec to the first pull, on a store whose broker was killed |
//! | [`replicate`] | what flushing and slaves cost a send, beside another broker |
//! | [`startup`] | from exec to the first acknowledged send, and memory at idle |

pub mod append;
pub mod load;
pub mod node;
pub mod page_cache;
pub mod recover;
pub mod replicate;
pub mod report;
pub mod session;
pub mod startup;

use crate::Failure;
use crate::cli::Bench;

/// Runs one measurement and prints its result to standard output.
pub async fn run(bench: Bench) -> Result<(), Failure> {
    let text = match bench {
        Bench::Append(args) => show(&append::run(&args)?, args.json),
        Bench::Pull(args) => show(&load::run(load::Kind::Pull, &args).await?, args.json),
        Bench::Recover(args) => show(&recover::run(&args).await?, args.json),
        Bench::Replicate(args) => show(&replicate::run(&args).await?, args.json),
        Bench::Send(args) => show(&load::run(load::Kind::Send, &args).await?, args.json),
        Bench::Startup(args) => show(&startup::run(&args).await?, args.json),
    };
    crate::say(&text);
    Ok(())
}

fn show<R: serde::Serialize + std::fmt::Display>(report: &R, json: bool) -> String {
    if json {
        serde_json::to_string(report).expect("numbers and names are JSON")
    } else {
        report.to_string()
    }
}
