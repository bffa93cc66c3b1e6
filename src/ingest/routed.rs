//! One body for many tables (`POST /ingest/v1`).
//!
//! All rows are looked at before any is written: where one that does not fit is enough to write nothing, that is so for all
//! tables. Then the rows of each table are committed with those of other requests or, where that is asked for
//! ([`Together::AllOrNone`]), those of all tables in one transaction. A request with a key is written once either way: where
//! its tables are committed one by one, each has a key of its own, made of the request's.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::{Stream, StreamExt};
use http::HeaderMap;
use indexmap::IndexMap;

use super::claims::Claims;
use super::columnar::too_many_rejected;
use super::decode::{Decoded, Format, Kept, Reader};
use super::held;
use super::inflate::{Encoding, Inflater};
use super::intake::{Intake, Read};
use super::memory::{Reserved, weight_of};
use super::receipt::Receipt;
use super::route::{Bounds, Part, Route, Sorted, sorted};
use super::verdict::{OnError, Verdicts};
use super::waiting::{Beside, Carried, Waiting};
use super::{Ack, Append, AppendOptions, Ingest, KeySent, Outcome, create, judge};
use crate::catalog::once::Key;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::names::{Namespace, TableName};
use crate::store::swap::Alongside;

/// How the rows of several tables are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Together {
    /// Those of each table by themselves.
    #[default]
    OneByOne,
    /// All of them in one transaction, or none.
    AllOrNone,
}

/// A request for many tables.
#[derive(Debug)]
pub struct RoutedAppend {
    /// How rows say where they belong.
    pub route: Route,
    /// The table that each route leads to; where there are none, those of the configuration.
    pub map: IndexMap<String, String>,
    /// How they are committed.
    pub together: Together,
    /// What the body is written in: JSON or events.
    pub format: Format,
    /// How it is compressed.
    pub encoding: Encoding,
    /// How the rows are to be taken.
    pub options: AppendOptions,
    /// The key that it came with.
    pub key: Option<KeySent>,
    /// Its headers.
    pub headers: HeaderMap,
}

/// The table of events that say where they belong and for which no map is declared.
const EVENTS: [&str; 2] = ["events", "events"];

/// What the table of dead letters of rows without a table is called after.
const UNROUTED: [&str; 2] = ["ingest", "unrouted"];

fn named([namespace, name]: [&str; 2]) -> Result<TableName> {
    TableName::new(Namespace::new(&[namespace])?, name)
}

/// The rows of one table, before and after they are known to fit.
struct ForTable {
    name: TableName,
    append: Append,
    places: Vec<(usize, usize)>,
    read: Read,
}

impl Ingest {
    /// Sets memory aside for a body of so many bytes for many tables.
    pub fn admit_routed(&self, body_bytes: usize) -> Result<Reserved> {
        self.admit(&named(UNROUTED)?, body_bytes)
    }

    /// Takes the rows of one request for many tables, under the memory that was admitted for it.
    pub async fn append_routed(
        &self,
        mut request: RoutedAppend,
        mut memory: Reserved,
        body: &mut (impl Stream<Item = Result<Bytes>> + Unpin + Send),
    ) -> Result<Outcome> {
        if request.key.is_some() {
            self.catalog.keys().admit(self.catalog.store()).await?;
        }
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while let Some(piece) = body.next().await {
            let piece = piece?;
            if let Some(key) = &mut request.key {
                key.request.update(&piece);
            }
            bytes += piece.len();
            pieces.push(piece);
            memory.hold(bytes)?;
        }
        self.counts.received(bytes);
        let this = self.clone();
        let work = self.catalog.works().spawn(async move { this.take_routed(request, pieces, memory).await });
        let cut_off =
            |error| Error::new(Kind::CommitUnknown, "The request was cut off by a fault of the server").because(error);
        work.await.map_err(cut_off)?
    }

