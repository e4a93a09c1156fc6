//! The examples do what they say, on every store.
#![cfg(all(feature = "redis", feature = "sqlite"))]
#![allow(dead_code, reason = "each test calls what an example's main calls")]

mod support;

#[path = "../examples/blocking_job.rs"]
mod blocking_job;
#[path = "../examples/cache_rebuild.rs"]
mod cache_rebuild;
#[path = "../examples/ci_steps.rs"]
mod ci_steps;
#[path = "../examples/cron_once.rs"]
mod cron_once;
#[path = "../examples/fenced_write.rs"]
mod fenced_write;
#[path = "../examples/reentrant.rs"]
mod reentrant;
#[path = "../examples/stock.rs"]
mod stock;
#[path = "../examples/striped_stock.rs"]
mod striped_stock;
#[path = "../examples/web_orders.rs"]
mod web_orders;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use leasehold::Released;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use tower::ServiceExt;

/// Shows an example with a store of each kind.
fn on_each_store<F: Future<Output = ()>>(example: impl Fn(String) -> F) {
    static STORES: AtomicU32 = AtomicU32::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(example(format!("memory:example{}", STORES.fetch_add(1, Ordering::Relaxed))));
    let file = support::sqlite::open();
    runtime.block_on(example(file.url()));
    let server = support::redis::RedisServer::start();
    runtime.block_on(example(server.url()));
}

#[test]
fn a_stock_is_sold_once() {
    on_each_store(async |url| assert_eq!(stock::sell(&url).await.unwrap(), (25, 0), "{url}"));
}

#[test]
fn a_stock_in_stripes_is_sold_exactly_and_sooner() {
    on_each_store(async |url| {
        let (sold, by_one) = striped_stock::sell(&url, 1).await.unwrap();
        assert_eq!(sold, 160, "{url}");
        let (sold, by_sixteen) = striped_stock::sell(&url, 16).await.unwrap();
        assert_eq!(sold, 160, "{url}");
        assert!(by_sixteen < by_one, "{url}: {by_sixteen:?} by sixteen locks, {by_one:?} by one");
    });
}

#[test]
fn a_thousand_misses_are_one_rebuild() {
    on_each_store(async |url| assert_eq!(cache_rebuild::miss(&url).await.unwrap(), (1000, 1), "{url}"));
}

#[test]
fn a_job_of_every_host_runs_on_one() {
    on_each_store(async |url| assert_eq!(cron_once::midnight(&url).await.unwrap(), 1, "{url}"));
}

#[test]
fn a_database_refuses_a_holder_whose_time_is_over() {
    on_each_store(async |url| {
        let (late, early, owner) = fenced_write::pause(&url).await.unwrap();
        assert_eq!((late, early, owner.as_str()), (true, false, "late"), "{url}");
    });
}

#[test]
fn an_owner_enters_again() {
    on_each_store(async |url| assert!(reentrant::one_hold(&url).await.unwrap(), "{url}"));
}

#[test]
fn a_job_that_blocks_its_thread_keeps_its_lock() {
    on_each_store(async |url| {
        assert_eq!(blocking_job::run(&url).await.unwrap(), (80, true), "{url}");
        let fence = tokio::task::spawn_blocking(move || blocking_job::run_blocking(&url).unwrap()).await.unwrap();
        assert!(fence > 0);
    });
}

#[test]
fn a_hold_goes_from_step_to_step() {
    on_each_store(async |url| {
        assert_eq!(ci_steps::pipeline(&url).await.unwrap(), (false, true, Released::Released), "{url}");
    });
}

#[test]
fn an_order_is_paid_once_however_often_it_is_asked_for() {
    on_each_store(async |url| {
        let service = web_orders::service(&url).await.unwrap();
        let ask = |order: u64| {
            let request = Request::post(format!("/orders/{order}/pay")).body(Body::empty()).unwrap();
            let answer = service.clone().oneshot(request);
            async move {
                let answer = answer.await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                to_bytes(answer.into_body(), 100).await.unwrap()
            }
        };
        let answers = futures_util::future::join_all((0..20).map(|n| ask(n % 2))).await;
        assert_eq!(answers.iter().filter(|answer| ***answer == *b"paid\n").count(), 2, "{url}");
        assert_eq!(answers.iter().filter(|answer| ***answer == *b"paid before\n").count(), 18, "{url}");
    });
}

#[test]
fn an_example_is_read_at_a_glance() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 9, "each has its test above");
    for file in files {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines < 60, "{} has {lines} lines", file.display());
    }
}
