//! AWS Signature Version 4.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;

use crate::error::{Error, Result};

/// Keys, and the region and time that a signature is for.
pub(super) struct Signer {
    pub(super) credentials: Credentials,
    pub(super) region: String,
    pub(super) now_ms: i64,
}

/// What a signature says of the body.
pub(super) enum Body<'a> {
    /// These bytes and no others.
    Whole(&'a [u8]),
    /// What `x-amz-content-sha256` is to say.
    Said(String),
}

/// The headers that sign a request, to be added to those given, all of which are signed too.
pub(super) fn sign(
    signer: &Signer,
    service: &str,
    (method, url): (&str, &str),
    headers: &[(&str, &str)],
    body: Body<'_>,
) -> Result<Vec<(String, String)>> {
    let failed =
        |error: Box<dyn std::error::Error + Send + Sync>| Error::malformed("Request cannot be signed").because(error);
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let identity = signer.credentials.clone().into();
    let now = u64::try_from(signer.now_ms).map_or(UNIX_EPOCH, |ms| UNIX_EPOCH + Duration::from_millis(ms));
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&signer.region)
        .name(service)
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| failed(error.into()))?
        .into();
    let body = match body {
        Body::Whole(bytes) => SignableBody::Bytes(bytes),
        Body::Said(text) => SignableBody::Precomputed(text),
    };
    let signable =
        SignableRequest::new(method, url, headers.iter().copied(), body).map_err(|error| failed(error.into()))?;
    let (signed, _) =
        aws_sigv4::http_request::sign(signable, &parameters).map_err(|error| failed(error.into()))?.into_parts();
    Ok(signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
