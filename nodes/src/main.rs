//! The `hotfire` binary: reads the command line, runs what it says, and maps the end to an exit
//! code: 0 for a stop that was asked for, 2 for everything that an operator can put right; 1 says
//! that a store was verified and is damaged.

/// Requests come by the hundred and go by the hundred: the system's own allocator keeps a handful
/// of each size at hand, and takes a sixth of a broker's time for the others.
#[cfg(not(madsim))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    native::main()
}

/// Under the simulator the nodes run as a library; there is nothing to start here.
#[cfg(madsim)]
fn main() {}

#[cfg(not(madsim))]
mod native {
    use std::io::IsTerminal as _;
    use std::process::ExitCode;

    use clap::Parser as _;
    use clap::error::ErrorKind;
    use hotfire_net::rt;
    use hotfire_nodes::cli::{Cli, Command};
    use hotfire_nodes::{Failure, bench, broker, namesrv, standalone, store};
    use tracing_subscriber::EnvFilter;

    pub(super) fn main() -> ExitCode {
        die_of_panics();
        log_to_stderr();
        // The allocator asks for pages of 2 MiB, one for each thread: more than an idle node needs
        // for all it does. A system that does not know the word takes them, which harms nobody.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
        match parse().and_then(|cli| cli.map_or(Ok(ExitCode::SUCCESS), |cli| run(cli.command))) {
            Ok(code) => code,
            Err(failure) => {
                // The one line that tells an operator why there is no process.
                #[allow(clippy::print_stderr)]
                {
                    eprintln!("hotfire: {failure}");
                }
                ExitCode::from(2)
            }
        }
    }

    /// `None` if help or the version was all that was asked for.
    fn parse() -> Result<Option<Cli>, Failure> {
        let error = match Cli::try_parse() {
            Ok(cli) => return Ok(Some(cli)),
            Err(error) => error,
        };
        if !error.use_stderr() {
            let _ = error.print();
            return Ok(None);
        }
        if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Err(Failure::new("what should run is missing (hotfire --help tells more)"));
        }
        let text = error.render().to_string();
        let paragraph = text.split("\n\n").next().unwrap_or_default();
        let why = paragraph.strip_prefix("error: ").unwrap_or(paragraph);
        Err(Failure::new(format!("{why} (hotfire --help tells more)")))
    }

    /// Raises the soft limit of open files to the hard one, as a JVM does by itself: each
    /// connection takes one, and the usual soft limit is meant for shells.
    fn allow_many_files() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current != maximum
            && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        {
            tracing::warn!(?current, %error, "the limit of open files stays low");
        }
    }

    fn run(command: Command) -> Result<ExitCode, Failure> {
        allow_many_files();
        match command {
            Command::Store(store) => return store::run(&store),
            Command::Bench(bench) => on_this_thread(bench::run(bench)),
            Command::Broker(args) => on_this_thread(broker::run(&args)),
            Command::Namesrv(args) => on_this_thread(namesrv::run(&args)),
            Command::Standalone(args) => on_this_thread(standalone::run(&args)),
        }?;
        Ok(ExitCode::SUCCESS)
    }

    fn on_this_thread(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(Failure::new)?.block_on(rt::run_local(future))
    }

    /// A panic is our own broken invariant. A runtime would catch it at the edge of a task and go
    /// on with half a broker; the process ends instead, and its replica lives.
    fn die_of_panics() {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            std::process::abort();
        }));
    }

    fn log_to_stderr() {
        let filter = std::env::var("HOTFIRE_LOG").or_else(|_| std::env::var("RUST_LOG"));
        let filter = EnvFilter::new(filter.unwrap_or_else(|_| "info".into()));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            // A line that cannot be written (a full disk, a closed pipe) is lost; a panic over it
            // would lose the broker.
            .log_internal_errors(false)
            .init();
    }
}
