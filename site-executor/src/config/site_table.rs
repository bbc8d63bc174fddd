//! A table as its steward configures it: where the files are, and what the federation is told about it.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::source::TableConfig;

/// One `[[tables]]` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteTable {
    /// Where its files are and how to read them.
    pub source: TableConfig,
    /// The column whose values tell the people apart whom rows describe.
    pub entity: Option<String>,
    /// What `entity` is the key of: tables that give it the same name are about the same people. The column's name, if
    /// nothing else is said.
    pub entity_name: Option<String>,
    /// The domain within which equal entity keys of several stewards mean the same person; none means only here.
    pub shared_domain: Option<String>,
    /// By column the name of a key whose values lie together: no value of the key, NULL apart, stands at two stewards,
    /// whichever tables and columns it is in.
    pub colocated_on: BTreeMap<String, String>,
}

impl SiteTable {
    /// A table of which nothing is said but where it is.
    pub fn plain(source: TableConfig) -> Self {
        Self { source, entity: None, entity_name: None, shared_domain: None, colocated_on: BTreeMap::new() }
    }
}

/// The error of a key that the source does not know also names those that it is not asked about.
fn wrong_key<E: Error>(error: &toml::de::Error) -> E {
    let text = error.message();
    // Of the tables inside a table only its columns could be meant, and they have no schema.
    let of_the_table = text.starts_with("unknown field") && text.contains("`schema`");
    let more = if of_the_table { ", `entity`, `entity_name`, `shared_domain`, `colocated_on`" } else { "" };
    E::custom(format!("{text}{more}"))
}

impl<'de> Deserialize<'de> for SiteTable {
    /// The federation's keys are taken out first: what remains must be keys that the source knows.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut table = toml::Table::deserialize(from)?;
        let mut take = |key: &str| table.remove(key);
        let entity = take("entity").map(toml::Value::try_into).transpose().map_err(D::Error::custom)?;
        let entity_name = take("entity_name").map(toml::Value::try_into).transpose().map_err(D::Error::custom)?;
        let shared_domain = take("shared_domain").map(toml::Value::try_into).transpose().map_err(D::Error::custom)?;
        let colocated_on = take("colocated_on").map(toml::Value::try_into).transpose().map_err(D::Error::custom)?;
        let source: TableConfig = toml::Value::Table(table).try_into().map_err(|error| wrong_key(&error))?;
        for (key, given) in [("shared_domain", shared_domain.is_some()), ("entity_name", entity_name.is_some())] {
            if given && entity.is_none() {
                return Err(D::Error::custom(format!("table `{}` has a `{key}` but no `entity`", source.name())));
            }
        }
        Ok(Self { source, entity, entity_name, shared_domain, colocated_on: colocated_on.unwrap_or_default() })
    }
}
