//! What a commit does to a view's metadata, as a pure function.
//!
//! The rules are those of the view specification and of the reference implementation's builder. A version that says what
//! another already says is not added again, so that a replacement that changes nothing writes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::{Outcome, check_parts, next_id, same_uuid};
use crate::catalog::metadata::json::Object;
use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::view::{VIEW_FORMAT_VERSION, VersionLogEntry, ViewMetadata, ViewVersion};
use crate::catalog::properties;
use crate::error::{Error, Result};

/// The property that says how many versions a view keeps, and how many that is where it is absent.
const HISTORY_SIZE: (&str, i64) = ("version.history.num-entries", 10);

/// The property that allows a replacement without a query in a dialect that was there before.
const DROP_DIALECT: &str = "replace.drop-dialect.allowed";

/// The id that means "the one added last in this commit".
const LAST_ADDED: i64 = -1;

/// The requirements and updates of one commit to one view.
#[derive(Debug, Clone, Default)]
pub struct ViewChange {
    /// The identities that the view must have (`assert-view-uuid`).
    pub uuids: Vec<String>,
    /// What is to be done, in order.
    pub updates: Vec<ViewUpdate>,
}

/// One update of a view (`ViewUpdate` of the REST specification).
#[derive(Debug, Clone)]
pub enum ViewUpdate {
    /// `assign-uuid`
    AssignUuid(String),
    /// `upgrade-format-version`
    UpgradeFormatVersion(i64),
    /// `add-schema`
    AddSchema(Schema),
    /// `set-location`
    SetLocation(String),
    /// `set-properties`
    SetProperties(IndexMap<String, String>),
    /// `remove-properties`
    RemoveProperties(Vec<String>),
    /// `add-view-version`
    AddVersion(ViewVersion),
    /// `set-current-view-version`
    SetCurrentVersion(i64),
}

impl ViewChange {
    /// Parses the two arrays of a commit's body.
    pub fn parse(requirements: &[Box<RawValue>], updates: &[Box<RawValue>]) -> Result<Self> {
        check_parts(requirements, updates)?;
        Ok(Self {
            uuids: requirements.iter().map(|raw| parse_requirement(raw)).collect::<Result<_>>()?,
            updates: updates.iter().map(|raw| ViewUpdate::parse(raw)).collect::<Result<_>>()?,
        })
    }

    /// Applies the change to `base` at the time `now_ms`.
    pub fn apply(&self, base: &ViewMetadata, now_ms: i64) -> Result<Outcome<ViewMetadata>> {
        for uuid in &self.uuids {
            if !same_uuid(uuid, &base.view_uuid) {
                let have = &base.view_uuid;
                let why = format!("Requirement failed: view UUID does not match: expected {have} != {uuid}");
                return Err(Error::conflict(why));
            }
        }
        let mut build = Build { metadata: base.clone(), ..Build::default() };
        for update in &self.updates {
            build.apply(update, now_ms)?;
        }
        build.finish(base)
    }
}

fn parse_requirement(raw: &RawValue) -> Result<String> {
    let mut object = Object::parse("Requirement", raw.get())?;
    let kind: String = object.need("type")?;
    match kind.to_ascii_lowercase().as_str() {
        "assert-view-uuid" => object.need("uuid"),
        other if other.starts_with("assert-") => {
            Err(Error::invalid(format!("Cannot validate {other} against a view: assert-view-uuid is what there is")))
        }
        _ => Err(Error::malformed(format!("Requirement type {kind:?} is not known"))),
    }
}

impl ViewUpdate {
    /// Parses one update; an unknown action is refused, unknown members of a known one are ignored.
    pub fn parse(raw: &RawValue) -> Result<Self> {
        let mut object = Object::parse("Update", raw.get())?;
        let action: String = object.need("action")?;
        let update = match action.to_ascii_lowercase().as_str() {
            "assign-uuid" => object.need("uuid").map(Self::AssignUuid),
            "upgrade-format-version" => object.need("format-version").map(Self::UpgradeFormatVersion),
            "add-schema" => object.need_raw("schema").and_then(|raw| Schema::parse(&raw)).map(Self::AddSchema),
            "set-location" => object.need("location").map(Self::SetLocation),
            "set-properties" => object.need("updates").map(Self::SetProperties),
            "remove-properties" => object.need("removals").map(Self::RemoveProperties),
            "add-view-version" => {
                object.need_raw("view-version").and_then(|raw| ViewVersion::parse(&raw)).map(Self::AddVersion)
            }
            "set-current-view-version" => object.need("view-version-id").map(Self::SetCurrentVersion),
            _ => Err(Error::malformed("this action is not known, or not for views")),
        };
        update.map_err(|error| error.context(format_args!("Update {action:?}")))
    }
}

/// Metadata being changed, and what the commit has added so far.
#[derive(Debug, Default)]
struct Build {
    metadata: ViewMetadata,
    changed: bool,
    last_schema: Option<i32>,
    last_version: Option<i64>,
    added: HashSet<i64>,
}

