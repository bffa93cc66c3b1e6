//! The rules that a table says are followed for its rows: asked for, set, taken away, tried out.

use indexmap::IndexMap;

use super::events::EventShape;
use super::rewriting::Rewriting;
use super::rules::{Facts, RuleFault, Rules};
use super::settings::RULES;
use super::verdict::RowError;
use super::{Ingest, settings};
use crate::catalog::change::{Change, Requirement, Update};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::names::TableName;

/// The rules of a table.
#[derive(Debug)]
pub struct TableRules {
    /// The rules.
    pub rules: Rules,
    /// Where they are said.
    pub said: Said,
}

/// Where a table's rules are said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// By the table.
    ByTable,
    /// In the configuration.
    InConfiguration,
    /// Nowhere: there are none.
    Nowhere,
}

impl Ingest {
    /// The rules of a table.
    pub async fn rules_of(&self, name: &TableName) -> Result<TableRules> {
        let table = self.catalog.load_table(name).await?;
        let own = &table.metadata.properties;
        let rules = self.rules.of(&self.settings, name, Some(own))?.unwrap_or_default();
        let said = match (own.contains_key(RULES), rules.is_empty()) {
            (true, _) => Said::ByTable,
            (false, true) => Said::Nowhere,
            (false, false) => Said::InConfiguration,
        };
        Ok(TableRules { rules, said })
    }

    /// Sets the rules of a table, or takes them away.
    pub async fn set_rules(&self, name: &TableName, rules: Option<&str>) -> Result<TableRules> {
        let update = match rules {
            Some(text) => {
                let rules = Rules::parse(text, &self.settings.hash_keys)?;
                Update::SetProperties(IndexMap::from([(RULES.to_owned(), rules.to_json().to_owned())]))
            }
            None => Update::RemoveProperties(vec![RULES.to_owned()]),
        };
        for _ in 0..limits::GROWTH_ATTEMPTS_MAX {
            let table = self.catalog.load_table(name).await?;
            let uuid = table.metadata.table_uuid.clone().ok_or_else(settings::no_uuid)?;
            let change = Change { requirements: vec![Requirement::TableUuid(uuid)], updates: vec![update.clone()] };
            match self.catalog.commit(name.clone(), change).await {
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) => return Err(error),
                Ok(_) => return self.rules_of(name).await,
            }
        }
        Err(Error::conflict(format!("Table was changed concurrently: {name}")))
    }

    /// What rules, those of the table where none are given, make of rows, each of which is the text of a JSON object.
    pub async fn try_rules(
        &self,
        name: &TableName,
        rules: Option<&str>,
        (rows, headers): (&[&str], Vec<(String, String)>),
    ) -> Result<Vec<std::result::Result<String, RowError>>> {
        let rules = match rules {
            Some(text) => Rules::parse(text, &self.settings.hash_keys)?,
            None => self.rules_of(name).await?.rules,
        };
        let facts = Facts { headers, now_ms: self.catalog.clock().now_ms() }.into();
        let events: Option<EventShape> = None;
        let rewriting = Rewriting { events, rules, facts };
        let one = |(index, row): (usize, &&str)| {
            if !row.starts_with('{') {
                let (pointer, detail) = (String::new(), "a row is an object".to_owned());
                return Err(RowError { index, line: None, pointer, code: "wrong_type".into(), detail });
            }
            rewriting.apply(row).map_err(|RuleFault { pointer, misfit }| RowError {
                index,
                line: None,
                pointer,
                code: misfit.code.into(),
                detail: misfit.detail,
            })
        };
        Ok(rows.iter().enumerate().map(one).collect())
    }
}
