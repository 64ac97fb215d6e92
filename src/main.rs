//! Arguments -> command -> exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use larder::cli::app::{AppError, Origin};
use larder::cli::args::{
    Arguments, CacheArgs, CheckArgs, Command, DemoArgs, ExplainArgs, PurgeArgs, ReachArgs, RunArgs, UpstreamsArgs,
    UpstreamsCommand,
};
use larder::cli::control_client::{CommandError, ControlClient, SERVICE_TOKEN_FILE, resolve_token};
use larder::cli::upstreams::{self, ServerChange};
use larder::cli::{cache, check, demo, explain, purge, run, stats};
use larder::config::{self, Source};
use larder::telemetry::log::{self, LogStyle};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Something failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Run(args) => run_proxy(&args),
        Command::Check(args) => check_config(&args),
        Command::Demo(args) => run_demo(&args),
        Command::Purge(args) => purge(&args),
        Command::Cache(args) => show_cache(&args),
        Command::Explain(args) => explain(&args),
        Command::Stats(args) => show_stats(&args.reach),
        Command::Upstreams(args) => show_upstreams(args),
        Command::Completions { shell } => {
            // `generate` panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "larder", &mut script);
            std::io::stdout().write_all(&script).map(|()| 0).map_err(anyhow::Error::from)
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        // Who read the output has seen enough of it, such as `head`.
        Err(error) if error.downcast_ref().map(std::io::Error::kind) == Some(ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "larder: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn run_proxy(args: &RunArgs) -> anyhow::Result<u8> {
    let source = args.settings.config.clone().map_or(Source::None, Source::File);
    let origin = Origin { source, overrides: args.settings.overrides() };
    let settings = match config::load(&origin.source, &environment, &origin.overrides) {
        Ok(settings) => settings,
        Err(diagnostics) => {
            write!(std::io::stderr(), "{diagnostics}")?;
            return Ok(WRONG);
        }
    };
    let style = if args.log_json { LogStyle::Json } else { LogStyle::Text };
    let log = log::init(&settings.log_level, style)?;
    let runtime = runtime(settings.workers)?;
    match runtime.block_on(run::run(settings, origin, log)) {
        Ok(()) => Ok(0),
        Err(AppError::Files(diagnostics)) => {
            write!(std::io::stderr(), "{diagnostics}")?;
            Ok(FAILED)
        }
        // The error's line says its causes already: as anyhow's source they would be said twice.
        Err(error) => Err(anyhow::anyhow!("{error}")),
    }
}

fn run_demo(args: &DemoArgs) -> anyhow::Result<u8> {
    runtime(0)?.block_on(demo::run(args.listen, &mut std::io::stdout()))?;
    Ok(0)
}

fn check_config(args: &CheckArgs) -> anyhow::Result<u8> {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let config = args.settings.config.as_deref();
    let verdict = check::run(config, args.schema, &args.settings.overrides(), &environment, &mut out, &mut err)?;
    Ok(match verdict {
        check::Verdict::Valid => 0,
        check::Verdict::Invalid => WRONG,
    })
}

fn purge(args: &PurgeArgs) -> anyhow::Result<u8> {
    told(runtime(1)?.block_on(async {
        let client = control_client(&args.reach)?;
        purge::run(&client, args, &mut std::io::stdout()).await
    }))
}

fn show_cache(args: &CacheArgs) -> anyhow::Result<u8> {
    told(runtime(1)?.block_on(async {
        let client = control_client(&args.reach)?;
        cache::run(&client, &args.command, args.reach.json, &mut std::io::stdout()).await
    }))
}

fn explain(args: &ExplainArgs) -> anyhow::Result<u8> {
    told(runtime(1)?.block_on(async {
        let client = control_client(&args.reach)?;
        explain::run(&client, &args.url, args.reach.json, &mut std::io::stdout()).await
    }))
}

fn show_stats(reach: &ReachArgs) -> anyhow::Result<u8> {
    told(runtime(1)?.block_on(async {
        let client = control_client(reach)?;
        stats::run(&client, reach.json, &mut std::io::stdout()).await
    }))
}

fn show_upstreams(args: UpstreamsArgs) -> anyhow::Result<u8> {
    let change = args.change.map(|change| {
        let drain = matches!(change, UpstreamsCommand::Drain(_));
        let (UpstreamsCommand::Drain(of) | UpstreamsCommand::Enable(of)) = change;
        ServerChange { drain, upstream: of.upstream, server: of.server }
    });
    told(runtime(1)?.block_on(async {
        let client = control_client(&args.reach)?;
        let mut out = std::io::stdout();
        match change {
            None => upstreams::list(&client, args.reach.json, &mut out).await,
            Some(change) => upstreams::change(&client, &change, args.reach.json, &mut out).await,
        }
    }))
}

/// Finds a running larder: by what was given, else by its configuration file, else where it is by default.
fn control_client(reach: &ReachArgs) -> Result<ControlClient, CommandError> {
    let source = reach.config.clone().map_or(Source::None, Source::File);
    let found = config::reach(&source, &environment, reach.control.as_deref(), reach.control_token.is_some())
        .map_err(|diagnostics| CommandError::Usage(diagnostics.to_string()))?;
    if let (1.., Some(path)) = (found.errors_elsewhere, &reach.config) {
        let (count, path) = (found.errors_elsewhere, path.display());
        let noun = if count == 1 { "error" } else { "errors" };
        let _ =
            writeln!(std::io::stderr(), "larder: {path} has {count} {noun} elsewhere, see `larder check`; going on");
    }
    let control = found.control.ok_or_else(|| CommandError::Usage("the control API is turned off".to_owned()))?;
    // Not laid over the file's: it may be any of those that the file names.
    let given = reach.control_token.clone().or_else(|| control.token.clone());
    let token = resolve_token(given, &control.token_file, SERVICE_TOKEN_FILE)?;
    let origin = match &reach.config {
        _ if reach.control.is_some() => "as given".to_owned(),
        Some(path) if !control.assumed => format!("as {} says", path.display()),
        _ => "the default".to_owned(),
    };
    ControlClient::new(&control.address.to_string(), origin, &token)
}

fn told(outcome: Result<(), CommandError>) -> anyhow::Result<u8> {
    match outcome {
        Ok(()) | Err(CommandError::Unread) => Ok(0),
        Err(error) => {
            writeln!(std::io::stderr(), "larder: {error}")?;
            Ok(error.exit_code())
        }
    }
}

fn runtime(workers: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().context("cannot start worker threads")
}
