//! One target for each decoder, fed as the environment says.

use std::time::Duration;

use super::damage::Rng;
use super::rows::{self, Setting};
use super::watch::Noted;
use super::{Plan, Target, bodies, rest, run};
use crate::clock;
use crate::ingest::decode::Format;
use crate::ingest::inflate::Encoding;

fn plan() -> Plan {
    let random = || clock::random_bytes().expect("random bytes").first_chunk().copied().map_or(0, u64::from_le_bytes);
    // Where nothing is said, only the first inputs are fed, as they are: a run of all tests ends the same each time.
    let seconds = number("FUZZ_SECONDS").unwrap_or(0);
    Plan {
        time: Duration::from_secs(seconds),
        seed: number("FUZZ_SEED").unwrap_or_else(|| if seconds == 0 { 1 } else { random() }),
        again: said("FUZZ_CASE").map(|path| Noted::read(&path)),
    }
}

fn number(name: &str) -> Option<u64> {
    said(name).map(|text| text.trim().parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a whole number")))
}

/// What the environment says of the runs; a variable that is empty says nothing.
#[expect(clippy::disallowed_methods, reason = "no configuration is read here, and a test has no arguments")]
fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn feed_rows(name: &'static str, format: Format, corpus: Vec<Vec<u8>>) {
    let setting = Setting::of(format);
    let text = matches!(format, Format::Json | Format::Csv | Format::Events);
    let feed = Box::new(move |input: &[u8], rng: &mut Rng| rows::fed(&setting, input, rng));
    run(&Target { name, text, corpus, feed }, &plan());
}

fn feed_inflater(name: &'static str, encoding: Encoding) {
    let feed = Box::new(move |input: &[u8], rng: &mut Rng| rest::inflated(encoding, input, rng));
    run(&Target { name, text: false, corpus: bodies::packed(encoding), feed }, &plan());
}

#[test]
fn json() {
    feed_rows("json", Format::Json, bodies::json());
}

#[test]
fn csv() {
    feed_rows("csv", Format::Csv, bodies::csv());
}

#[test]
fn cloudevents() {
    feed_rows("cloudevents", Format::Events, bodies::events());
}

#[test]
fn arrow() {
    feed_rows("arrow", Format::Arrow, bodies::arrow());
}

#[test]
fn parquet() {
    feed_rows("parquet", Format::Parquet, bodies::parquet());
}

#[test]
fn avro() {
    feed_rows("avro", Format::Avro, bodies::avro());
}

#[test]
fn rules() {
    let known = bodies::known_rules();
    let feed = Box::new(move |input: &[u8], rng: &mut Rng| rest::followed(&known, input, rng));
    run(&Target { name: "rules", text: true, corpus: bodies::rules(), feed }, &plan());
}

#[test]
fn route() {
    let nothing = bodies::shape(&bodies::no_columns());
    let feed = Box::new(move |input: &[u8], rng: &mut Rng| rest::routed(&nothing, input, rng));
    run(&Target { name: "route", text: true, corpus: bodies::routed(), feed }, &plan());
}

#[test]
fn gzip() {
    feed_inflater("gzip", Encoding::Gzip);
}

#[test]
fn zstd() {
    feed_inflater("zstd", Encoding::Zstd);
}

#[test]
fn lz4() {
    feed_inflater("lz4", Encoding::Lz4);
}

#[test]
fn brotli() {
    feed_inflater("brotli", Encoding::Brotli);
}
