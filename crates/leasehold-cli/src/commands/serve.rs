//! `leasehold serve`: what is held and waited for in a store, for Prometheus to read.

mod door;
mod fleet;
mod watcher;

use super::on_runtime;
use crate::args::Serve;
use crate::exit::{self, Code};
use crate::obtain::refused;
use crate::say::say;
use crate::store::{Fault, Store};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use door::Door;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use watcher::Watcher;

/// The text format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How long answers that are under way may take once the end was asked for.
const FAREWELL: Duration = Duration::from_secs(5);

/// What all requests share.
struct Site {
    watcher: Watcher,
    pattern: Option<String>,
    max: usize,
}

/// Serves until a signal ends it.
pub fn serve(args: Serve) -> Result<Code, Fault> {
    let store = Store::choose(&args.store)?;
    on_runtime(run(args, store))
}

async fn run(args: Serve, store: Store) -> Result<Code, Fault> {
    let ended = ended().map_err(refused)?;
    let wrong = |error| Fault::usage(format!("--listen {}: {error}", args.listen));
    let listener = TcpListener::bind(&args.listen).await.map_err(wrong)?;
    let address = listener.local_addr().map_err(wrong)?;
    let watcher = Watcher::start(store).await?;
    if !args.store.quiet {
        say(format_args!("serving http://{address}/metrics"));
    }
    let site = Arc::new(Site { watcher, pattern: args.pattern, max: args.max });
    let (told, heard) = tokio::sync::oneshot::channel();
    let graceful = async move {
        ended.await;
        // Whoever is in the middle of a request may end it, but not keep us.
        let _ = told.send(());
    };
    let serving = axum::serve(Door::new(listener), routes(Arc::clone(&site))).with_graceful_shutdown(graceful);
    let limit = async {
        let _ = heard.await;
        sleep(FAREWELL).await;
    };
    tokio::select! {
        done = serving => done.map_err(refused)?,
        () = limit => {}
    }
    site.watcher.goodbye().await;
    Ok(exit::OK)
}

/// The first SIGTERM or SIGINT from here on.
fn ended() -> std::io::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

fn routes(site: Arc<Site>) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(health)).with_state(site)
}

async fn metrics(State(site): State<Arc<Site>>) -> Response {
    let looked = site.watcher.look().await;
    let text = fleet::rendered(&looked, site.pattern.as_deref(), site.max) + &site.watcher.own_metrics();
    ([(header::CONTENT_TYPE, TEXT)], text).into_response()
}

async fn health(State(site): State<Arc<Site>>) -> Response {
    match site.watcher.is_up().await {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}
