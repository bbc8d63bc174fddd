//! Statements: describing one as a FlightInfo, and redeeming the ticket in it. A query runs when its ticket is
//! redeemed; a statement with an effect runs when it is described, exactly once, and its ticket gives no rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use dynamos_planner::wire::in_messages;
use dynamos_proto::status::{Code, ServiceError};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use prost_types::Timestamp;
use tonic::Status;
use tracing::{Instrument, Span, info_span};

use super::afterword::Afterword;
use super::door::{Call, Door};
use super::engine::{Caller, Engine, Outcome, Prepared, StatementKind};
use super::errors::{cancelled, encoding, from_stream, invalid, undecodable};
use super::parameters::{self, ParameterRow};
use super::placeholder::cast_placeholders;
use super::plain_types::{client_schema, conform};
use super::running::RunningQuery;
use super::ticket::TicketContent;
use super::type_info::cast_name;
use super::wire::{TicketBody, TicketKind};

/// The messages of a result.
pub(super) type FlightDataStream = BoxStream<'static, Result<FlightData, Status>>;
type Batches = BoxStream<'static, Result<RecordBatch, ServiceError>>;

/// A statement with the rows bound to its parameters.
pub(super) struct Work {
    pub(super) sql: String,
    pub(super) parameters: Vec<RecordBatch>,
}

