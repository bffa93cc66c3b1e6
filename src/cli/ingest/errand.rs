//! Files sent through a server, some stripes at once, each from where it was left.
//!
//! The server keeps how far each stripe is in the transaction that makes its rows visible. So nothing is kept here: a
//! command that was killed is run again, asks, and goes on. A request that may have been taken, and one that another run of
//! the command sent meanwhile, are known by their numbers: after each answer that says so the server is asked again.
//!
//! A file fails alone; what is wrong with the server ends them all.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::chunks::{Chunk, Pieces, Reading, Size};
use super::judge::{Counts, Delivered, Standing};
use super::progress::Progress;
use super::send::{Parcel, Patience, Server};
use super::stripes::{Opened, Planned, Run, Stripe};
use crate::error::{Error, Result};

/// The errand of one command.
#[derive(Debug)]
pub(super) struct Errand {
    server: Server,
    progress: Arc<Progress>,
    at_once: usize,
    places: Semaphore,
}

impl Errand {
    /// One that sends so many requests at once.
    pub(super) fn new(server: Server, progress: Arc<Progress>, at_once: usize) -> Arc<Self> {
        Arc::new(Self { server, progress, at_once, places: Semaphore::new(at_once) })
    }

    /// Sends all files; how many failed.
    pub(super) async fn run(self: Arc<Self>, files: Vec<Planned>) -> usize {
        let (mut files, mut under_way, mut failed) = (files.into_iter(), JoinSet::new(), 0);
        loop {
            while under_way.len() < self.at_once
                && let Some(file) = files.next()
            {
                under_way.spawn(Arc::clone(&self).file(file));
            }
            match under_way.join_next().await {
                Some(Ok(true)) => {}
                Some(_) => failed += 1,
                None => return failed,
            }
        }
    }

    /// Sends a file; whether it is all there.
    async fn file(self: Arc<Self>, file: Planned) -> bool {
        let name = file.entry.shown.clone();
        match self.send(file).await {
            Ok(counts) => {
                self.progress.finished(&name, counts);
                true
            }
            Err(error) => {
                self.progress.failed(&name, &error.chain());
                false
            }
        }
    }

    async fn send(self: &Arc<Self>, file: Planned) -> Result<Counts> {
        if self.server.is_gone() {
            return Err(self.server.given_up("nothing of this file was tried"));
        }
        let file = Arc::new(file.open().await?);
        let mut under_way = JoinSet::new();
        for stripe in &file.stripes {
            let lane = Lane::new(Arc::clone(self), Arc::clone(&file), stripe.clone());
            under_way.spawn(lane.run());
        }
        let (mut counts, mut failure) = (Counts::default(), None);
        while let Some(done) = under_way.join_next().await {
            match done.unwrap_or_else(|error| Err(Error::internal("A stripe was cut off").because(error))) {
                Ok(more) => counts = counts.and(more),
                Err(error) => {
                    file.fail();
                    failure = failure.or(Some(error));
                }
            }
        }
        failure.map_or(Ok(counts), Err)
    }
}

/// A stripe on its way.
#[derive(Debug)]
struct Lane {
    errand: Arc<Errand>,
    file: Arc<Opened>,
    stripe: Stripe,
    producer: String,
    /// How far it is.
    at: Standing,
    size: Size,
    /// Bytes of the file that are over.
    reached: u64,
    counts: Counts,
    patience: Patience,
    /// Whether it was read from.
    begun: bool,
}

/// What comes after a request.
enum Next {
    /// The piece behind it.
    GoOn,
    /// Pieces are made anew from where the stripe is.
    ReadAnew,
}

impl Lane {
    fn new(errand: Arc<Errand>, file: Arc<Opened>, stripe: Stripe) -> Self {
        let producer = file.producer(&stripe);
        Self {
            errand,
            file,
            stripe,
            producer,
            at: Standing::default(),
            size: Size::USUAL,
            reached: 0,
            counts: Counts::default(),
            patience: Patience::new(),
            begun: false,
        }
    }

