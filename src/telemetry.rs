//! Logs and metrics, set up once.

use std::io;
use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::error::{Error, Result};

/// Starts logging to standard error. A second call in one process changes nothing.
pub fn start_logging(level: &str, format: LogFormat) -> Result<()> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Error::illegal(format!("log.level {level:?} cannot be used: try error, warn, info, debug or trace"))
            .because(error)
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // A line that cannot be written, as on a full disk, is lost: said on the same stream, that would be a panic.
    let builder = builder.log_internal_errors(false);
    drop(match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    });
    Ok(())
}

/// Bounds of the histogram of rows a commit.
const ROWS: [f64; 7] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0];

/// The process's metrics; there is one recorder however many servers a test starts.
pub fn metrics() -> Result<PrometheusHandle> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut known = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*known {
        return Ok(handle.clone());
    }
    let failed = |error| Error::internal("Metrics cannot be set up").because(error);
    let buckets = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &buckets)
        .map_err(failed)?
        .set_buckets_for_metric(Matcher::Full("iceberg_records_per_batch".to_owned()), &ROWS)
        .map_err(failed)?
        .build_recorder();
    let handle = recorder.handle();
    let set = ::metrics::set_global_recorder(recorder);
    set.map_err(|_| Error::internal("Metrics cannot be set up: something else in this process takes them"))?;
    *known = Some(handle.clone());
    Ok(handle)
}
