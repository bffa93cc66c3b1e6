//! The session policy that narrows lent S3 keys to a table.

use serde_json::{Value, json};

use super::Access;
use super::lending::NotLent;
use crate::lake::location::Location;

/// Characters of a session policy, as AWS counts them.
const CHARACTERS_MAX: usize = 2_048;

/// Who reads a policy.
#[derive(Debug)]
pub(super) enum Issuer {
    /// AWS itself.
    Aws {
        /// The second part of its resources' names: `aws`, but for China and the government's clouds.
        partition: String,
    },
    /// A store that speaks AWS's language, and may refuse words of it that mean nothing to it.
    Compatible,
}

impl Issuer {
    fn partition(&self) -> &str {
        match self {
            Self::Aws { partition } => partition,
            Self::Compatible => "aws",
        }
    }
}

/// The policy for as many of these locations as fit into one, and how many these are: the first is the table's own.
pub(super) fn fitting(access: Access, locations: &[Location], issuer: &Issuer) -> Result<(String, usize), NotLent> {
    let policies = (1..=locations.len())
        .rev()
        .filter_map(|count| session_policy(access, &locations[..count], issuer).map(|policy| (policy, count)));
    policies.into_iter().find(|(policy, _)| policy.chars().count() <= CHARACTERS_MAX).ok_or(NotLent::NoPolicy(
        "No policy can say where this table is: its location is too long, or holds * ? $ \\ or a quote",
    ))
}

/// A policy that allows what `access` says within these locations and nothing else; `None` where a location holds a
/// character that would mean more than itself in a policy.
fn session_policy(access: Access, locations: &[Location], issuer: &Issuer) -> Option<String> {
    let plain = |location: &Location| !location.path().contains(['*', '?', '$', '\\', '"']);
    if locations.is_empty() || !locations.iter().all(plain) {
        return None;
    }
    let mut actions = vec!["s3:GetObject"];
    if access == Access::Write {
        actions.extend(["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]);
    }
    let partition = issuer.partition();
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
    if let Issuer::Aws { .. } = issuer {
        statements.push(encryption(access));
    }
    Some(json!({"Version": "2012-10-17", "Statement": statements}).to_string())
}

/// What a bucket that is encrypted with a key of KMS asks of who reads and writes it. Which keys these may be is for the
/// role's own policy to say; here, that they are used by S3 alone, for the objects above.
fn encryption(access: Access) -> Value {
    let mut actions = vec!["kms:Decrypt"];
    if access == Access::Write {
        actions.push("kms:GenerateDataKey");
    }
    json!({
        "Effect": "Allow",
        "Action": actions,
        "Resource": ["*"],
        "Condition": {"StringLike": {"kms:ViaService": "s3.*"}},
    })
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
        session_policy(access, &locations, &Issuer::Compatible).map(|text| serde_json::from_str(&text).expect("JSON"))
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
        let china = Issuer::Aws { partition: "aws-cn".to_owned() };
        let (text, count) = fitting(Access::Read, &locations, &china).expect("a policy");
        assert!(count == 1 && text.contains("arn:aws-cn:s3:::lake/t/*"), "{text}");
        let reached = |locations: &[Location]| fitting(Access::Read, locations, &Issuer::Compatible);
        assert_eq!(reached(&[at("s3://lake/t"), at("s3://lake/u")]).expect("a policy").1, 2);
        assert!(reached(&[at(&format!("{long}{long}"))]).is_err());
        assert!(reached(&[at("s3://lake/t"), at("s3://lake/a*")]).expect("a policy").1 == 1);
    }

    #[test]
    fn encrypted_buckets_of_aws_can_be_read_and_written() {
        let at = [Location::parse("s3://lake/t").expect("valid")];
        let of = |access, issuer: &Issuer| -> Value {
            let text = session_policy(access, &at, issuer).expect("a policy");
            serde_json::from_str(&text).expect("JSON")
        };
        let aws = Issuer::Aws { partition: "aws".to_owned() };
        assert_eq!(of(Access::Read, &aws)["Statement"][2]["Action"], json!(["kms:Decrypt"]));
        let write = &of(Access::Write, &aws)["Statement"][2];
        assert_eq!(write["Action"], json!(["kms:Decrypt", "kms:GenerateDataKey"]));
        assert_eq!(write["Condition"]["StringLike"]["kms:ViaService"], "s3.*");
        assert!(of(Access::Write, &Issuer::Compatible)["Statement"].get(2).is_none(), "others know no KMS");
    }
}
