//! A bucket or container opened through `object_store`: which store, which keys, how patient.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider};
use object_store::azure::{AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::location::{Location, Scheme};
use super::settings::StoreSettings;
use crate::error::{Error, Result};
use crate::limits;

/// The keys that a store is reached with.
pub(super) enum Own {
    /// There is no store but a directory.
    Nothing,
    /// Those of an S3 store.
    S3(AwsCredentialProvider),
    /// Those of Google's, which others are made of in another way.
    Google,
    /// Those of an Azure storage account.
    Azure(AzureCredentialProvider),
}

/// A bucket and the keys that it is reached with.
pub(super) type Opened = (Arc<dyn ObjectStore>, Own);

/// Opens the bucket of a location; nothing is asked of it yet.
pub(super) fn open(location: &Location, settings: &StoreSettings) -> Result<Opened> {
    let opened: object_store::Result<Opened> = match location.scheme() {
        Scheme::File => return Err(Error::internal("A directory is not opened as a bucket")),
        Scheme::S3 => s3(location, settings).build().map(|store| {
            let own = Arc::clone(store.credentials());
            (Arc::new(store) as _, Own::S3(own))
        }),
        Scheme::Gcs => gcs(location, settings).build().map(|store| (Arc::new(store) as _, Own::Google)),
        Scheme::Azure => azure(location, settings).build().map(|store| {
            let own = Arc::clone(store.credentials());
            (Arc::new(store) as _, Own::Azure(own))
        }),
    };
    opened.map_err(|error| {
        Error::illegal(format!("{location} cannot be opened: check the warehouse's endpoint and keys ({error})"))
    })
}

/// Tried again, with growing and random pauses, while the store answers 5xx or asks to slow down.
fn patience() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: limits::STORE_RETRIES,
        retry_timeout: limits::STORE_PATIENCE,
    }
}

fn client(endpoint: Option<&str>) -> ClientOptions {
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(limits::STORE_CONNECT)
        .with_timeout(limits::STORE_REQUEST)
}

fn s3(location: &Location, settings: &StoreSettings) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in settings.ambient.starting_with("aws_") {
        let Ok(key) = name.parse() else { continue };
        // Keys go together: those of the environment are not mixed with those of the configuration.
        let is_key = matches!(
            key,
            AmazonS3ConfigKey::AccessKeyId | AmazonS3ConfigKey::SecretAccessKey | AmazonS3ConfigKey::Token
        );
        if !(is_key && settings.access_key_id.is_some()) {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = settings.s3_endpoint() {
        builder = builder.with_endpoint(endpoint);
    }
    for (key, value) in [
        (AmazonS3ConfigKey::AccessKeyId, settings.access_key_id.as_ref().map(|key| key.reveal())),
        (AmazonS3ConfigKey::SecretAccessKey, settings.secret_access_key.as_ref().map(|secret| secret.reveal())),
        (AmazonS3ConfigKey::Token, settings.session_token.as_ref().map(|secret| secret.reveal())),
    ] {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    builder
        .with_bucket_name(location.bucket())
        .with_region(settings.region_or_default())
        .with_virtual_hosted_style_request(!settings.uses_path_style())
        .with_client_options(client(settings.s3_endpoint()))
        .with_retry(patience())
}

fn gcs(location: &Location, settings: &StoreSettings) -> GoogleCloudStorageBuilder {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in settings.ambient.starting_with("google_") {
        if let Ok(key) = name.parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    builder = match settings.service_account.as_ref().map(|account| account.reveal()) {
        Some(json) if json.trim_start().starts_with('{') => builder.with_service_account_key(json),
        Some(path) => builder.with_service_account_path(path),
        None => builder,
    };
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    builder
        .with_bucket_name(location.bucket())
        .with_client_options(client(settings.endpoint.as_deref()))
        .with_retry(patience())
}

fn azure(location: &Location, settings: &StoreSettings) -> MicrosoftAzureBuilder {
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in settings.ambient.starting_with("azure_") {
        if let Ok(key) = name.parse::<AzureConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    for (key, value) in [
        (AzureConfigKey::AccessKey, settings.account_key.as_ref().map(|secret| secret.reveal())),
        (AzureConfigKey::AuthorityId, settings.tenant_id.as_deref()),
        (AzureConfigKey::ClientId, settings.client_id.as_deref()),
        (AzureConfigKey::ClientSecret, settings.client_secret.as_ref().map(|secret| secret.reveal())),
        (AzureConfigKey::Endpoint, settings.endpoint.as_deref()),
    ] {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    builder
        .with_account(location.account())
        .with_container_name(location.container())
        .with_client_options(client(settings.endpoint.as_deref()))
        .with_retry(patience())
}