    async fn take_routed(&self, mut request: RoutedAppend, pieces: Vec<Bytes>, memory: Reserved) -> Result<Outcome> {
        let key = request.key.take().map(|KeySent { scope, text, request }| request.key(scope, text));
        if let Some(key) = &key
            && let Some(text) = self.catalog.answers(&[key]).await?.pop().flatten()
        {
            return judge::answered(&text?).map(Outcome::Taken);
        }
        let (sorted, memory) = self.take_apart(&request, pieces, memory).await?;
        let Sorted { parts, mut lost, rows } = sorted;
        let mut tables: IndexMap<TableName, Part> = IndexMap::new();
        for (route, part) in parts {
            match self.table_of(&route, &request).await? {
                Ok(name) => tables.entry(name).or_default().join(part),
                Err(why) => lose(&mut lost, part, &why)?,
            }
        }
        tables.sort_unstable_keys();
        let mut read = Vec::with_capacity(tables.len());
        for (name, part) in tables {
            read.push(self.read_part(name, part, &request).await?);
        }
        drop(memory);
        if let Some(refused) = refused(&read, &lost, rows) {
            return Ok(refused);
        }
        match self.ready(read, lost, &request, key.as_ref()).await? {
            Ready::Refused(verdicts) => Ok(Outcome::Refused { rows, verdicts }),
            Ready::Fit(waiting) => self.write_routed(waiting, &request, key).await.map(Outcome::Taken),
        }
    }

    /// Unpacks a body and takes its rows apart.
    async fn take_apart(
        &self,
        request: &RoutedAppend,
        pieces: Vec<Bytes>,
        mut memory: Reserved,
    ) -> Result<(Sorted, Reserved)> {
        let (encoding, route) = (request.encoding, request.route.clone());
        let on_error = request.options.on_error.unwrap_or_default();
        let settings = Arc::clone(&self.settings);
        let bounds = Bounds {
            rows: settings.rows,
            row_bytes: settings.row,
            nesting: settings.nesting,
            // All events are for one table where no map is declared.
            routes: if self.is_for_events(request) { usize::MAX } else { limits::ROUTED_TABLES_MAX },
        };
        self.compute(move || {
            let mut text = Vec::new();
            let mut inflater = Inflater::new(encoding, settings.body_decoded)?;
            // The text, and once more that of each table.
            let mut take = |piece: &[u8]| {
                text.extend_from_slice(piece);
                memory.hold(text.len() * 2)
            };
            pieces.into_iter().try_for_each(|piece| inflater.feed(piece, &mut take))?;
            inflater.finish(&mut take)?;
            Ok((sorted(&text, &route, on_error, bounds)?, memory))
        })
        .await
    }

    /// The tables that a route for all rows of a request may mean.
    pub fn table_of_route(&self, route: &str, map: &IndexMap<String, String>) -> Result<Vec<TableName>> {
        self.led_to(route, map).map_err(|why| Error::new(Kind::Unprocessable, why).with_code("unknown_route"))
    }

    /// The tables that a route may mean, or why it means none.
    fn led_to(&self, route: &str, map: &IndexMap<String, String>) -> std::result::Result<Vec<TableName>, String> {
        let map = if map.is_empty() { &self.settings.routes } else { map };
        let name = match map.get(route) {
            Some(name) => name.as_str(),
            None if map.is_empty() => route,
            None => {
                let known: Vec<&str> = map.keys().map(String::as_str).collect();
                return Err(format!("route {route:?} leads to no table: there is {}", known.join(", ")));
            }
        };
        TableName::meant_by(name).map_err(|error| error.message().to_owned())
    }

    /// Whether all rows are events for the one table of them.
    fn is_for_events(&self, request: &RoutedAppend) -> bool {
        let declared = !request.map.is_empty() || !self.settings.routes.is_empty();
        request.format == Format::Events && request.route == Route::At(vec!["type".to_owned()]) && !declared
    }

    /// The table that a route leads to, or why there is none.
    async fn table_of(&self, route: &str, request: &RoutedAppend) -> Result<std::result::Result<TableName, String>> {
        if self.is_for_events(request) {
            return named(EVENTS).map(Ok);
        }
        match self.led_to(route, &request.map) {
            Ok(meant) => self.catalog.meant(meant).await.map(Ok),
            Err(why) => Ok(Err(why)),
        }
    }

    /// Reads the rows of one table.
    async fn read_part(&self, name: TableName, part: Part, request: &RoutedAppend) -> Result<ForTable> {
        let mut append = Append {
            table: name.clone(),
            format: request.format,
            encoding: Encoding::Identity,
            options: request.options.clone(),
            key: None,
            producer: None,
            headers: request.headers.clone(),
        };
        let existing = create::existing(&self.catalog, &name, &append.options).await?;
        let (reading, readers) = self.prepared(&mut append, existing.as_deref())?;
        let mut memory = self.memory.reserve(&self.owner(&name), part.text.len())?;
        let Part { text, places } = part;
        let format = request.format;
        let decoded = self.compute(move || {
            let mut reader = Reader::new(format, &readers.shape, &reading)?;
            reader.feed(&text)?;
            reader.finish()
        });
        let decoded: Decoded = decoded.await?;
        let columns: usize = decoded.batches.iter().map(weight_of).sum();
        let kept = decoded.kept.as_ref().map_or(0, Kept::weight);
        memory.hold(columns + kept + decoded.verdicts.weight())?;
        Ok(ForTable { name, append, places, read: Read::of(existing, decoded, memory) })
    }

