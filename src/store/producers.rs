//! The `producer` table: how far each producer of a table is (`X-Producer-Id` of ingest).

use sqlx::AnyConnection;

use super::{Store, column, unavailable};
use crate::error::Result;
use crate::limits;

/// How far a producer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which of the producer's lives it is: an older one is shut out.
    pub epoch: i64,
    /// The last request of this life; -1 if none was counted.
    pub sequence: i64,
    /// What the producer last said of where it is in its source.
    pub offset_token: Option<String>,
}

/// A producer that gets further.
#[derive(Debug, Clone)]
pub struct Advance {
    /// The row of the table that it writes to.
    pub table_id: String,
    /// Its name.
    pub producer: String,
    /// Where it was; `None` if it was not known.
    pub from: Option<Standing>,
    /// Where it is then.
    pub to: Standing,
}

impl Store {
    /// How far a producer of a table is, if it is known.
    pub async fn producer(&self, table_id: &str, producer: &str) -> Result<Option<Standing>> {
        let mut connection = self.read().await?;
        let row =
            sqlx::query("select epoch, sequence, offset_token from producer where table_id = $1 and producer = $2")
                .bind(table_id)
                .bind(producer)
                .fetch_optional(&mut *connection)
                .await
                .map_err(unavailable)?;
        row.map(|row| {
            Ok(Standing {
                epoch: column(&row, "epoch")?,
                sequence: column(&row, "sequence")?,
                offset_token: column(&row, "offset_token")?,
            })
        })
        .transpose()
    }
}

/// Moves producers on; whether each was where it was thought to be. Of a table that has more than its number of them, those
/// that were silent for longest are forgotten, sooner or later.
pub(super) async fn advance(connection: &mut AnyConnection, producers: &[Advance], now_ms: i64) -> Result<bool> {
    for one in producers {
        // Where it was not known, nothing is where it was thought to be.
        let was = one.from.as_ref().map_or((-1, -2), |from| (from.epoch, from.sequence));
        let moved = sqlx::query(
            "insert into producer (table_id, producer, epoch, sequence, offset_token, updated_ms)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (table_id, producer)
             do update set epoch = excluded.epoch, sequence = excluded.sequence, offset_token = excluded.offset_token,
                           updated_ms = excluded.updated_ms
             where producer.epoch = $7 and producer.sequence = $8",
        )
        .bind(one.table_id.as_str())
        .bind(one.producer.as_str())
        .bind(one.to.epoch)
        .bind(one.to.sequence)
        .bind(one.to.offset_token.as_deref())
        .bind(now_ms)
        .bind(was.0)
        .bind(was.1)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        if one.from.is_none() && looks(&one.producer) {
            forget_silent(connection, &one.table_id).await?;
        }
    }
    Ok(true)
}

/// Whether a new producer is one of the few for which others are forgotten.
fn looks(producer: &str) -> bool {
    crc32fast::hash(producer.as_bytes()).is_multiple_of(limits::PRODUCERS_PER_LOOK)
}

async fn forget_silent(connection: &mut AnyConnection, table_id: &str) -> Result<()> {
    sqlx::query(
        "delete from producer where table_id = $1 and updated_ms < (
             select updated_ms from producer where table_id = $1 order by updated_ms desc limit 1 offset $2)",
    )
    .bind(table_id)
    .bind(limits::PRODUCERS_PER_TABLE_MAX - 1)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}
