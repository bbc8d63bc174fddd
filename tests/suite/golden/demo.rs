//! The golden federation `demo` is the one that `dynamos demo` starts: its files are made of the demo's own design and of
//! what its sites publish about their sample data.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use dynamos_cli::demo::{questions, scene};
use dynamos_cli::federation::Layout;
use dynamos_coordinator::config::{CoordinatorConfig, PlaceKind};
use dynamos_proto::v1;
use dynamos_site::SiteConfig;

use super::case::folder;
use super::difference::difference;
use super::plans::{HOW_TO_UPDATE, cases, updates};

#[tokio::test]
async fn the_demo_federation_is_that_of_the_demo() {
    // Files that are to be written anew are written by the test of the plans, before it reads them.
    if !updates() {
        let stale = stale().await;
        assert!(stale.is_empty(), "{stale}\n{HOW_TO_UPDATE}");
    }
}

/// How the federation's files differ from the demo; they are written anew if that is wanted.
pub(super) async fn stale() -> String {
    let root = tempfile::tempdir().unwrap();
    let design = scene(root.path(), None).unwrap();
    let layout = Layout::write(root.path(), &design, 0).unwrap();
    let files = folder().join("federation/demo");
    let mut stale = same(&files.join("catalog.toml"), &catalog(&layout).await);
    for steward in &design.stewards {
        let path = files.join("agreements").join(format!("{}.sql", steward.name));
        stale += &same(&path, &steward.agreements.concat());
    }
    assert_eq!(fs::read_dir(files.join("agreements")).unwrap().count(), design.stewards.len(), "a file too many");
    stale
}

#[test]
fn every_sample_question_of_the_demo_is_a_case() {
    let cases = cases();
    for question in questions() {
        let asked = cases.iter().any(|(_, case)| case.asks(question.user, question.placement, question.sql));
        assert!(asked, "no case asks `{}`", question.title);
    }
}

/// Nothing if the file is as it must be, or was made so.
fn same(path: &Path, text: &str) -> String {
    let there = fs::read_to_string(path).unwrap_or_default();
    if there == text {
        return String::new();
    }
    if updates() {
        fs::write(path, text).unwrap();
        return String::new();
    }
    format!("\n{}\n{}", path.display(), difference(&there, text))
}

async fn catalog(layout: &Layout) -> String {
    let config = CoordinatorConfig::load(&layout.coordinator_config()).unwrap();
    let mut text =
        String::from("# Written by the test of golden plans from the demo's own design; not to be edited.\n");
    for site in &config.sites {
        let kind = match site.kind {
            PlaceKind::Steward => "steward",
            PlaceKind::Provider => "provider",
        };
        let (name, roles, regions) = (&site.name, &site.roles, &site.regions);
        let roles = roles.iter().collect::<Vec<_>>();
        let regions = regions.iter().collect::<Vec<_>>();
        writeln!(text, "\n[[sites]]\nname = {name:?}\nkind = {kind:?}\nroles = {roles:?}\nregions = {regions:?}")
            .unwrap();
    }
    for one in &config.federated {
        let stewards = one.stewards.iter().collect::<Vec<_>>();
        let (schema, table) = (&one.schema, &one.table);
        writeln!(text, "\n[[federated]]\nschema = {schema:?}\ntable = {table:?}\nstewards = {stewards:?}").unwrap();
    }
    for site in &layout.stewards {
        let config = SiteConfig::load(&layout.site_config(site)).unwrap();
        for table in dynamos_site::published_tables(&config).await.unwrap() {
            write_table(&mut text, site, &table);
        }
    }
    text
}

fn write_table(text: &mut String, site: &str, table: &v1::Table) {
    let (schema, name, rows, entity) = (&table.schema, &table.name, table.rows, &table.entity);
    writeln!(text, "\n[[tables]]\nsite = {site:?}\nschema = {schema:?}\ntable = {name:?}\nrows = {rows}").unwrap();
    if !entity.is_empty() {
        writeln!(text, "entity = {entity:?}").unwrap();
    }
    assert!(table.shared_domain.is_empty() && table.colocated_on.is_empty(), "the demo has none; write them, too");
    writeln!(text, "columns = [").unwrap();
    let schema: Schema = try_schema_from_ipc_buffer(&table.arrow_schema).unwrap();
    for (field, known) in schema.fields().iter().zip(&table.columns) {
        write!(text, "  {{ name = {:?}, type = {:?}", field.name(), column_type(field.data_type())).unwrap();
        if !field.is_nullable() {
            write!(text, ", nullable = false").unwrap();
        }
        for (key, count) in [("distinct", known.distinct), ("nulls", known.nulls)] {
            if let Some(count) = count {
                write!(text, ", {key} = {count}").unwrap();
            }
        }
        for (key, bound) in [("min", &known.min), ("max", &known.max)] {
            if let Some(bound) = bound {
                write!(text, ", {key} = {bound:?}").unwrap();
            }
        }
        writeln!(text, " }},").unwrap();
    }
    writeln!(text, "]").unwrap();
}

fn column_type(kind: &DataType) -> &'static str {
    match kind {
        DataType::Utf8 => "text",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float64 => "double",
        DataType::Boolean => "boolean",
        DataType::Date32 => "date",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp",
        other => panic!("a catalog file has no word for {other}"),
    }
}
