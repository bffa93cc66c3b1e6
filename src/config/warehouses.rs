//! The warehouses that are configured: `[warehouses.NAME]`, and which of them is the default.

use std::path::Path;

use super::sources::Settings;
use crate::error::{Error, Result};
use crate::lake::described::{Description, Secrets, Surroundings};
use crate::lake::settings::WarehouseSettings;

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
    let warehouses: Vec<WarehouseSettings> =
        [first].into_iter().chain(others).map(|name| one(settings, name)).collect::<Result<_>>()?;
    for (at, one) in warehouses.iter().enumerate() {
        one.check_apart(warehouses[..at].iter())?;
    }
    Ok(warehouses)
}

fn in_data_dir(settings: &Settings, data_dir: &Path) -> Result<WarehouseSettings> {
    let root = data_dir.join("warehouse");
    let root = root
        .to_str()
        .ok_or_else(|| Error::illegal(format!("data-dir {} is not UTF-8: choose another", data_dir.display())))?;
    let description = Description { url: Some(format!("file://{root}")), ..Description::default() };
    description.settings("default", &Secrets::default(), &surroundings(settings))
}

fn one(settings: &Settings, name: &str) -> Result<WarehouseSettings> {
    let get = |key: &str| settings.text(&format!("warehouses.{name}.{key}")).map(str::to_owned);
    let flag = |key: &str| settings.flag(&format!("warehouses.{name}.{key}"));
    let description = Description {
        url: get("url"),
        endpoint: get("endpoint"),
        region: get("region"),
        path_style: flag("path-style"),
        sts_endpoint: get("sts-endpoint"),
        sts_role_arn: get("sts-role-arn"),
        tenant_id: get("tenant-id"),
        client_id: get("client-id"),
        delegation: get("delegation"),
        version_hint: flag("version-hint"),
    };
    let secrets = Secrets {
        access_key_id: get("access-key-id"),
        secret_access_key: get("secret-access-key"),
        session_token: get("session-token"),
        service_account: get("service-account"),
        account_key: get("account-key"),
        client_secret: get("client-secret"),
    };
    description.settings(name, &secrets, &surroundings(settings))
}

/// What every warehouse has in common, those too that are made later.
pub(super) fn surroundings(settings: &Settings) -> Surroundings {
    Surroundings { allowed: settings.list("allow-location"), ambient: settings.ambient.clone() }
}
