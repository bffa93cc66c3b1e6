//! The warehouses that are configured: `[warehouses.NAME]`, and which of them is the default.

use std::path::Path;

use super::sources::Settings;
use crate::error::{Error, Result};
use crate::lake::delegation::Delegation;
use crate::lake::location::Location;
use crate::lake::settings::{Secret, StoreSettings, WarehouseSettings};
use crate::names::WarehouseName;

/// The warehouses, the default first. None configured: one called `default` in the data directory.
pub(super) fn read(settings: &Settings, data_dir: &Path) -> Result<Vec<WarehouseSettings>> {
    let names = settings.warehouses();
    let default = settings.text("default-warehouse");
    let first = match (default, names.as_slice()) {
        (None | Some("default"), []) => return Ok(vec![in_data_dir(settings, data_dir)?]),
        (None, [only]) => only,
        (None, several) => {
            let (count, several) = (several.len(), several.join(", "));
            return Err(Error::illegal(format!(
                "{count} warehouses are configured ({several}): say with default-warehouse which clients get that name none"
            )));
        }
        (Some(default), names) => names.iter().find(|name| *name == default).ok_or_else(|| {
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Error::illegal(format!("default-warehouse = {default:?} names no configured warehouse; there is {known}"))
        })?,
    };
    let others = names.iter().filter(|name| *name != first);
    let warehouses: Vec<_> =
        [first].into_iter().chain(others).map(|name| one(settings, name)).collect::<Result<_>>()?;
    check_apart(&warehouses)?;
    Ok(warehouses)
}

fn in_data_dir(settings: &Settings, data_dir: &Path) -> Result<WarehouseSettings> {
    let root = data_dir.join("warehouse");
    let root = root
        .to_str()
        .ok_or_else(|| Error::illegal(format!("data-dir {} is not UTF-8: choose another", data_dir.display())))?;
    Ok(WarehouseSettings {
        name: WarehouseName::new("default")?,
        url: format!("file://{root}"),
        store: StoreSettings::default(),
        allowed: settings.list("allow-location"),
        version_hint: false,
    })
}

fn one(settings: &Settings, name: &str) -> Result<WarehouseSettings> {
    let get = |key: &str| settings.text(&format!("warehouses.{name}.{key}")).map(str::to_owned);
    let url = get("url")
        .ok_or_else(|| Error::illegal(format!("warehouses.{name} lacks its url, such as s3://bucket/path")))?;
    let secret = |key: &str| get(key).map(Secret::new);
    let store = StoreSettings {
        endpoint: get("endpoint"),
        region: get("region"),
        path_style: settings.flag(&format!("warehouses.{name}.path-style")),
        access_key_id: secret("access-key-id"),
        secret_access_key: secret("secret-access-key"),
        session_token: secret("session-token"),
        sts_endpoint: get("sts-endpoint"),
        sts_role_arn: get("sts-role-arn"),
        service_account: secret("service-account"),
        account_key: secret("account-key"),
        tenant_id: get("tenant-id"),
        client_id: get("client-id"),
        client_secret: secret("client-secret"),
        delegation: get("delegation").as_deref().map_or(Ok(Delegation::Auto), Delegation::parse)?,
        ambient: settings.ambient.clone(),
    };
    let version_hint = settings.flag(&format!("warehouses.{name}.version-hint")).unwrap_or(false);
    let (name, allowed) = (WarehouseName::new(name)?, settings.list("allow-location"));
    Ok(WarehouseSettings { name, url, store, allowed, version_hint })
}

/// Refuses names that one environment variable would mean both of, and roots at, inside or around each other: whose a
/// location is must never be a question.
fn check_apart(warehouses: &[WarehouseSettings]) -> Result<()> {
    for (at, one) in warehouses.iter().enumerate() {
        for other in &warehouses[..at] {
            let (a, b) = (other.name.as_str(), one.name.as_str());
            if a.replace('-', "_") == b.replace('-', "_") {
                return Err(Error::illegal(format!(
                    "Warehouses {a:?} and {b:?} differ in '-' and '_' only, which no environment variable can tell apart"
                )));
            }
            let (first, second) = (Location::parse(&other.url)?, Location::parse(&one.url)?);
            if first.contains(&second) || second.contains(&first) {
                return Err(Error::illegal(format!(
                    "Warehouses {a:?} at {first} and {b:?} at {second} overlap: give each a root of its own"
                )));
            }
        }
    }
    Ok(())
}
