//! Every key of the configuration and the shape of its value.

/// The shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Flag,
    /// A whole number.
    Number,
    /// A list of texts; in the environment, separated by commas.
    List,
    /// A list of anything, kept as JSON.
    Json,
}

/// Keys behind which names are chosen freely, and what such a name may be followed by.
pub(super) const NAMED: &[(&str, &str, Shape)] = &[
    ("ingest.hash-keys.", "", Shape::Text),
    ("ingest.routes.", "", Shape::Text),
    ("ingest.tables.", ".rules", Shape::Json),
];

/// The keys outside `warehouses`.
pub(super) const KEYS: &[(&str, Shape)] = &[
    ("listen", Shape::Text),
    ("data-dir", Shape::Text),
    ("allow-location", Shape::List),
    ("default-warehouse", Shape::Text),
    ("seal-key", Shape::Text),
    ("base-path", Shape::Text),
    ("auth", Shape::Text),
    ("metrics-auth", Shape::Flag),
    ("shutdown-timeout", Shape::Text),
    ("cors-origins", Shape::List),
    ("idempotency.lifetime", Shape::Text),
    ("idempotency.keys", Shape::Number),
    ("ingest.memory", Shape::Text),
    ("ingest.body", Shape::Text),
    ("ingest.body-decoded", Shape::Text),
    ("ingest.rows", Shape::Number),
    ("ingest.row", Shape::Text),
    ("ingest.nesting", Shape::Number),
    ("ingest.auto-create", Shape::Flag),
    ("log.level", Shape::Text),
    ("log.format", Shape::Text),
];

/// The keys of one warehouse, `warehouses.<name>.<key>`.
pub(super) const WAREHOUSE_KEYS: &[(&str, Shape)] = &[
    ("url", Shape::Text),
    ("endpoint", Shape::Text),
    ("region", Shape::Text),
    ("path-style", Shape::Flag),
    ("access-key-id", Shape::Text),
    ("secret-access-key", Shape::Text),
    ("session-token", Shape::Text),
    ("sts-endpoint", Shape::Text),
    ("sts-role-arn", Shape::Text),
    ("delegation", Shape::Text),
    ("service-account", Shape::Text),
    ("account-key", Shape::Text),
    ("tenant-id", Shape::Text),
    ("client-id", Shape::Text),
    ("client-secret", Shape::Text),
    ("version-hint", Shape::Flag),
];

/// The shape of a key, if it is one.
pub(super) fn shape_of(key: &str) -> Option<Shape> {
    let find = |keys: &[(&str, Shape)], key: &str| keys.iter().find(|(name, _)| *name == key).map(|(_, shape)| *shape);
    match split_warehouse(key) {
        Some((_, inner)) => find(WAREHOUSE_KEYS, inner),
        None => find(KEYS, key).or_else(|| {
            NAMED.iter().find(|(before, behind, _)| named(key, before, behind).is_some()).map(|(_, _, shape)| *shape)
        }),
    }
}

/// The name in a key that stands between these.
pub(super) fn named<'a>(key: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    key.strip_prefix(before)?.strip_suffix(behind).filter(|name| !name.is_empty())
}

/// The name and the inner key of `warehouses.<name>.<key>`.
pub(super) fn split_warehouse(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("warehouses.")?.split_once('.')
}

/// The known key most like an unknown one.
pub(super) fn nearest(key: &str) -> String {
    let closest = |keys: &[(&'static str, Shape)], key: &str| {
        let scored = keys.iter().map(|(name, _)| (strsim::damerau_levenshtein(name, key), *name));
        scored.min_by_key(|(distance, _)| *distance).map_or("", |(_, name)| name)
    };
    match split_warehouse(key) {
        Some((name, inner)) => format!("warehouses.{name}.{}", closest(WAREHOUSE_KEYS, inner)),
        None => closest(KEYS, key).to_owned(),
    }
}
