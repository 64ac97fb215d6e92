//! `larder demo`: a sample app, the proxy in front of it, and what to try. No network, no file, no Redis.

use std::io::Write;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::app::{App, Origin};
use super::{demo_app, run};
use crate::clock::Clock;
use crate::config::settings::{AccessLog, LogFormat, LogTarget};
use crate::config::{self, Overrides, Source};
use crate::server::shutdown::Signals;

/// Good enough for a loopback demo that ends with the terminal.
const TOKEN: &str = "demo";

/// Runs the demo until a signal ends it.
///
/// # Errors
/// A port cannot be had.
pub async fn run(listen: SocketAddr, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let app_listener = TcpListener::bind("127.0.0.1:0").await?;
    let app_address = app_listener.local_addr()?;
    let stop = CancellationToken::new();
    let sample = tokio::spawn(demo_app::serve(app_listener, stop.clone()));

    let overrides = Overrides {
        upstream: Some(format!("http://{app_address}")),
        listen: vec![free(listen).await],
        metrics: Some(free(([127, 0, 0, 1], 9145).into()).await.to_string()),
        control: Some(free(([127, 0, 0, 1], 9146).into()).await.to_string()),
        control_token: Some(TOKEN.to_owned()),
        memory: Some("64MiB".to_owned()),
    };
    let origin = Origin { source: Source::None, overrides };
    let mut settings = config::load(&origin.source, &|_| None, &origin.overrides)
        .map_err(|diagnostics| anyhow::anyhow!("{diagnostics}"))?;
    // The commands to try should not drown in lines.
    settings.access_log = AccessLog { target: LogTarget::Off, format: LogFormat::Combined };
    let app = App::start(settings, origin, Clock::system(), None)?;
    tell(&app, app_address, out)?;

    signals.stop().await;
    run::stop(&app, &mut signals).await;
    stop.cancel();
    sample.await?;
    Ok(())
}

/// The address, or another port of it when that one is taken.
async fn free(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address).await {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

fn tell(app: &App, sample: SocketAddr, out: &mut dyn Write) -> std::io::Result<()> {
    let site = app.addresses().first().map(|address| format!("http://{address}")).unwrap_or_default();
    let metrics = app.metrics_address().map(|address| format!("http://{address}/metrics")).unwrap_or_default();
    let control = app.control_address().map(|address| address.to_string()).unwrap_or_default();
    writeln!(
        out,
        r#"larder demo

  the site, through larder   {site}/      <- open this in a browser
  the app behind it          http://{sample}/      (says little about caching, compresses nothing)
  metrics                    {metrics}
  control API                http://{control}/v1      (token: {TOKEN})

Try these in another terminal:

  1. A miss, then a hit: the second answer comes at once and says why.
     curl -si {site}/api/cached | grep -iE 'cache-status|^age'; curl -si {site}/api/cached | grep -iE 'cache-status|^age'

  2. A 304: the browser already has it, so no body is sent. (The script's tag was made by larder.)
     tag=$(curl -si {site}/api/cached | tr -d '\r' | sed -n 's/^etag: //ip'); curl -si {site}/api/cached -H "If-None-Match: $tag"

  3. Compression: stored once, sent small to whoever accepts it.
     curl -so /dev/null -w '%{{size_download}} bytes plain\n' {site}/style.css; curl -so /dev/null -H 'Accept-Encoding: gzip' -w '%{{size_download}} bytes gzip\n' {site}/style.css

  4. What must not be shared is not: each visitor has a session, and Cache-Status says why it was not stored.
     curl -si {site}/session | grep -iE 'cache-status|set-cookie'

  5. Purge: gone, and the next answer is a miss again.
     LARDER_CONTROL_TOKEN={TOKEN} larder purge --control {control} {site}/api/cached; curl -si {site}/api/cached | grep -i cache-status
     (without larder on your PATH: cargo run --release -- purge ...)

Ctrl-C ends it."#
    )?;
    out.flush()
}