    async fn run(mut self) -> Result<Counts> {
        let errand = Arc::clone(&self.errand);
        let _place = errand.places.acquire().await.map_err(|error| Error::internal("No place").because(error))?;
        if self.file.has_failed() {
            return Ok(self.counts);
        }
        self.at = self.ask().await?;
        self.patience = Patience::new();
        let mut pieces = None;
        while !self.at.over && !self.file.has_failed() {
            let mut read = match pieces.take() {
                Some(read) => read,
                None => self.read()?,
            };
            let Some(chunk) = next(&mut read).await.map_err(|error| self.here(error))? else { break };
            match self.send(&chunk).await? {
                Next::GoOn => pieces = Some(read),
                Next::ReadAnew => {}
            }
        }
        self.errand.progress.passes(self.stripe.bytes.saturating_sub(self.reached));
        Ok(self.counts)
    }

    async fn ask(&self) -> Result<Standing> {
        self.errand.server.standing(&self.file.table, &self.producer).await
    }

    /// Begins to read from where the stripe is.
    fn read(&mut self) -> Result<Pieces> {
        let (file, stripe) = (Arc::clone(&self.file), self.stripe.clone());
        if std::mem::replace(&mut self.begun, true) && file.input.stored().is_none() {
            return Err(self.here(Error::invalid("standard input cannot be read again")));
        }
        Reading { file, stripe, from: self.at.at, size: self.size, packing: self.errand.server.packing() }.start()
    }

    async fn send(&mut self, chunk: &Chunk) -> Result<Next> {
        let parcel = Parcel { table: &self.file.table, producer: &self.producer, from: self.at, chunk };
        let delivered = self.errand.server.deliver(parcel).await.map_err(|error| self.here(error))?;
        let meant = self.at.after(chunk.next, chunk.last);
        match delivered {
            Delivered::Taken(counts) => {
                self.took(counts, chunk.reached);
                (self.at, self.patience) = (meant, Patience::new());
                Ok(Next::GoOn)
            }
            Delivered::Known(counts) => {
                self.took(counts, chunk.reached);
                self.go_where_it_is(meant).await
            }
            Delivered::Lost => self.go_where_it_is(meant).await,
            Delivered::Unfit(counts, _) if self.errand.server.skips() => {
                // The server took nothing: its next request is the one of this number still.
                self.took(counts, chunk.reached);
                self.at = Standing { next: self.at.next, ..meant };
                Ok(Next::GoOn)
            }
            Delivered::Unfit(_, why) => Err(self.here(Error::invalid(why))),
            Delivered::TooLarge(why) => {
                let may_be_cut = self.stripe.run != Run::Whole && self.file.input.stored().is_some();
                let half = self.size.half().filter(|_| may_be_cut);
                self.size = half.ok_or_else(|| self.here(Error::invalid(why)))?;
                Ok(Next::ReadAnew)
            }
        }
    }

    /// Asks how far the stripe is, which may be elsewhere than it was `meant` to be.
    async fn go_where_it_is(&mut self, meant: Standing) -> Result<Next> {
        let found = self.ask().await?;
        if found.next > self.at.next {
            self.patience = Patience::new();
        } else {
            // It fell back, or stands still: that must not go round for ever.
            let (server, why) = (&self.errand.server, "the table has lost what was sent before");
            server.wait(&mut self.patience, None, why).await?;
        }
        self.at = found;
        Ok(if found == meant { Next::GoOn } else { Next::ReadAnew })
    }

    fn took(&mut self, counts: Counts, reached: u64) {
        let bytes = reached.saturating_sub(self.reached);
        // What is before the first piece of a stripe that goes on was sent by another run.
        if self.reached == 0 && self.at.next > 0 {
            self.errand.progress.passes(bytes);
        } else {
            self.errand.progress.sends(bytes);
        }
        self.reached = self.reached.max(reached);
        self.counts = self.counts.and(counts);
        self.errand.progress.took(counts);
    }

    /// An error, and where it was.
    fn here(&self, error: Error) -> Error {
        error.context(self.file.place(&self.stripe, self.at.at))
    }
}

/// The next piece; an error where the thread that makes them broke off.
async fn next(pieces: &mut Pieces) -> Result<Option<Chunk>> {
    pieces.recv().await.unwrap_or_else(|| Err(Error::internal("The file was not read to its end")))
}
