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

/// Where clients connect unless told otherwise.
const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

/// Runs the demo until a signal ends it. Without an address to `listen` on it takes the usual one, or another port
/// where that is taken.
///
/// # Errors
/// The address cannot be had.
pub async fn run(listen: Option<SocketAddr>, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let app_listener = TcpListener::bind("127.0.0.1:0").await?;
    let app_address = app_listener.local_addr()?;
    let stop = CancellationToken::new();
    let sample = tokio::spawn(demo_app::serve(app_listener, stop.clone()));

    let overrides = Overrides {
        upstream: Some(format!("http://{app_address}")),
        listen: vec![match listen {
            Some(address) => address,
            None => free(LISTEN.into()).await,
        }],
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
    // Nor should the browser's own reloads, which loopback may force, hide what larder keeps.
    settings.trusted_clients.clear();
    let app = App::start(settings, origin, Clock::system(), None).map_err(|error| anyhow::anyhow!("{error}"))?;
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
    let program = std::env::current_exe().map_or_else(|_| "larder".to_owned(), |path| path.display().to_string());
    writeln!(
        out,
        r#"larder demo

  the site, through larder   {site}/   <- open this in a browser
  the app behind it          http://{sample}/   (says little about caching, compresses nothing)
  metrics                    {metrics}
  control API                http://{control}/v1   (token: {TOKEN})

Try these in another terminal:

  1. A miss, then a hit: half a second of work, then none.
     for n in 1 2; do curl -s -o /dev/null -D - -w '%{{time_total}} s\n' {site}/api/cached | grep -iE '^cache-status|^age| s$'; done

  2. A 304: the client has it already, so no body is sent. The app gave no entity tag; larder made one.
     for n in 1 2; do tag=$(curl -s -o /dev/null -D - {site}/app.3f9a1c2b.js | tr -d '\r' | sed -n 's/^etag: //p'); done; curl -si {site}/app.3f9a1c2b.js -H "If-None-Match: $tag"

  3. Compression: the app sends it plain, larder compresses it once.
     for coding in identity gzip br; do curl -s -o /dev/null -w "%{{size_download}} bytes $coding\n" -H "Accept-Encoding: $coding" {site}/style.css; done

  4. What must not be shared is not: each visitor gets a session, and Cache-Status says why this was not stored.
     curl -si {site}/session | grep -iE '^cache-status|^set-cookie'

  5. Purge: gone, and the next answer is a miss again.
     LARDER_CONTROL_TOKEN={TOKEN} {program} purge --control {control} {site}/api/cached; curl -si {site}/api/cached | grep -i '^cache-status'

Ctrl-C ends it."#
    )?;
    out.flush()
}
