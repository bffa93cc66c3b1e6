//! What is signed, and what is not.

use super::*;

const HERE: &str = "http://store:9000";

struct Asking {
    request: SignRequest,
    access: Access,
}

fn asking(method: &str, uri: &str) -> Asking {
    let uri = if uri.starts_with('/') { format!("{HERE}{uri}") } else { uri.to_owned() };
    let request = SignRequest { method: method.to_owned(), uri, headers: IndexMap::new(), body: None };
    Asking { request, access: Access::Write }
}

impl Asking {
    fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers.entry(name.to_owned()).or_default().push(value.to_owned());
        self
    }

    fn body(mut self, body: &str) -> Self {
        self.request.body = Some(body.to_owned());
        self
    }

    fn reading(mut self) -> Self {
        self.access = Access::Read;
        self
    }

    fn judged(&self) -> Result<()> {
        let at = |text: &str| Location::parse(text).expect("valid");
        let locations = [at("s3://lake/wh/orders"), at("s3://other/orders data")];
        judge(&self.request, &Hosts::of(Some(HERE), "us-east-1", false), self.access, &locations)
    }
}

fn allowed(asking: &Asking) {
    if let Err(error) = asking.judged() {
        panic!("{:?} must be signed: {error}", asking.request);
    }
}

fn forbidden(asking: &Asking) {
    match asking.judged() {
        Ok(()) => panic!("{:?} must not be signed", asking.request),
        Err(error) => assert_eq!(error.kind(), Kind::Forbidden),
    }
}

#[test]
fn what_a_table_needs_is_signed() {
    for (method, uri) in [
        ("GET", "/lake/wh/orders/metadata/00000-a.metadata.json"),
        ("HEAD", "/lake/wh/orders/data/a=1/b%20c.parquet"),
        ("GET", "/lake/wh/orders/data/x.parquet?x-id=GetObject"),
        ("GET", "/lake/wh/orders/data/x.parquet?versionId=abc"),
        ("PUT", "/lake/wh/orders/data/x.parquet"),
        ("PUT", "/lake/wh/orders/data/x.parquet?partNumber=1&uploadId=u&x-id=UploadPart"),
        ("POST", "/lake/wh/orders/data/x.parquet?uploads"),
        ("POST", "/lake/wh/orders/data/x.parquet?uploads="),
        ("POST", "/lake/wh/orders/data/x.parquet?uploadId=u"),
        ("GET", "/lake/wh/orders/data/x.parquet?uploadId=u"),
        ("DELETE", "/lake/wh/orders/data/x.parquet"),
        ("DELETE", "/lake/wh/orders/data/x.parquet?uploadId=u"),
        ("GET", "/lake?list-type=2&prefix=wh%2Forders%2F&delimiter=%2F"),
        ("GET", "/lake/?list-type=2&prefix=wh/orders/data/&max-keys=1"),
        ("HEAD", "/lake"),
        ("GET", "/other/orders%20data/x"),
        ("GET", "http://lake.store:9000/wh/orders/x"),
        ("GET", "http://lake.store:9000/?list-type=2&prefix=wh/orders/"),
    ] {
        allowed(&asking(method, uri));
    }
    let copy = asking("PUT", "/lake/wh/orders/b");
    allowed(&copy.header("x-amz-copy-source", "/lake/wh/orders/a%20b"));
    let delete = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>wh/orders/a&amp;b</Key></Object>\
                  <Object><Key>wh/orders/c</Key></Object><Quiet>true</Quiet></Delete>";
    allowed(&asking("POST", "/lake?delete").body(delete));
    allowed(&asking("GET", "/lake/wh/orders/x").reading());
}

