//! The `metrics_report` table: what engines reported of their scans and commits.
//!
//! Reports are written in batches off the commit path; of each table the newest are kept.

use super::{Store, unavailable};
use crate::clock;
use crate::error::Result;
use crate::limits;

/// A report on its way to the database.
#[derive(Debug, Clone)]
pub struct Report {
    /// The id of the table's row.
    pub tabular_id: std::sync::Arc<str>,
    /// The report, as JSON text.
    pub report: String,
}

impl Store {
    /// Writes reports and removes the oldest of each table past the limit.
    pub async fn add_reports(&self, reports: &[Report]) -> Result<()> {
        let mut transaction = self.write().await?;
        for report in reports {
            sqlx::query("insert into metrics_report (id, tabular_id, received_ms, report) values ($1, $2, $3, $4)")
                .bind(clock::new_ordered_id())
                .bind(&*report.tabular_id)
                .bind(self.clock.now_ms())
                .bind(report.report.as_str())
                .execute(&mut *transaction)
                .await
                .map_err(unavailable)?;
        }
        let mut tables: Vec<&str> = reports.iter().map(|report| &*report.tabular_id).collect();
        tables.sort_unstable();
        tables.dedup();
        for table in tables {
            sqlx::query(
                "delete from metrics_report
                 where tabular_id = $1 and id <= (
                     select id from metrics_report
                     where tabular_id = $1
                     order by id desc
                     limit 1 offset $2)",
            )
            .bind(table)
            .bind(limits::REPORTS_PER_TABLE_MAX)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        }
        transaction.commit().await
    }

    /// How many reports of a table are kept.
    pub async fn count_reports(&self, tabular_id: &str) -> Result<i64> {
        let mut connection = self.read().await?;
        let row = sqlx::query("select count(*) as kept from metrics_report where tabular_id = $1")
            .bind(tabular_id)
            .fetch_one(&mut *connection)
            .await
            .map_err(unavailable)?;
        super::column(&row, "kept")
    }
}
