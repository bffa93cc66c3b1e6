//! The session policy that narrows lent S3 keys to a table.

use serde_json::{Value, json};

use super::Access;
use super::lending::NotLent;
use crate::lake::location::Location;

/// Characters of a session policy, as AWS counts them.
const CHARACTERS_MAX: usize = 2_048;

/// The policy for as many of these locations as fit into one, and how many these are: the first is the table's own.
pub(super) fn fitting(access: Access, locations: &[Location], partition: &str) -> Result<(String, usize), NotLent> {
    let policies = (1..=locations.len())
        .rev()
        .filter_map(|count| session_policy(access, &locations[..count], partition).map(|policy| (policy, count)));
    policies.into_iter().find(|(policy, _)| policy.chars().count() <= CHARACTERS_MAX).ok_or(NotLent::NoPolicy(
        "No policy can say where this table is: its location is too long, or holds * ? $ \\ or a quote",
    ))
}

/// A policy that allows what `access` says within these locations and nothing else; `None` where a location holds a
/// character that would mean more than itself in a policy.
fn session_policy(access: Access, locations: &[Location], partition: &str) -> Option<String> {
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
        .map(|location| format!("arn:{partition}:s3:::{}/{}", location.bucket(), folder(location) + "*"))
        .collect();
    let mut statements = vec![json!({"Effect": "Allow", "Action": actions, "Resource": objects})];
    let mut buckets: Vec<&str> = locations.iter().map(Location::bucket).collect();
    buckets.sort_unstable();
    buckets.dedup();
    for bucket in buckets {
        let of_bucket = locations.iter().filter(|location| location.bucket() == bucket);
        let prefixes: Vec<String> = of_bucket.map(|location| folder(location) + "*").collect();
        statements.push(list_of(&format!("arn:{partition}:s3:::{bucket}"), &prefixes));
    }
    Some(json!({"Version": "2012-10-17", "Statement": statements}).to_string())
}

fn list_of(bucket_arn: &str, prefixes: &[String]) -> Value {
    json!({
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [bucket_arn],
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
        session_policy(access, &locations, "aws").map(|text| serde_json::from_str(&text).expect("JSON"))
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

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let at = |text: &str| Location::parse(text).expect("valid");
        let long = format!("s3://lake/{}", "x".repeat(900));
        let locations = [at("s3://lake/t"), at(&long), at("s3://lake/u")];
        let (text, count) = fitting(Access::Read, &locations, "aws-cn").expect("a policy");
        assert!(count == 1 && text.contains("arn:aws-cn:s3:::lake/t/*"), "{text}");
        assert_eq!(fitting(Access::Read, &[at("s3://lake/t"), at("s3://lake/u")], "aws").expect("a policy").1, 2);
        assert!(fitting(Access::Read, &[at(&format!("{long}{long}"))], "aws").is_err());
        assert!(fitting(Access::Read, &[at("s3://lake/t"), at("s3://lake/a*")], "aws").expect("a policy").1 == 1);
    }
}
