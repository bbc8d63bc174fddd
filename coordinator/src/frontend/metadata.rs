//! The metadata commands: catalogs, schemas, tables, keys, types and capabilities, in the protocol's own schemas. Only
//! what the engine says the caller may know to exist is shown. These commands need no ticket of ours: the command is
//! its own ticket, and what it shows is decided when it is redeemed.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::metadata::{GetCatalogsBuilder, GetTablesBuilder, SqlInfoDataBuilder, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Command, CommandGetTableTypes, CommandGetTables};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use dynamos_proto::status::ServiceError;

use super::engine::{Caller, Engine, TableKind};
use super::errors::{encoding, invalid};
use super::keys::{FOREIGN_KEYS, PRIMARY_KEYS};
use super::sql_info::sql_info;
use super::type_info::{describe_table, type_info};

/// The schema of a metadata command; none for other commands.
pub(super) fn schema(command: &Command) -> Result<Option<SchemaRef>, ServiceError> {
    Ok(Some(match command {
        Command::CommandGetCatalogs(_) => GetCatalogsBuilder::new().schema(),
        Command::CommandGetDbSchemas(request) => request.clone().into_builder().schema(),
        Command::CommandGetTables(request) => request.clone().into_builder().schema(),
        Command::CommandGetTableTypes(request) => request.into_builder().schema(),
        Command::CommandGetPrimaryKeys(_) => Arc::clone(&PRIMARY_KEYS),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Arc::clone(&FOREIGN_KEYS),
        Command::CommandGetSqlInfo(_) => Arc::new(SqlInfoDataBuilder::schema().clone()),
        Command::CommandGetXdbcTypeInfo(_) => XdbcTypeInfoDataBuilder::new().schema(),
        _ => return Ok(None),
    }))
}

/// Where to get a metadata command's rows.
pub(super) fn info(schema: &SchemaRef, descriptor: FlightDescriptor) -> Result<FlightInfo, ServiceError> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(descriptor.cmd.clone()));
    let info = FlightInfo::new().try_with_schema(schema).map_err(|error| encoding(&error))?;
    Ok(info.with_descriptor(descriptor).with_ordered(true).with_endpoint(endpoint))
}

/// A metadata command's rows.
pub(super) fn batch(engine: &dyn Engine, caller: &Caller, command: Command) -> Result<RecordBatch, ServiceError> {
    match command {
        Command::CommandGetCatalogs(request) => {
            let mut builder = request.into_builder();
            for catalog in engine.tables(caller)?.into_iter().filter_map(|table| table.catalog).collect::<BTreeSet<_>>()
            {
                builder.append(catalog);
            }
            builder.build().map_err(|error| encoding(&error))
        }
        Command::CommandGetDbSchemas(request) => {
            let mut builder = request.into_builder();
            let tables = engine.tables(caller)?.into_iter();
            let schemas = tables.map(|table| (table.catalog.unwrap_or_default(), table.schema));
            for (catalog, schema) in schemas.collect::<BTreeSet<_>>() {
                builder.append(catalog, schema);
            }
            without_empty_catalogs(&builder.build().map_err(|error| encoding(&error))?)
        }
        Command::CommandGetTables(request) => tables(engine, caller, request),
        Command::CommandGetTableTypes(CommandGetTableTypes {}) => {
            let mut builder = CommandGetTableTypes {}.into_builder();
            TableKind::ALL.into_iter().for_each(|kind| builder.append(kind.as_str()));
            builder.build().map_err(|error| encoding(&error))
        }
        Command::CommandGetSqlInfo(request) => {
            let known = sql_info().build().map_err(|error| encoding(&error))?;
            request.into_builder(&known).build().map_err(|error| encoding(&error))
        }
        Command::CommandGetXdbcTypeInfo(request) => {
            let known = type_info().build().map_err(|error| encoding(&error))?;
            request.into_builder(&known).build().map_err(|error| encoding(&error))
        }
        other => match schema(&other)? {
            Some(keys) => Ok(RecordBatch::new_empty(keys)),
            None => Err(invalid(format!("`{}` is not a ticket", other.type_url()))),
        },
    }
}

fn tables(engine: &dyn Engine, caller: &Caller, request: CommandGetTables) -> Result<RecordBatch, ServiceError> {
    let table_types = request.table_types.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>();
    let mut builder = GetTablesBuilder::from(CommandGetTables { table_types, ..request });
    for table in engine.tables(caller)? {
        let columns = describe_table(&table);
        let catalog = table.catalog.unwrap_or_default();
        builder
            .append(catalog, table.schema, table.table, table.kind.as_str(), &columns)
            .map_err(|error| encoding(&error))?;
    }
    without_empty_catalogs(&builder.build().map_err(|error| encoding(&error))?)
}

/// The builders know no absent catalog; the protocol does, as null.
fn without_empty_catalogs(batch: &RecordBatch) -> Result<RecordBatch, ServiceError> {
    let mut columns = batch.columns().to_vec();
    if let Some(catalogs) = columns.first_mut() {
        let named = catalogs.as_string::<i32>().iter().map(|name| name.filter(|text| !text.is_empty()));
        *catalogs = Arc::new(named.collect::<StringArray>());
    }
    RecordBatch::try_new(batch.schema(), columns).map_err(|error| encoding(&error))
}
