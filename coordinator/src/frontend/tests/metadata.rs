//! The metadata commands.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Schema;
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo,
};
use arrow_flight::{FlightDescriptor, IpcMessage};

use super::fixture::{Client, Fixture, descriptor, fetch, pretty, request};

fn tables(pattern: Option<&str>, types: &[&str]) -> CommandGetTables {
    CommandGetTables {
        table_name_filter_pattern: pattern.map(str::to_owned),
        table_types: types.iter().map(|name| (*name).to_owned()).collect(),
        include_schema: true,
        ..CommandGetTables::default()
    }
}

async fn table_names(client: &mut Client, command: CommandGetTables) -> Vec<String> {
    let info = client.get_tables(command).await.unwrap();
    let batch = fetch(client, info).await.unwrap();
    batch.column(2).as_string::<i32>().iter().map(|name| name.unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_getter_gives_rows_in_the_schema_it_announces() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let commands: Vec<(FlightDescriptor, usize, usize)> = vec![
        (descriptor(&CommandGetCatalogs {}), 1, 2),
        (descriptor(&CommandGetDbSchemas::default()), 2, 3),
        (descriptor(&tables(None, &[])), 5, 4),
        (descriptor(&CommandGetTables::default()), 4, 4),
        (descriptor(&CommandGetTableTypes {}), 1, 3),
        (descriptor(&CommandGetPrimaryKeys::default()), 6, 0),
        (descriptor(&CommandGetExportedKeys::default()), 13, 0),
        (descriptor(&CommandGetImportedKeys::default()), 13, 0),
        (descriptor(&CommandGetCrossReference::default()), 13, 0),
        (descriptor(&CommandGetSqlInfo::default()), 2, 91),
        (descriptor(&CommandGetXdbcTypeInfo::default()), 19, 26),
    ];
    for (command, columns, rows) in commands {
        let mut bare = client.inner_mut().clone();
        let info = bare.get_flight_info(request("alice", command.clone())).await.unwrap().into_inner();
        let schema = bare.get_schema(request("alice", command)).await.unwrap().into_inner();
        assert_eq!(Schema::try_from(&schema).unwrap(), info.clone().try_decode_schema().unwrap());
        let batch: RecordBatch = fetch(&mut client, info).await.unwrap();
        assert_eq!((batch.num_columns(), batch.num_rows()), (columns, rows));
    }
}

#[tokio::test]
async fn shows_only_what_the_caller_may_know_of() {
    let fixture = Fixture::start().await;
    assert!(table_names(&mut fixture.client("alice"), tables(None, &[])).await.contains(&"secret".to_owned()));
    let mut bob = fixture.client("bob");
    assert!(!table_names(&mut bob, tables(None, &[])).await.contains(&"secret".to_owned()));
    let info = bob.get_catalogs().await.unwrap();
    assert_eq!(fetch(&mut bob, info).await.unwrap().num_rows(), 1);
}

#[tokio::test]
async fn patterns_and_types_filter_tables() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("bob");
    assert_eq!(table_names(&mut client, tables(Some("v_sits"), &[])).await, ["v_sits", "visits"]);
    assert_eq!(table_names(&mut client, tables(Some("v\\_sits"), &[])).await, ["v_sits"]);
    assert_eq!(
        table_names(&mut client, tables(Some("%s"), &["table", "System Table"])).await,
        ["agreements", "visits"]
    );
    let without_catalog = CommandGetTables { catalog: Some(String::new()), ..tables(None, &[]) };
    assert_eq!(table_names(&mut client, without_catalog).await, ["agreements"]);
}

#[tokio::test]
async fn a_missing_catalog_is_null() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("bob");
    let info = client.get_db_schemas(CommandGetDbSchemas::default()).await.unwrap();
    let batch = fetch(&mut client, info).await.unwrap();
    let expected = "\
+--------------+----------------+
| catalog_name | db_schema_name |
+--------------+----------------+
|              | system         |
| federation   | hospital       |
+--------------+----------------+";
    assert_eq!(pretty(&batch), expected);
    assert_eq!(batch.column(0).null_count(), 1);
}

#[tokio::test]
async fn every_column_of_a_table_schema_is_described() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("bob");
    let info = client.get_tables(tables(Some("visits"), &[])).await.unwrap();
    let batch = fetch(&mut client, info).await.unwrap();
    let encoded = batch.column(4).as_binary::<i32>().value(0).to_vec();
    let schema = Schema::try_from(IpcMessage(encoded.into())).unwrap();
    let described = schema.fields().iter().map(|field| {
        let text = |name: &str| field.metadata()[&format!("ARROW:FLIGHT:SQL:{name}")].clone();
        (field.name().clone(), text("TYPE_NAME"), text("TABLE_NAME"))
    });
    let expected = [("id", "BIGINT"), ("region", "VARCHAR"), ("note", "VARCHAR")];
    let expected = expected.map(|(name, kind)| (name.to_owned(), kind.to_owned(), "visits".to_owned()));
    assert_eq!(described.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn sql_info_gives_only_the_ids_asked_for() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("bob");
    let asked = vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerTransaction];
    let info = client.get_sql_info(asked).await.unwrap();
    let batch = fetch(&mut client, info).await.unwrap();
    let ids = batch.column(0).as_primitive::<arrow::datatypes::UInt32Type>().values().to_vec();
    assert_eq!(ids, [0, 8]);
}

#[tokio::test]
async fn type_info_can_be_asked_for_one_type() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("bob");
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: Some(-5) }).await.unwrap();
    let batch = fetch(&mut client, info).await.unwrap();
    let names = batch.column(0).as_string::<i32>().iter().flatten().collect::<BTreeSet<_>>();
    assert_eq!(names, BTreeSet::from(["BIGINT", "BIGINT UNSIGNED"]));
}