    /// What is to be committed, with the dead letters of rows that have no table.
    async fn ready(
        &self,
        read: Vec<ForTable>,
        lost: Verdicts,
        request: &RoutedAppend,
        key: Option<&Key>,
    ) -> Result<Ready> {
        let mut all: Vec<Waiting> = Vec::with_capacity(read.len());
        let mut letters: Vec<(TableName, Verdicts)> = vec![(named(UNROUTED)?, lost)];
        for ForTable { name, append, places, read } in read {
            if read.fits_nothing() {
                let mut verdicts = read.into_verdicts();
                verdicts.move_to(&places);
                letters.push((name, verdicts));
                continue;
            }
            let mut received = match self.fit(&name, &append.options, read).await? {
                Intake::Fits(received) => received,
                Intake::Refused(mut decoded) => {
                    decoded.verdicts.move_to(&places);
                    return Ok(Ready::Refused(decoded.verdicts));
                }
            };
            received.verdicts.move_to(&places);
            self.check_files(&request.options, &received).await?;
            let own = key.filter(|_| request.together == Together::OneByOne).map(|key| part_of(key, &name));
            let claims = Claims { key: own, producer: None };
            all.push(self.waiting(name, claims, (received, &request.options.request_id)).await?);
        }
        let Some(first) = all.first_mut() else { return Err(Error::internal("Rows for many tables are for none")) };
        for (name, verdicts) in letters {
            verdicts.count();
            first.left_out.add(&verdicts);
            if verdicts.on_error == OnError::Dlq && !verdicts.rejected.is_empty() {
                let beside = self.dead_letters(&name, &verdicts.rejected, &request.options.request_id).await?;
                first.bytes += weight_of(&beside.rows);
                first.beside.push(beside);
            }
        }
        all.iter_mut().try_for_each(one_of_each)?;
        Ok(Ready::Fit(all))
    }

    async fn write_routed(&self, waiting: Vec<Waiting>, request: &RoutedAppend, key: Option<Key>) -> Result<Receipt> {
        let waiting = match request.together {
            Together::OneByOne => waiting,
            Together::AllOrNone => vec![self.joined(waiting, key.clone())?],
        };
        let under_way = key.as_ref().filter(|_| request.together == Together::OneByOne);
        let _under_way = under_way.map(|key| self.keys.begin(key)).transpose()?;
        let (ack, timeout) = (request.options.ack, request.options.timeout);
        let count = waiting.len();
        let heard = join_all(waiting.into_iter().map(|one| async move {
            match ack {
                Ack::Commit => Self::hear(self.submit(one), timeout).await,
                ack => self.acknowledge(one, ack).await,
            }
        }))
        .await;
        let (taken, failed): (Vec<_>, Vec<_>) = heard.into_iter().partition(Result::is_ok);
        // Of several failures the one is told that leaves the most open.
        let openness = |error: &Error| match error.kind() {
            Kind::CommitUnknown => 2,
            Kind::Pending => 1,
            _ => 0,
        };
        if let Some(error) = failed.into_iter().filter_map(Result::err).max_by_key(openness) {
            return Err(if taken.is_empty() { error } else { in_part(&error, taken.len(), count, key.is_some()) });
        }
        let receipts: Vec<Receipt> = taken.into_iter().collect::<Result<_>>()?;
        let receipt = Receipt::of_all(receipts).ok_or_else(|| Error::internal("Nothing was written"))?;
        if let (Some(key), true) = (key, request.together == Together::OneByOne && ack != Ack::None) {
            self.keep_answer(&key, &receipt).await;
        }
        Ok(receipt)
    }

    /// Keeps the answer under the request's own key, for it to be asked for. Its rows are known by the keys of their tables
    /// if this fails.
    async fn keep_answer(&self, key: &Key, receipt: &Receipt) {
        let kept = async {
            let text = serde_json::to_string(&Receipt { again: false, ..receipt.clone() });
            let text = text.map_err(|error| Error::internal("An answer cannot be written").because(error))?;
            let keys = vec![self.catalog.key_row(key, text)?];
            self.catalog.keep(Alongside { keys, ..Alongside::default() }).await
        };
        if let Err(error) = kept.await {
            tracing::debug!(error = error.chain(), "the answer of a request for many tables is not kept");
        }
    }

