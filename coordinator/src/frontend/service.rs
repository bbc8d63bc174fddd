//! The gRPC face of the door: one method per call of Arrow Flight. Each opens a span, finds out who is calling, hands
//! over to the [`Door`](super::door::Door) and turns errors into gRPC's. It knows which calls exist, not what they mean.

use std::sync::Arc;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::Command;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, Result as ActionResult, SchemaResult, Ticket,
};
use dynamos_proto::status::ServiceError;
use futures::stream::{self, BoxStream};
use futures::{Future, StreamExt};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, info_span};

use super::actions::known_actions;
use super::clock::{Clock, SystemClock};
use super::door::{Call, Door, command_in, command_of, no_substrait, refuse_transaction};
use super::engine::Engine;
use super::errors::{invalid, unsupported};
use super::metadata;
use super::parameters::encode_schema;
use super::seal::SigningKey;
use super::statement::{Work, encode, sealed_in};

/// The largest message, in bytes, that is read; tonic's own 4 MiB is too little for uploaded batches.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The Flight SQL door as a gRPC service.
pub struct FlightSqlFrontend {
    door: Arc<Door>,
}

/// The service in front of an engine. Coordinators with the same key honour each other's tickets and handles.
pub fn service(engine: Arc<dyn Engine>, key: &SigningKey) -> FlightServiceServer<FlightSqlFrontend> {
    service_with_clock(engine, key, Arc::new(SystemClock))
}

/// The same with another clock for the expiry of tickets and sessions.
pub fn service_with_clock(
    engine: Arc<dyn Engine>,
    key: &SigningKey,
    clock: Arc<dyn Clock>,
) -> FlightServiceServer<FlightSqlFrontend> {
    FlightSqlFrontend { door: Arc::new(Door::new(engine, key, clock)) }.into_server()
}

impl FlightSqlFrontend {
    fn into_server(self) -> FlightServiceServer<Self> {
        FlightServiceServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
    }

    #[cfg(test)]
    pub(super) fn for_test(door: Arc<Door>) -> FlightServiceServer<Self> {
        Self { door }.into_server()
    }

    async fn info(&self, call: &Call, descriptor: FlightDescriptor) -> Result<FlightInfo, ServiceError> {
        let command = command_of(&descriptor)?;
        if let Some(schema) = metadata::schema(&command)? {
            return metadata::info(&schema, descriptor);
        }
        let work = match command {
            Command::CommandStatementQuery(query) => {
                refuse_transaction(query.transaction_id.as_deref())?;
                Work { sql: query.query, parameters: Vec::new() }
            }
            Command::CommandPreparedStatementQuery(query) => {
                self.door.prepared_work(call, &query.prepared_statement_handle, Vec::new())?
            }
            Command::CommandStatementSubstraitPlan(_) => return Err(no_substrait()),
            other => return Err(no_result(&other)),
        };
        self.door.statement_info(call, work, descriptor).await
    }

    async fn schema(&self, call: &Call, descriptor: &FlightDescriptor) -> Result<SchemaResult, ServiceError> {
        let command = command_of(descriptor)?;
        let schema = match (metadata::schema(&command)?, command) {
            (Some(schema), _) => schema,
            (None, Command::CommandStatementQuery(query)) => self.door.statement_schema(call, &query.query).await?,
            (None, Command::CommandStatementUpdate(update)) => self.door.statement_schema(call, &update.query).await?,
            (None, Command::CommandPreparedStatementQuery(query)) => {
                self.door.prepared_schema(call, &query.prepared_statement_handle).await?
            }
            (None, Command::CommandPreparedStatementUpdate(update)) => {
                self.door.prepared_schema(call, &update.prepared_statement_handle).await?
            }
            (None, Command::CommandStatementSubstraitPlan(_)) => return Err(no_substrait()),
            (None, other) => return Err(no_result(&other)),
        };
        Ok(SchemaResult { schema: encode_schema(&schema)? })
    }

    async fn get(
        &self,
        call: &Call,
        ticket: &Ticket,
    ) -> Result<BoxStream<'static, Result<FlightData, Status>>, ServiceError> {
        let command = command_in(&ticket.ticket)?;
        if let Command::TicketStatementQuery(_) = command {
            return self.door.redeem(call, &sealed_in(ticket)?).await;
        }
        let batch = metadata::batch(self.door.engine.as_ref(), &call.caller, command)?;
        Ok(encode(batch.schema(), stream::iter([Ok(batch)]).boxed()))
    }

    /// Runs one call in its span; whoever handles it is told who is calling.
    async fn answer<T, F>(&self, rpc: &'static str, headers: &MetadataMap, handle: F) -> Result<Response<T>, Status>
    where
        F: AsyncFnOnce(&Call) -> Result<T, ServiceError> + Send,
    {
        let call = self.door.call(headers);
        observed(rpc, async { handle(&call?).await.map(Response::new) }).await
    }
}

/// Runs a call in its span and tells its failure once, by code alone: texts may quote the user's statement.
async fn observed<T>(
    rpc: &'static str,
    call: impl Future<Output = Result<Response<T>, ServiceError>>,
) -> Result<Response<T>, Status> {
    async {
        call.await.map_err(|error| {
            tracing::info!(code = %error.code, "call refused");
            Status::from(error)
        })
    }
    .instrument(info_span!("flight", rpc))
    .await
}

fn no_result(command: &Command) -> ServiceError {
    match command {
        Command::CommandStatementIngest(_) => unsupported("bulk ingestion is not supported"),
        other => invalid(format!("`{}` has no result to describe", other.type_url())),
    }
}

#[tonic::async_trait]
impl FlightService for FlightSqlFrontend {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoActionStream = BoxStream<'static, Result<ActionResult, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let (headers, _, messages) = request.into_parts();
        observed("handshake", self.door.handshake(&headers, messages)).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.answer("list_flights", request.metadata(), async |_| {
            Err(unsupported("flights are not listed").with_hint("send a Flight SQL command to GetFlightInfo"))
        })
        .await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let (headers, _, descriptor) = request.into_parts();
        self.answer("get_flight_info", &headers, async |call| self.info(call, descriptor).await).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        let (headers, _, descriptor) = request.into_parts();
        self.answer("poll_flight_info", &headers, async |call| {
            // Without a descriptor for the next poll the client knows that this one is complete.
            let info = self.info(call, descriptor).await?;
            Ok(PollInfo { info: Some(info), flight_descriptor: None, progress: Some(1.0), expiration_time: None })
        })
        .await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let (headers, _, descriptor) = request.into_parts();
        self.answer("get_schema", &headers, async |call| self.schema(call, &descriptor).await).await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let (headers, _, ticket) = request.into_parts();
        self.answer("do_get", &headers, async |call| self.get(call, &ticket).await).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let (headers, _, upload) = request.into_parts();
        self.answer("do_put", &headers, async |call| {
            let result = self.door.put(call, upload).await?;
            Ok(stream::once(async { Ok(result) }).boxed())
        })
        .await
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.answer("do_exchange", request.metadata(), async |_| {
            Err(unsupported("exchanges are not offered").with_hint("use GetFlightInfo and DoGet, or DoPut"))
        })
        .await
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let (headers, _, action) = request.into_parts();
        self.answer("do_action", &headers, async |call| {
            let results = self.door.act(call, &action).await?;
            Ok(stream::iter(results.into_iter().map(Ok)).boxed())
        })
        .await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.answer("list_actions", request.metadata(), async |_| Ok(stream::iter(known_actions().map(Ok)).boxed()))
            .await
    }
}
