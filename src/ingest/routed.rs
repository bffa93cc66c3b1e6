//! One body for many tables (`POST /ingest/v1`).
//!
//! All rows are looked at before any table is changed: where one that does not fit is enough to write nothing, that is so for
//! all tables. Then the rows of each table are committed with those of other requests or, where that is asked for
//! ([`Together::AllOrNone`]), those of all tables in one transaction ([`commit`]). A request with a key is written once
//! either way: where its tables are committed one by one, each has a key of its own, made of the request's, and what an
//! earlier try has done is not looked at again ([`earlier`]).

mod commit;
mod earlier;

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::HeaderMap;
use indexmap::IndexMap;

use super::columnar::too_many_rejected;
use super::decode::{Decoded, Format, Kept, Reader};
use super::inflate::{Encoding, Inflater};
use super::intake::Read;
use super::memory::{Reserved, weight_of};
use super::route::{Bounds, Part, Route, Sorted, sorted};
use super::verdict::Verdicts;
use super::{Append, AppendOptions, Ingest, KeySent, Outcome, create};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::names::{Namespace, TableName};

use commit::Ready;
use earlier::{Done, Earlier, NO_TABLE, part_of};

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
        let _under_way = key.as_ref().map(|key| self.keys.begin(key)).transpose()?;
        let done = match &key {
            None => Done::default(),
            Some(key) => match self.earlier(key).await? {
                Earlier::Answered(receipt) => return Ok(Outcome::Taken(receipt)),
                Earlier::Begun(done) => done,
            },
        };
        let (sorted, memory) = self.take_apart(&request, pieces, memory).await?;
        let Sorted { parts, mut lost, rows } = sorted;
        let mut tables: IndexMap<TableName, Part> = IndexMap::new();
        for (route, part) in parts {
            match self.table_of(&route, &request).await? {
                Ok(name) => tables.entry(name).or_default().join(part),
                Err(why) => lose(&mut lost, part, &why)?,
            }
        }
        // What is done is neither looked at nor judged again.
        tables.retain(|name, _| !done.has(&part_of(name)));
        if done.has(NO_TABLE) {
            lost = Verdicts::new(lost.on_error);
        }
        tables.sort_unstable_keys();
        let mut read = Vec::with_capacity(tables.len());
        for (name, part) in tables {
            read.push(self.read_part(name, part, &request).await?);
        }
        drop(memory);
        let ready = match refused(&read, &lost, &done) {
            Some(verdicts) => Ready::Refused(verdicts),
            None => self.ready(read, lost, &request, key.as_ref()).await?,
        };
        match ready {
            Ready::Refused(verdicts) if done.is_nothing() => Ok(Outcome::Refused { rows, verdicts }),
            Ready::Refused(verdicts) => Err(done.refused(&verdicts)),
            Ready::Fit(parts) => self.write_routed(parts, done, &request, key).await.map(Outcome::Taken),
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
        let read = Read::of(existing, decoded, memory);
        let read = self.tried(&name, &append.options, read).await?;
        Ok(ForTable { name, append, places, read })
    }
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

/// What is wrong with the whole, if it is refused. Rows of which others are committed are not: those that fit no table are
/// left out, where that is asked for.
fn refused(read: &[ForTable], lost: &Verdicts, done: &Done) -> Option<Verdicts> {
    let aborts = lost.aborts() || read.iter().any(|one| one.read.aborts());
    let is_put_aside = |one: &ForTable| one.read.verdicts().is_some_and(Verdicts::has_dead_letters);
    let put_aside = lost.has_dead_letters() || read.iter().any(is_put_aside);
    let nothing = done.is_nothing() && !put_aside && read.iter().all(|one| one.read.fits_nothing());
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
    Some(verdicts)
}
