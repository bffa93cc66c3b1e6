//! What describes a warehouse: the same keys in the configuration file, in the environment and in `/manage/v1/warehouses`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::delegation::Delegation;
use super::settings::{Ambient, Secret, StoreSettings, WarehouseSettings};
use crate::error::{Error, Result};
use crate::names::WarehouseName;

/// The keys of `[warehouses.NAME]` that are no secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Description {
    /// Where its tables are: `file://`, `s3://`, `gs://` or `abfss://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The URL of the store's interface; the cloud's own if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// S3: the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// S3: whether the bucket is part of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// S3 and Google: the Security Token Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sts_endpoint: Option<String>,
    /// S3: the role whose keys are lent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sts_role_arn: Option<String>,
    /// Azure: the tenant of an application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Azure: the application's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// `auto`, `vended`, `signed`, `static` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
    /// Whether tables that do not say get a version hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_hint: Option<bool>,
}

/// The keys of `[warehouses.NAME]` that are secrets: taken, and never shown again.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Secrets {
    /// S3: the access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// S3: its secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<String>,
    /// S3: the token of temporary keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
    /// Google: the JSON of a service account's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Azure: the key of the storage account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_key: Option<String>,
    /// Azure: the application's secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Description {
    /// The keys.
    pub const KEYS: [&str; 10] = [
        "url",
        "endpoint",
        "region",
        "path-style",
        "sts-endpoint",
        "sts-role-arn",
        "tenant-id",
        "client-id",
        "delegation",
        "version-hint",
    ];
}

impl Secrets {
    /// The keys.
    pub const KEYS: [&str; 6] =
        ["access-key-id", "secret-access-key", "session-token", "service-account", "account-key", "client-secret"];

    /// Which are set.
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            &self.access_key_id,
            &self.secret_access_key,
            &self.session_token,
            &self.service_account,
            &self.account_key,
            &self.client_secret,
        ];
        Self::KEYS.into_iter().zip(all).filter(|(_, secret)| secret.is_some()).map(|(name, _)| name).collect()
    }
}

/// What every warehouse has in common.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Locations outside their roots that tables may have.
    pub allowed: Vec<String>,
    /// What the environment says to every program that reaches a cloud.
    pub ambient: Ambient,
}

impl Description {
    /// What opens the warehouse of this name.
    pub fn settings(&self, name: &str, secrets: &Secrets, around: &Surroundings) -> Result<WarehouseSettings> {
        let url = self
            .url
            .clone()
            .ok_or_else(|| Error::illegal(format!("warehouses.{name} lacks its url, such as s3://bucket/path")))?;
        let secret = |text: &Option<String>| text.as_ref().map(Secret::new);
        let store = StoreSettings {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.path_style,
            access_key_id: secret(&secrets.access_key_id),
            secret_access_key: secret(&secrets.secret_access_key),
            session_token: secret(&secrets.session_token),
            sts_endpoint: self.sts_endpoint.clone(),
            sts_role_arn: self.sts_role_arn.clone(),
            service_account: secret(&secrets.service_account),
            account_key: secret(&secrets.account_key),
            tenant_id: self.tenant_id.clone(),
            client_id: self.client_id.clone(),
            client_secret: secret(&secrets.client_secret),
            delegation: self.delegation.as_deref().map_or(Ok(Delegation::Auto), Delegation::parse)?,
            ambient: around.ambient.clone(),
        };
        let (name, allowed) = (WarehouseName::new(name)?, around.allowed.clone());
        let (version_hint, description) = (self.version_hint.unwrap_or(false), self.clone());
        Ok(WarehouseSettings { name, url, store, allowed, version_hint, description, secrets: secrets.names() })
    }
}
