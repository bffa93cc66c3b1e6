//! The session policy that narrows lent S3 keys to a table.

use serde_json::{Value, json};

use super::Access;
use crate::lake::location::Location;

/// A policy that allows what `access` says within these locations and nothing else; `None` where a location holds a
/// character that would mean more than itself in a policy.
pub(super) fn session_policy(access: Access, locations: &[Location]) -> Option<String> {
    let plain = |location: &Location| !location.path().contains(['*', '?', '$', '\\', '"']);
    if locations.is_empty() || !locations.iter().all(plain) {
        return None;
    }
    let mut actions = vec!["s3:GetObject"];
    if access == Access::Write {
        actions.extend(["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]);
    }
    let objects: Vec<String> = locations
        .iter()
        .map(|location| format!("arn:aws:s3:::{}/{}", location.bucket(), folder(location) + "*"))
        .collect();
    let mut statements = vec![json!({"Effect": "Allow", "Action": actions, "Resource": objects})];
    let mut buckets: Vec<&str> = locations.iter().map(Location::bucket).collect();
    buckets.sort_unstable();
    buckets.dedup();
    for bucket in buckets {
        let of_bucket = locations.iter().filter(|location| location.bucket() == bucket);
        let prefixes: Vec<String> = of_bucket.map(|location| folder(location) + "*").collect();
        statements.push(list_of(bucket, &prefixes));
    }
    Some(json!({"Version": "2012-10-17", "Statement": statements}).to_string())
}

fn list_of(bucket: &str, prefixes: &[String]) -> Value {
    json!({
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [format!("arn:aws:s3:::{bucket}")],
        "Condition": {"StringLike": {"s3:prefix": prefixes}},
    })
}

/// With the slash, so that a neighbour whose name is longer is not meant too.
fn folder(location: &Location) -> String {
    if location.path().is_empty() { String::new() } else { format!("{}/", location.path()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(access: Access, locations: &[&str]) -> Option<Value> {
        let locations: Vec<Location> = locations.iter().map(|text| Location::parse(text).expect("valid")).collect();
        session_policy(access, &locations).map(|text| serde_json::from_str(&text).expect("JSON"))
    }

    #[test]
    fn a_policy_is_the_tables_alone() {
        let read = policy(Access::Read, &["s3://lake/wh/orders"]).expect("a policy");
        assert_eq!(read["Statement"][0]["Action"], json!(["s3:GetObject"]));
        assert_eq!(read["Statement"][0]["Resource"], json!(["arn:aws:s3:::lake/wh/orders/*"]));
        assert_eq!(read["Statement"][1]["Resource"], json!(["arn:aws:s3:::lake"]));
        assert_eq!(read["Statement"][1]["Condition"], json!({"StringLike": {"s3:prefix": ["wh/orders/*"]}}));
        let write = policy(Access::Write, &["s3://lake/a", "s3://other/b"]).expect("a policy");
        assert!(write["Statement"][0]["Action"].as_array().expect("a list").contains(&json!("s3:DeleteObject")));
        assert_eq!(write["Statement"].as_array().expect("a list").len(), 3);
        assert_eq!(
            policy(Access::Read, &["s3://lake"]).expect("a policy")["Statement"][0]["Resource"],
            json!(["arn:aws:s3:::lake/*"])
        );
    }

    #[test]
    fn what_would_mean_more_than_itself_gets_none() {
        for odd in ["s3://lake/a*", "s3://lake/a?", "s3://lake/${aws:username}"] {
            assert_eq!(policy(Access::Write, &[odd]), None, "{odd}");
        }
        assert_eq!(policy(Access::Write, &[]), None);
    }
}