    /// One request of all: the first table's, with the rows of the others beside it.
    fn joined(&self, all: Vec<Waiting>, key: Option<Key>) -> Result<Waiting> {
        let mut all = all.into_iter();
        let mut first = all.next().ok_or_else(|| Error::internal("Rows for many tables are for none"))?;
        for one in all {
            let rows = held::together(&held::columns(&one.rows)?)?;
            first.bytes += one.bytes;
            first.left_out.join(one.left_out);
            first.beside.push(Beside { target: one.target, rows, what: Carried::Rows });
            first.beside.extend(one.beside);
        }
        one_of_each(&mut first)?;
        first.memory = self.memory.take(&self.owner(&first.target.name), first.bytes);
        first.beside.sort_by(|one, other| one.target.name.cmp(&other.target.name));
        first.known.0 = key.as_ref().map(|key| self.keys.begin(key)).transpose()?;
        first.claims = Claims { key, producer: None };
        Ok(first)
    }
}

/// What came of making tables have what rows ask for.
enum Ready {
    Fit(Vec<Waiting>),
    Refused(Verdicts),
}

/// Puts rows for one table that stand beside a request's together: a commit changes a table once.
fn one_of_each(one: &mut Waiting) -> Result<()> {
    let mut each: Vec<Beside> = Vec::with_capacity(one.beside.len());
    for beside in std::mem::take(&mut one.beside) {
        let own = beside.target.row == one.target.row;
        match each.iter_mut().find(|known| known.target.row == beside.target.row) {
            None if !own => each.push(beside),
            Some(known) if known.what == beside.what && known.target.schema_id == beside.target.schema_id => {
                known.rows = held::together(&[known.rows.clone(), beside.rows])?;
            }
            _ => {
                let message = format!(
                    "Rows for table {} come with rows that do not fit and are put there; nothing was written: send them \
                     apart",
                    beside.target.name
                );
                return Err(Error::new(Kind::Unprocessable, message).with_code("rejected_table_unfit"));
            }
        }
    }
    one.beside = each;
    Ok(())
}

/// The key of one table's rows.
fn part_of(key: &Key, table: &TableName) -> Key {
    let (scope, text) = key.name();
    Key::known(scope.to_owned(), format!("{text}\u{1f}{}", table.joined()), key.fingerprint().to_owned())
}

/// Rows whose route leads nowhere.
fn lose(lost: &mut Verdicts, part: Part, why: &str) -> Result<()> {
    let text = String::from_utf8_lossy(&part.text).into_owned();
    let mut lexer = super::json::lexer::Lexer::new(&text, usize::MAX);
    for place in part.places {
        let raw = lexer.skip(0).unwrap_or_default();
        lost.add_routed(place, why);
        lost.bad_rows += 1;
        lost.came_as(|| raw.to_owned());
        if lost.rejected.len() > limits::REJECTED_ROWS_MAX {
            return Err(too_many_rejected());
        }
    }
    Ok(())
}

/// The refusal of the whole, if there is one.
fn refused(read: &[ForTable], lost: &Verdicts, rows: usize) -> Option<Outcome> {
    let aborts = lost.refuse(rows) || read.iter().any(|one| one.read.aborts());
    let nothing = !read.iter().any(|one| !one.read.fits_nothing());
    if !aborts && !nothing {
        return None;
    }
    let mut verdicts = lost.told();
    for one in read {
        let mut found = one.read.verdicts().map(Verdicts::told).unwrap_or_default();
        found.move_to(&one.places);
        verdicts.join(found);
    }
    verdicts.listed.sort_by_key(|error| error.index);
    Some(Outcome::Refused { rows, verdicts })
}

/// The error of a request some of whose tables are committed.
fn in_part(error: &Error, taken: usize, of: usize, has_key: bool) -> Error {
    let way_out = if has_key {
        "send the same request again with its key: what is there is not written twice"
    } else {
        "sending it again would write those twice: use an Idempotency-Key, or atomic=true"
    };
    let message = format!("{}; the rows of {taken} of {of} tables are there: {way_out}", error.message());
    Error::new(Kind::CommitUnknown, message).with_code("partly_written")
}
