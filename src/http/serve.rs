//! The accept loop: connections in, requests to the router, a bounded stop.
//!
//! hyper is driven directly because what it is told of heads and of stopping cannot be told through axum. A path is put
//! into its normal form before it is routed (`warehouses.rs`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::header::ETAG;
use http::{Extensions, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::staying::Staying;
use super::{Paths, case};
use crate::clock;
use crate::error::Result;
use crate::limits;

/// Serves until `stop` is done, then lets requests under way finish for at most `grace`.
pub async fn serve(
    listener: TcpListener,
    (router, paths): (Router, Paths),
    stop: impl Future<Output = ()>,
    grace: Duration,
) -> Result<()> {
    let spelled = Arc::new(case::spelled_headers().await?);
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (router, paths, spelled) = (router.clone(), paths.clone(), Arc::clone(&spelled));
        let service = service_fn(move |mut request| {
            paths.normalise(&mut request);
            answer(router.clone(), Arc::clone(&spelled), request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(limits::HEADER_READ_MS))
            .max_buf_size(limits::HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that breaks is the client's affair; what it asked for was logged.
            drop(Staying::new(watched).await);
            drop(place);
        });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = clock::sleep(grace) => tracing::warn!("requests were still under way when the time to stop was over"),
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Small answers go out at once.
            drop(stream.set_nodelay(true));
            Some((stream, place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            clock::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn answer(
    router: Router,
    spelled: Arc<Extensions>,
    request: Request<Incoming>,
) -> std::result::Result<Response, Infallible> {
    let mut response = router.oneshot(request).await?;
    if response.headers().contains_key(ETAG) {
        response.extensions_mut().extend((*spelled).clone());
    }
    Ok(response)
}
