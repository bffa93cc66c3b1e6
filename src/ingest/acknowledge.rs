//! Rows whose sender does not wait for their commit: acknowledged once they are in the log (`ack=wal`), or once they are
//! understood (`ack=none`).
//!
//! What is acknowledged is never refused. So what a request says of itself is judged before, against what is committed and
//! what is acknowledged already; at the commit, rows that are there after all are left out.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::claims::{Claims, Judgement};
use super::flush::Target;
use super::held::Held;
use super::log::{BesideDescribed, Described, Recovered};
use super::memory::weight_of;
use super::pace::Pace;
use super::receipt::{Ack, Receipt};
use super::waiting::{Beside, Waiting, Whom};
use super::{Ingest, judge};
use crate::catalog::once::Key;
use crate::clock;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::names::{Namespace, TableName};
use crate::store::producers::Standing;

impl Ingest {
    /// Takes rows that are committed later.
    pub(super) async fn acknowledge(&self, mut waiting: Box<Waiting>, ack: Ack) -> Result<Receipt> {
        let receipt = waiting.receipt(ack);
        if waiting.is_empty() && waiting.claims.is_empty() {
            return Ok(receipt);
        }
        self.queues.check_moves(&waiting.target)?;
        // One request of a producer after the other, until its place is noted.
        let producer = waiting.claims.producer.as_ref();
        let turn = producer.map(|position| format!("{} {}", waiting.target.identity(), position.producer).into());
        let _turn = self.turns.enter(turn.into_iter().collect()).await;
        if let Some(there) = self.there_already(&mut waiting, &receipt).await? {
            return Ok(there);
        }
        let key = waiting.claims.key.clone();
        match ack {
            Ack::Wal => self.log.append(waiting, Arc::clone(&self.queues)).await?,
            _ => self.queues.submit(waiting),
        }
        // Not before: until then nobody else may be told so.
        key.iter().for_each(|key| self.keys.acknowledge(key));
        failpoint::passed("ingest.acknowledged");
        Ok(receipt)
    }

    /// What the sender of rows is told that are there already, or acknowledged; an error where they are refused. If they
    /// are neither, their producer's new place is noted.
    async fn there_already(&self, waiting: &mut Waiting, receipt: &Receipt) -> Result<Option<Receipt>> {
        let Claims { key, producer } = &waiting.claims;
        if let Some(key) = key {
            // First what is acknowledged: it is committed before it is not any more.
            let acknowledged = waiting.known.0.as_ref().is_some_and(|known| known.is_acknowledged());
            match self.catalog.answers(&[key]).await?.pop().flatten() {
                Some(text) => return judge::answered(&text?).map(Some),
                None if acknowledged => return Ok(Some(Receipt { again: true, ..receipt.clone() })),
                None => {}
            }
        }
        let Some(position) = producer else { return Ok(None) };
        let (table, name) = (waiting.target.identity(), &position.producer);
        let standing = match self.ahead.of(&table, name) {
            Some(standing) => Some(standing),
            None => self.catalog.store().producer(&waiting.target.row, name).await?,
        };
        match position.judge(standing.as_ref()) {
            Judgement::Next(standing) => {
                waiting.known.1 = Some(self.ahead.put(&table, name, standing));
                Ok(None)
            }
            Judgement::Done => Ok(Some(receipt.clone().duplicate())),
            Judgement::Gap { expected } => Err(position.gap(expected)),
            Judgement::Fenced { epoch } => Err(position.fenced(epoch)),
        }
    }

    /// Takes rows up again that an earlier process acknowledged, in the order of its log.
    pub fn recover(&self, entry: Recovered) -> Result<()> {
        let Recovered { described, rows, logged } = entry;
        let Described { namespace, table, table_id, table_uuid, schema_id, key, producer, what, .. } = described;
        let name = TableName::new(Namespace::from_path(&namespace)?, &table)?;
        let bytes = rows.iter().map(weight_of).sum();
        let mut rows = rows.into_iter();
        let own = rows.next().ok_or_else(|| Error::internal("An entry of the log has no rows"))?;
        let key = key.map(|(scope, text, fingerprint)| Key::known(scope, text, fingerprint));
        let under_way = key.as_ref().and_then(|key| self.keys.begin(key).ok());
        key.iter().for_each(|key| self.keys.acknowledge(key));
        let warehouse = self.catalog.warehouse().name().shared();
        let beside = described.beside.into_iter().zip(rows).map(|(described, rows)| self.beside_again(described, rows));
        let beside = beside.collect::<Result<_>>()?;
        let target = Target { warehouse, name, row: table_id.into(), uuid: table_uuid, schema_id };
        let stands = producer.as_ref().map(|position| {
            let (sequence, offset_token) = (position.sequence.unwrap_or(-1), position.offset_token.clone());
            let standing = Standing { epoch: position.epoch, sequence, offset_token };
            self.ahead.put(&target.identity(), &position.producer, standing)
        });
        let count = own.num_rows();
        metrics::counter!("floeberg_wal_replay_rows_total").increment(count as u64);
        self.queues.submit(Box::new(Waiting {
            memory: self.memory.take(&self.owner(&target.name), bytes),
            target,
            rows: vec![Held::Columns(own)],
            what,
            count,
            bytes,
            beside,
            left_out: described.left_out,
            claims: Claims { key, producer },
            whom: Whom::Nobody(Some(logged)),
            pace: Pace::AT_ONCE,
            since: clock::tick(),
            tries: 0,
            lost: None,
            known: (under_way, stands),
        }));
        Ok(())
    }

    fn beside_again(&self, described: BesideDescribed, rows: RecordBatch) -> Result<Beside> {
        let BesideDescribed { namespace, table, table_id, table_uuid, schema_id, what } = described;
        let name = TableName::new(Namespace::from_path(&namespace)?, &table)?;
        let warehouse = self.catalog.warehouse().name().shared();
        Ok(Beside { target: Target { warehouse, name, row: table_id.into(), uuid: table_uuid, schema_id }, rows, what })
    }
}