#[test]
fn what_goes_beyond_the_table_is_not() {
    for (method, uri) in [
        ("GET", "/lake/wh/orders2/x"),
        ("GET", "/lake/wh/orders"),
        ("GET", "/lake/wh/orders/"),
        ("GET", "/lake/wh/x"),
        ("GET", "/lake2/wh/orders/x"),
        ("GET", "/lake/wh/orders/../secret/x"),
        ("GET", "/lake/wh/orders/%2e%2e/secret/x"),
        ("GET", "/lake/wh/orders/..%2fsecret/x"),
        ("GET", "/lake/wh/orders/./x"),
        ("GET", "/lake/wh/orders//x"),
        ("GET", "/lake//wh/orders/x"),
        ("GET", "//lake/wh/orders/x"),
        ("GET", "/lake/wh/orders/%ff"),
        ("GET", "/lake/wh%5corders/x"),
        ("GET", "/lake/wh/orders\\x"),
        ("GET", "/lake/wh/orders/x#y"),
        ("GET", "http://store:9000@evil/lake/wh/orders/x"),
        ("GET", "http://evil:9000/lake/wh/orders/x"),
        ("GET", "http://store:9001/lake/wh/orders/x"),
        ("GET", "https://store:9000/lake/wh/orders/x"),
        ("GET", "http://evil.store:9000/wh/orders/x"),
        ("GET", "http://store:9000.evil/lake/wh/orders/x"),
        ("GET", "/"),
        ("GET", ""),
        ("GET", "/lake"),
        ("GET", "/lake?list-type=2"),
        ("GET", "/lake?list-type=2&prefix="),
        ("GET", "/lake?list-type=2&prefix=wh/orders"),
        ("GET", "/lake?list-type=2&prefix=wh/orders2/"),
        ("GET", "/lake?list-type=2&prefix=wh/orders/../"),
        ("GET", "/lake?list-type=2&prefix=wh/orders/&prefix=wh/"),
        ("GET", "/lake?list-type=2&prefix=wh/+orders/"),
        ("GET", "/lake?versions&prefix=wh/orders/"),
        ("GET", "/lake?policy"),
        ("GET", "/lake?acl"),
        ("GET", "/lake?uploads&prefix=wh/orders/"),
        ("PUT", "/lake"),
        ("DELETE", "/lake"),
        ("PUT", "/lake?policy"),
        ("GET", "/lake/wh/orders/x?acl"),
        ("PUT", "/lake/wh/orders/x?acl"),
        ("PUT", "/lake/wh/orders/x?tagging"),
        ("PUT", "/lake/wh/orders/x?partNumber=1"),
        ("GET", "/lake/wh/orders/x?response-content-type=text%2Fhtml"),
        ("POST", "/lake/wh/orders/x?restore"),
        ("POST", "/lake/wh/orders/x?select&select-type=2"),
        ("POST", "/lake/wh/orders/x"),
        ("DELETE", "/lake/wh/orders/x?versionId=abc"),
        ("PATCH", "/lake/wh/orders/x"),
        ("OPTIONS", "/lake/wh/orders/x"),
        ("POST", "/lake?delete"),
    ] {
        forbidden(&asking(method, uri));
    }
}

#[test]
fn copies_deletes_and_headers_are_looked_into() {
    let copy = |source: &str| asking("PUT", "/lake/wh/orders/b").header("X-Amz-Copy-Source", source);
    for source in ["/lake/secret/a", "lake/wh/orders2/a", "/lake/wh/orders/%2e%2e/secret", "/lake", "arn:aws:s3:a", ""]
    {
        forbidden(&copy(source));
    }
    forbidden(&copy("/lake/wh/orders/a").header("X-Amz-Copy-Source", "/lake/secret/a"));
    forbidden(&copy("/lake/wh/orders/a").header("x-amz-copy-source", "/lake/secret/a"));
    forbidden(&asking("POST", "/lake/wh/orders/b?uploads").header("x-amz-copy-source", "/lake/wh/orders/a"));
    let delete = |keys: &str| asking("POST", "/lake?delete").body(&format!("<Delete>{keys}</Delete>"));
    let one = |key: &str| format!("<Object><Key>{key}</Key></Object>");
    forbidden(&delete(""));
    forbidden(&delete(&one("wh/orders2/a")));
    forbidden(&delete(&(one("wh/orders/a") + &one("secret"))));
    forbidden(&delete("<Object><Key>wh/orders/a</Key><VersionId>v</VersionId></Object>"));
    forbidden(&delete("<Object><Key>wh/orders/a</Key><Key>secret</Key></Object>"));
    let inside = one("wh/orders/a");
    for body in [
        "no XML".to_owned(),
        format!("<Other>{inside}</Other>"),
        format!("<Delete>{inside}</Delete><Delete>{inside}</Delete>"),
        format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?><Delete>{inside}</Delete>"),
        format!("<!DOCTYPE x><Delete>{inside}</Delete>"),
        format!("<Delete><!-- x -->{inside}</Delete>"),
    ] {
        forbidden(&asking("POST", "/lake?delete").body(&body));
    }
    let declared = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Delete>{inside}</Delete>\n");
    allowed(&asking("POST", "/lake?delete").body(&declared));
    for (name, value) in [
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "uri=all"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-security-token", "t"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
    ] {
        forbidden(&asking("PUT", "/lake/wh/orders/b").header(name, value));
    }
    allowed(&asking("PUT", "/lake/wh/orders/b").header("x-amz-acl", "private"));
}