impl Build {
    fn apply(&mut self, update: &ViewUpdate, now_ms: i64) -> Result<()> {
        match update {
            ViewUpdate::AssignUuid(uuid) => self.assign_uuid(uuid),
            ViewUpdate::UpgradeFormatVersion(version) => upgrade(*version),
            ViewUpdate::AddSchema(schema) => self.add_schema(schema),
            ViewUpdate::SetLocation(location) => self.set_location(location),
            ViewUpdate::SetProperties(properties) => {
                for (key, value) in properties {
                    let before = self.metadata.properties.insert(key.clone(), value.clone());
                    self.changed |= before.as_ref() != Some(value);
                }
                Ok(())
            }
            ViewUpdate::RemoveProperties(keys) => {
                for key in keys {
                    self.changed |= self.metadata.properties.shift_remove(key).is_some();
                }
                Ok(())
            }
            ViewUpdate::AddVersion(version) => self.add_version(version),
            ViewUpdate::SetCurrentVersion(id) => self.set_current_version(*id, now_ms),
        }
    }

    fn assign_uuid(&mut self, uuid: &str) -> Result<()> {
        let have = &self.metadata.view_uuid;
        if same_uuid(have, uuid) {
            return Ok(());
        }
        Err(Error::invalid(format!("Cannot reassign uuid: the view's is {have}, the update says {uuid}")))
    }

    fn set_location(&mut self, location: &str) -> Result<()> {
        let location = location.trim_end_matches('/');
        if location.is_empty() {
            return Err(Error::invalid("View location is empty"));
        }
        if self.metadata.location != location {
            location.clone_into(&mut self.metadata.location);
            self.changed = true;
        }
        Ok(())
    }

    fn add_schema(&mut self, schema: &Schema) -> Result<()> {
        let same = self.metadata.schemas.iter().find(|have| have.same_as(schema)).map(|same| same.schema_id);
        let id = match same {
            Some(id) => id,
            None => next_id(self.metadata.schemas.iter().map(|have| have.schema_id))?,
        };
        if same.is_none() {
            self.metadata.schemas.push(Arc::new(Schema { schema_id: id, ..schema.clone() }));
            self.changed = true;
        }
        self.last_schema = Some(id);
        Ok(())
    }

    fn add_version(&mut self, version: &ViewVersion) -> Result<()> {
        version.dialects()?;
        let schema_id = match (version.schema_id, self.last_schema) {
            (-1, Some(last)) => last,
            (-1, None) => return Err(Error::invalid("Cannot set last added schema: no schema has been added")),
            (id, _) => id,
        };
        if self.metadata.schema(schema_id).is_none() {
            return Err(Error::illegal(format!("Cannot add version with unknown schema: {schema_id}")));
        }
        let version = ViewVersion { schema_id, ..version.clone() };
        let same = self.metadata.versions.iter().find(|have| have.same_as(&version)).map(|same| same.version_id);
        let id = match same {
            Some(id) => id,
            None => self.next_version_id(version.version_id)?,
        };
        if same.is_none() {
            self.metadata.versions.push(Arc::new(ViewVersion { version_id: id, ..version }));
            self.added.insert(id);
            self.changed = true;
        }
        self.last_version = Some(id);
        Ok(())
    }

    /// The client's number, or the next one if that is taken or behind.
    fn next_version_id(&self, asked: i64) -> Result<i64> {
        let Some(highest) = self.metadata.versions.iter().map(|version| version.version_id).max() else {
            return Ok(asked);
        };
        let next = highest.checked_add(1).map(|next| next.max(asked));
        next.ok_or_else(|| {
            Error::invalid("The view has a version at the end of its range: no further one can be given")
        })
    }

    fn set_current_version(&mut self, id: i64, now_ms: i64) -> Result<()> {
        let id = match (id, self.last_version) {
            (LAST_ADDED, Some(last)) => last,
            (LAST_ADDED, None) => {
                return Err(Error::invalid("Cannot set last version id: no current version id has been set"));
            }
            (id, _) => id,
        };
        let Some(version) = self.metadata.version(id) else {
            return Err(Error::illegal(format!("Cannot set current version to unknown version: {id}")));
        };
        if self.metadata.current_version_id == id {
            return Ok(());
        }
        let timestamp_ms = if self.added.contains(&id) { version.timestamp_ms } else { now_ms };
        self.metadata.version_log.push(VersionLogEntry { timestamp_ms, version_id: id });
        self.metadata.current_version_id = id;
        self.changed = true;
        Ok(())
    }

    /// Checks the whole and lets old versions go.
    fn finish(mut self, base: &ViewMetadata) -> Result<Outcome<ViewMetadata>> {
        if !self.changed {
            return Ok(Outcome::Unchanged);
        }
        check_dialects(base, &self.metadata)?;
        self.expire_versions()?;
        Ok(Outcome::Changed(Box::new(self.metadata)))
    }