impl Door {
    /// Describes a statement, running it first if it has an effect.
    pub(super) async fn statement_info(
        &self,
        call: &Call,
        work: Work,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, ServiceError> {
        let prepared = self.engine.prepare(&call.caller, &work.sql).await?;
        let typed = parameters::typed(&work.parameters, &prepared.parameters)?;
        let rows = parameters::rows(&typed)?;
        let (kind, parameters) = match prepared.kind {
            StatementKind::Query if rows.is_empty() => {
                return Err(invalid("the statement is bound to zero rows of parameters"));
            }
            StatementKind::Query => (TicketKind::Run, parameters::encode(&typed)?),
            StatementKind::Update => {
                self.run_update(call, &work.sql, rows).await?;
                (TicketKind::Done, Bytes::new())
            }
        };
        let schema = self.bound_schema(call, &work.sql, &prepared, &typed).await;
        let content = TicketContent {
            kind,
            sql: if kind == TicketKind::Run { work.sql } else { String::new() },
            parameters,
            settings: call.caller.settings.clone(),
            schema: parameters::encode_schema(&schema)?,
        };
        let (sealed, expires_at) = self.tickets().issue(&call.caller.identity, content);
        let info = FlightInfo::new()
            .try_with_schema(&schema)
            .map_err(|error| encoding(&error))?
            .with_descriptor(descriptor)
            .with_ordered(true)
            .with_endpoint(endpoint(sealed, expires_at));
        Ok(if kind == TicketKind::Done { info.with_total_records(0) } else { info })
    }

    /// The schema of a result when parameters of unknown type have been bound: the columns under the names they had
    /// before, in the types they get when those parameters have the types of the bound values.
    async fn bound_schema(&self, call: &Call, sql: &str, prepared: &Prepared, typed: &[RecordBatch]) -> SchemaRef {
        let described = result_schema(prepared);
        let Some(bound) = typed.first().filter(|_| prepared.kind == StatementKind::Query) else { return described };
        let unknown = prepared.parameters.fields().iter().zip(bound.schema_ref().fields());
        let unknown = unknown.filter(|(declared, _)| *declared.data_type() == DataType::Null);
        let types = unknown.filter_map(|(_, given)| Some((given.name().clone(), cast_name(given.data_type())?)));
        let types = types.collect::<BTreeMap<_, _>>();
        if types.is_empty() {
            return described;
        }
        // A place where SQL allows no cast is no place for another type either, so the description stands.
        let Ok(typed) = self.engine.prepare(&call.caller, &cast_placeholders(sql, &types)).await else {
            return described;
        };
        let typed = result_schema(&typed);
        if typed.fields().len() != described.fields().len() {
            return described;
        }
        let named = described.fields().iter().zip(typed.fields());
        let named = named.map(|(named, typed)| typed.as_ref().clone().with_name(named.name()));
        Arc::new(Schema::new_with_metadata(named.collect::<Vec<_>>(), described.metadata().clone()))
    }

    /// The schema of a statement's result, without running it.
    pub(super) async fn statement_schema(&self, call: &Call, sql: &str) -> Result<SchemaRef, ServiceError> {
        Ok(result_schema(&self.engine.prepare(&call.caller, sql).await?))
    }

    /// Runs a statement that was handed in as an update, once per row, and returns the rows affected (-1: unknown).
    pub(super) async fn update(&self, call: &Call, work: Work) -> Result<i64, ServiceError> {
        let prepared = self.engine.prepare(&call.caller, &work.sql).await?;
        if prepared.kind == StatementKind::Query {
            return Err(invalid("the statement returns rows").with_hint("execute it as a query"));
        }
        let rows = parameters::rows(&parameters::typed(&work.parameters, &prepared.parameters)?)?;
        self.run_update(call, &work.sql, rows).await
    }

    /// The rows are separate runs; a failure leaves the effect of those before it.
    async fn run_update(&self, call: &Call, sql: &str, rows: Vec<ParameterRow>) -> Result<i64, ServiceError> {
        let mut total = Some(0_i64);
        for row in rows {
            let run = self.engine.run(&call.caller, sql, row).instrument(info_span!("statement"));
            let affected = match run.await? {
                Outcome::Done { rows_affected } => rows_affected,
                Outcome::Set { name, value } => {
                    self.sessions.set(&call.session, &name, value)?;
                    0
                }
                Outcome::Rows { .. } => return Err(described_otherwise()),
            };
            total = total.filter(|_| affected >= 0).map(|sum| sum.saturating_add(affected));
        }
        Ok(total.unwrap_or(-1))
    }

    /// Streams what a ticket promises.
    pub(super) async fn redeem(&self, call: &Call, sealed: &[u8]) -> Result<FlightDataStream, ServiceError> {
        let ticket = self.tickets().open(&call.caller.identity, sealed)?;
        let schema = Arc::new(parameters::decode_schema(&ticket.schema)?);
        match ticket.kind() {
            TicketKind::Done => Ok(encode(schema, stream::empty().boxed())),
            TicketKind::Run => self.stream(call, ticket, schema).await,
            TicketKind::Unspecified => Err(invalid("the ticket does not say what it is for")),
        }
    }

    async fn stream(
        &self,
        call: &Call,
        ticket: TicketBody,
        schema: SchemaRef,
    ) -> Result<FlightDataStream, ServiceError> {
        let place = self.running.enter(&ticket.id)?;
        let mut caller = call.caller.clone();
        caller.settings.options = ticket.settings;
        caller.cancel = place.cancel.clone();
        let mut rows = parameters::rows(&parameters::decode(&ticket.parameters)?)?.into_iter();
        let afterword = Afterword::default();
        let statement =
            Statement { engine: Arc::clone(&self.engine), caller, sql: ticket.sql, afterword: afterword.clone() };
        let first = rows.next().unwrap_or_default();
        let first = tokio::select! {
            () = place.cancel.cancelled() => Err(cancelled()),
            started = statement.start(first) => started,
        }?;
        let rest = stream::iter(rows).then(move |row| {
            let statement = statement.clone();
            async move { statement.start(row).await }
        });
        let promised = Arc::clone(&schema);
        let batches = first
            .map_err(|error| from_stream(&error))
            .chain(rest.map_ok(|rows| rows.map_err(|error| from_stream(&error))).try_flatten())
            .map(move |batch| conform(&batch?, &promised));
        let last = {
            let schema = Arc::clone(&schema);
            stream::once(async move { afterword.message(&schema) })
        };
        let messages = encode(schema, stoppable(batches.boxed(), place));
        Ok(messages.chain(last.filter_map(futures::future::ready)).boxed())
    }
}

/// What is needed to start the same statement for several rows of parameters.
#[derive(Clone)]
struct Statement {
    engine: Arc<dyn Engine>,
    caller: Caller,
    sql: String,
    /// Learns of each answer.
    afterword: Afterword,
}

impl Statement {
    async fn start(&self, row: ParameterRow) -> Result<SendableRecordBatchStream, ServiceError> {
        let span = info_span!("statement", query_id = tracing::field::Empty);
        async {
            match self.engine.run(&self.caller, &self.sql, row).await? {
                Outcome::Rows { query_id, stream, released, .. } => {
                    self.afterword.begin(&query_id, released);
                    Span::current().record("query_id", query_id);
                    Ok(stream)
                }
                Outcome::Done { .. } | Outcome::Set { .. } => Err(described_otherwise()),
            }
        }
        .instrument(span)
        .await
    }
}

fn described_otherwise() -> ServiceError {
    ServiceError::new(Code::Internal, "the statement was described as one kind and ran as another")
}

/// The schema that clients are told; zero fields for a statement without rows.
pub(super) fn result_schema(prepared: &Prepared) -> SchemaRef {
    match prepared.kind {
        StatementKind::Query => client_schema(&prepared.schema),
        StatementKind::Update => Arc::new(Schema::empty()),
    }
}

/// An endpoint at this server for a sealed ticket.
pub(super) fn endpoint(sealed: Bytes, expires_at: Duration) -> FlightEndpoint {
    let ticket = TicketStatementQuery { statement_handle: sealed }.as_any().encode_to_vec();
    let seconds = i64::try_from(expires_at.as_secs()).unwrap_or(i64::MAX);
    let expiration = Timestamp { seconds, nanos: i32::try_from(expires_at.subsec_nanos()).unwrap_or(0) };
    FlightEndpoint::new().with_ticket(Ticket::new(ticket)).with_expiration_time(expiration)
}

/// The sealed part of a Flight ticket for a statement.
pub(super) fn sealed_in(ticket: &Ticket) -> Result<Bytes, ServiceError> {
    let any = arrow_flight::sql::Any::decode(ticket.ticket.clone()).map_err(|error| undecodable("ticket", &error))?;
    let statement = any.unpack::<TicketStatementQuery>().map_err(|_| invalid("the ticket cannot be decoded"))?;
    Ok(statement.ok_or_else(|| invalid("the ticket is not one of a statement"))?.statement_handle)
}

/// The stream until its place is cancelled; then an error, so that no client takes the part for the whole. Holds the
/// place until it is dropped.
fn stoppable(batches: Batches, place: RunningQuery) -> Batches {
    let stopped = place.cancel.clone();
    let end = stream::once(async move { if stopped.is_cancelled() { Some(Err(cancelled())) } else { None } });
    let until = place.cancel.clone().cancelled_owned();
    let held = batches.take_until(until).map(Some).chain(end).filter_map(futures::future::ready);
    held.map(move |batch| {
        let _held = &place;
        batch
    })
    .boxed()
}

/// The messages for these batches, the schema first even if there are none.
pub(super) fn encode(schema: SchemaRef, batches: Batches) -> FlightDataStream {
    let batches = in_messages(batches).map_err(|error| FlightError::from(Status::from(error)));
    FlightDataEncoderBuilder::new()
        .with_max_flight_data_size(usize::MAX)
        .with_schema(schema)
        .build(batches)
        .map_err(Status::from)
        .boxed()
}
