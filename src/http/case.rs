//! Header names spelled as Iceberg's Java client looks for them.
//!
//! Java clients up to 1.11 find an entity tag only under the literal name `ETag`, where hyper writes names in lower case.
//! hyper keeps the spelling of names it has *parsed*, in a private extension of the message. So one canned answer that
//! spells them our way is parsed at start-up, through hyper's own client over an in-memory pipe, and what it left behind
//! is added to every answer that has such a header.

use http::{Extensions, Request};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::{Error, Result};

// One header and no more: what is kept of it is copied for every answer that has one.
const CANNED: &[u8] = b"HTTP/1.1 204 No Content\r\nETag: x\r\n\r\n";

/// The extensions that make hyper write `ETag`.
pub(super) async fn spelled_headers() -> Result<Extensions> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 10);
    let failed = |error: hyper::Error| Error::internal("Header names cannot be prepared").because(error);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake::<_, Empty<bytes::Bytes>>(TokioIo::new(ours))
        .await
        .map_err(failed)?;
    let connection = tokio::spawn(connection);
    let answer = tokio::spawn(async move {
        let mut request = [0; 512];
        if theirs.read(&mut request).await.is_ok() {
            drop(theirs.write_all(CANNED).await);
        }
    });
    let request = Request::new(Empty::new());
    let response = sender.send_request(request).await.map_err(failed)?;
    connection.abort();
    drop(answer.await);
    Ok(response.into_parts().0.extensions)
}