    /// The current version and those just added stay, and then the newest.
    fn expire_versions(&mut self) -> Result<()> {
        let (key, default) = HISTORY_SIZE;
        let most = properties::whole(&self.metadata.properties, key, default);
        if most < 1 {
            return Err(Error::illegal(format!("{key} must be positive but was {most}")));
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let metadata = &mut self.metadata;
        let mut ids: Vec<i64> = metadata.versions.iter().map(|version| version.version_id).collect();
        let must = |id: &i64| *id == metadata.current_version_id || self.added.contains(id);
        ids.sort_by_key(|id| (!must(id), std::cmp::Reverse(*id)));
        let kept = ids.iter().filter(|id| must(id)).count().max(most).min(ids.len());
        let kept: HashSet<i64> = ids[..kept].iter().copied().collect();
        metadata.versions.retain(|version| kept.contains(&version.version_id));
        // An entry whose version is gone says nothing, and neither does what was before it.
        let gone = metadata.version_log.iter().rposition(|entry| !kept.contains(&entry.version_id));
        metadata.version_log.drain(..gone.map_or(0, |last| last + 1));
        Ok(())
    }
}

fn upgrade(version: i64) -> Result<()> {
    if version == VIEW_FORMAT_VERSION {
        return Ok(());
    }
    Err(Error::illegal(format!("Cannot upgrade view to unsupported format version: v{version} (supported: v1)")))
}

/// Refuses a replacement that loses a dialect, unless the view allows it.
fn check_dialects(base: &ViewMetadata, next: &ViewMetadata) -> Result<()> {
    let (Some(before), Some(now)) = (base.version(base.current_version_id), next.version(next.current_version_id))
    else {
        return Ok(());
    };
    if before.version_id == now.version_id || properties::flag(&next.properties, DROP_DIALECT, false) {
        return Ok(());
    }
    let (before, now) = (before.dialects()?, now.dialects()?);
    if before.iter().all(|dialect| now.contains(dialect)) {
        return Ok(());
    }
    Err(Error::illegal(format!(
        "Cannot replace view due to loss of view dialects ({DROP_DIALECT}=false):\n\
         Previous dialects: {before:?}\nNew dialects: {now:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(id: i64, sql: &str, dialect: &str) -> ViewVersion {
        let text = format!(
            r#"{{"version-id":{id},"timestamp-ms":{id},"schema-id":-1,"summary":{{}},"default-namespace":["ns"],
                 "representations":[{{"type":"sql","sql":"{sql}","dialect":"{dialect}"}}]}}"#
        );
        ViewVersion::parse(&RawValue::from_string(text).expect("JSON")).expect("a version")
    }

    fn schema() -> ViewUpdate {
        let text = r#"{"type":"struct","fields":[{"id":1,"name":"a","type":"int","required":false}]}"#;
        ViewUpdate::AddSchema(Schema::parse(&RawValue::from_string(text.to_owned()).expect("JSON")).expect("a schema"))
    }

    fn replaced(base: &ViewMetadata, version: ViewVersion) -> Result<Option<ViewMetadata>> {
        let updates = vec![schema(), ViewUpdate::AddVersion(version), ViewUpdate::SetCurrentVersion(-1)];
        match (ViewChange { uuids: Vec::new(), updates }).apply(base, 1_000)? {
            Outcome::Changed(next) => Ok(Some(*next)),
            Outcome::Unchanged => Ok(None),
        }
    }

    #[test]
    fn the_same_again_is_no_change() {
        let first = replaced(&ViewMetadata::default(), version(1, "select 1", "Spark")).expect("valid").expect("new");
        assert_eq!(first.current_version_id, 1);
        assert!(replaced(&first, version(7, "select 1", "Spark")).expect("valid").is_none());
        let second = replaced(&first, version(1, "select 2", "spark")).expect("valid").expect("new");
        assert_eq!((second.current_version_id, second.versions.len(), second.schemas.len()), (2, 2, 1));
        let lost = replaced(&second, version(3, "select 3", "trino")).expect_err("loses a dialect");
        assert!(lost.message().contains("loss of view dialects"), "{lost}");
    }

    #[test]
    fn old_versions_go_and_their_log_with_them() {
        let mut view = ViewMetadata::default();
        view.properties.insert(HISTORY_SIZE.0.to_owned(), "2".to_owned());
        for id in 1..=5 {
            view = replaced(&view, version(id, &format!("select {id}"), "spark")).expect("valid").expect("new");
        }
        let versions: Vec<i64> = view.versions.iter().map(|version| version.version_id).collect();
        let log: Vec<i64> = view.version_log.iter().map(|entry| entry.version_id).collect();
        assert_eq!((versions, log), (vec![4, 5], vec![4, 5]));
    }
}