#[test]
fn who_may_read_gets_no_signature_for_more() {
    for (method, uri) in [
        ("PUT", "/lake/wh/orders/x"),
        ("DELETE", "/lake/wh/orders/x"),
        ("POST", "/lake/wh/orders/x?uploads"),
        ("POST", "/lake?delete"),
    ] {
        forbidden(&asking(method, uri).reading());
    }
}

#[test]
fn aws_has_hosts_of_its_own() {
    let hosts = Hosts::of(None, "eu-west-1", false);
    let bucket = |uri: &str| hosts.split(uri).map(|(bucket, ..)| bucket);
    assert_eq!(bucket("https://s3.eu-west-1.amazonaws.com/lake/k").as_deref(), Some("lake"));
    assert_eq!(bucket("https://lake.s3.eu-west-1.amazonaws.com:443/k").as_deref(), Some("lake"));
    assert_eq!(bucket("https://la.ke.s3.amazonaws.com/k").as_deref(), Some("la.ke"));
    assert_eq!(bucket("https://lake.s3.us-east-1.amazonaws.com/k"), None);
    assert_eq!(bucket("http://lake.s3.eu-west-1.amazonaws.com/k"), None);
    assert_eq!(bucket("https://evil-s3.eu-west-1.amazonaws.com/lake/k"), None);
}

#[test]
fn what_no_store_takes_is_not_looked_into() {
    let many: Vec<String> = (0..10_000).map(|number| format!("a{number}=")).collect();
    forbidden(&asking("GET", &format!("/lake/wh/orders/x?{}", many.join("&"))));
    forbidden(&asking("GET", "/lake/wh/orders/x").header("a", &"x".repeat(100_000)));
    let mut asking = asking("GET", "/lake/wh/orders/x");
    asking.request.headers.insert("a".to_owned(), vec![String::new(); 30_000]);
    forbidden(&asking);
}

#[test]
fn a_bucket_stands_before_the_host_only_where_the_store_knows_that() {
    let at = |path_style| {
        let locations = [Location::parse("s3://lake/wh/orders").expect("valid")];
        let asked = asking("GET", "http://lake.store:9000/wh/orders/x");
        judge(&asked.request, &Hosts::of(Some(HERE), "us-east-1", path_style), asked.access, &locations)
    };
    assert!(at(false).is_ok() && at(true).is_err());
}

#[test]
fn what_two_readers_could_read_differently_is_not_signed() {
    for key in ["a+b", "a%5Cb", "a%0Ab", "a%00b"] {
        forbidden(&asking("GET", &format!("/lake/wh/orders/{key}")));
    }
    allowed(&asking("GET", "/lake/wh/orders/a%2Bb"));
    forbidden(&asking("PUT", "/lake/wh/orders/x").header("x-amz-copy-source", "lake/wh/orders/a+b"));
    for header in ["x-minio-extract", "X-Amz-Meta-Snowball-Auto-Extract", "x-amz-meta-minio-snowball", "Seaweed-A"] {
        forbidden(&asking("PUT", "/lake/wh/orders/x").header(header, "true"));
    }
}
