//! The Arrow Flight service of a place: `DoGet` of a fragment's output by the place that the graph sends it to. Users never
//! speak to it.

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use async_trait::async_trait;
use dynamos_planner::wire::in_messages;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1::ExchangeTicket;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::executor::Executor;
use crate::identity::caller;

/// A place's Flight service.
#[derive(Clone, Debug)]
pub(crate) struct ExchangeService(pub(crate) Executor);

fn unsupported<T>() -> Result<T, Status> {
    Err(ServiceError::new(Code::Unsupported, "a site gives rows to other places only, by DoGet").into())
}

#[async_trait]
impl FlightService for ExchangeService {
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let caller = caller(&request)?;
        let ticket = ExchangeTicket::decode(request.into_inner().ticket)
            .map_err(|_| ServiceError::new(Code::InvalidArgument, "the ticket cannot be read"))?;
        let rows = match self.0.open(&ticket, &caller) {
            Ok(rows) => rows,
            Err(error) => {
                let (query_id, fragment) = (&ticket.query_id, ticket.fragment);
                tracing::warn!(%caller, %query_id, fragment, %error, "fetch refused");
                self.0.record_refused_fetch(&ticket, &caller, &error).await;
                return Err(error.into());
            }
        };
        let schema = rows.schema().clone();
        let encoded = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .with_max_flight_data_size(usize::MAX)
            .build(in_messages(rows).map_err(|error| FlightError::Tonic(Box::new(error.into()))));
        let messages = encoded.map_err(|error| match error {
            FlightError::Tonic(status) => *status,
            other => {
                tracing::error!(error = %other, "rows cannot be encoded");
                ServiceError::new(Code::Internal, "rows cannot be encoded").into()
            }
        });
        Ok(Response::new(messages.boxed()))
    }

    async fn handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        unsupported()
    }

    async fn list_flights(&self, _request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        unsupported()
    }

    async fn get_flight_info(&self, _request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        unsupported()
    }

    async fn poll_flight_info(&self, _request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        unsupported()
    }

    async fn get_schema(&self, _request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        unsupported()
    }

    async fn do_put(&self, _request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        unsupported()
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        unsupported()
    }

    async fn do_action(&self, _request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        unsupported()
    }

    async fn list_actions(&self, _request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        unsupported()
    }
}
