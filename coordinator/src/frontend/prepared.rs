//! Prepared statements. A handle carries the statement and its bound parameters under a seal, so it survives a restart
//! and costs the server nothing. Clients that ignore the new handle a bind returns find their parameters in a small
//! table by the handle's id; that table is a courtesy with a bound, not the truth.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::ActionCreatePreparedStatementRequest;
use bytes::Bytes;
use dynamos_proto::status::{Code, ServiceError};
use prost::Message;
use uuid::Uuid;

use super::door::{Call, Door, refuse_transaction};
use super::engine::StatementKind;
use super::errors::undecodable;
use super::parameters;
use super::placeholder::number_placeholders;
use super::plain_types::plain_type;
use super::seal::SealUse;
use super::statement::{Work, result_schema};
use super::wire::{HandleBody, PreparedResult};

/// Bytes of parameters kept for clients that ignore returned handles; beyond this, the oldest are forgotten.
const BOUND_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Door {
    /// Describes a statement and gives it a handle.
    pub(super) async fn create_prepared(
        &self,
        call: &Call,
        request: ActionCreatePreparedStatementRequest,
    ) -> Result<PreparedResult, ServiceError> {
        refuse_transaction(request.transaction_id.as_deref())?;
        let sql = number_placeholders(&request.query)?;
        let prepared = self.engine.prepare(&call.caller, &sql).await?;
        let is_update = prepared.kind == StatementKind::Update;
        let handle = self.seal_handle(&HandleBody {
            id: Bytes::copy_from_slice(Uuid::new_v4().as_bytes()),
            sql,
            is_update,
            parameter_schema: parameters::encode_schema(&prepared.parameters)?,
            parameters: Bytes::new(),
            owner: self.sealer.owner(&call.caller.identity),
        });
        Ok(PreparedResult {
            prepared_statement_handle: handle,
            dataset_schema: parameters::encode_schema(&result_schema(&prepared))?,
            parameter_schema: parameters::encode_schema(&parameter_schema(&prepared.parameters))?,
            is_update: Some(is_update),
        })
    }

    /// Binds rows to a statement's parameters; the answer is the handle with the rows in it.
    pub(super) fn bind(&self, call: &Call, handle: &[u8], batches: &[RecordBatch]) -> Result<Bytes, ServiceError> {
        let mut body = self.open_handle(call, handle)?;
        // Wrong counts and values are told at the bind, where the client can see which call was wrong.
        let declared = parameters::decode_schema(&body.parameter_schema)?;
        body.parameters = if batches.is_empty() {
            Bytes::new()
        } else {
            parameters::encode(&parameters::typed(batches, &declared)?)?
        };
        self.bound.keep(&body.id, &body.parameters);
        Ok(self.seal_handle(&body))
    }

    /// What a handle says to run, with the rows of the upload if there were any, else those bound before.
    pub(super) fn prepared_work(
        &self,
        call: &Call,
        handle: &[u8],
        uploaded: Vec<RecordBatch>,
    ) -> Result<Work, ServiceError> {
        let body = self.open_handle(call, handle)?;
        if !uploaded.is_empty() {
            return Ok(Work { sql: body.sql, parameters: uploaded });
        }
        let bound = if body.parameters.is_empty() { self.bound.of(&body.id) } else { body.parameters };
        Ok(Work { sql: body.sql, parameters: parameters::decode(&bound)? })
    }

    /// The schema of a prepared statement's result.
    pub(super) async fn prepared_schema(&self, call: &Call, handle: &[u8]) -> Result<SchemaRef, ServiceError> {
        self.statement_schema(call, &self.open_handle(call, handle)?.sql).await
    }

    /// Forgets what is kept beside a handle. The handle itself needs no closing.
    pub(super) fn close_prepared(&self, call: &Call, handle: &[u8]) -> Result<(), ServiceError> {
        self.bound.forget(&self.open_handle(call, handle)?.id);
        Ok(())
    }

    fn seal_handle(&self, body: &HandleBody) -> Bytes {
        self.sealer.seal(SealUse::Handle, &body.encode_to_vec())
    }

    fn open_handle(&self, call: &Call, sealed: &[u8]) -> Result<HandleBody, ServiceError> {
        let body = HandleBody::decode(self.sealer.open(SealUse::Handle, sealed)?)
            .map_err(|error| undecodable("prepared statement handle", &error))?;
        if body.owner != self.sealer.owner(&call.caller.identity) {
            return Err(ServiceError::new(Code::Denied, "the statement was prepared by another user")
                .with_hint("prepare it as yourself"));
        }
        Ok(body)
    }
}

/// The parameters as clients are told of them: nullable, plain, and text where the type is unknown.
fn parameter_schema(parameters: &Schema) -> Schema {
    let told = |field: &arrow::datatypes::FieldRef| {
        let data_type = match plain_type(field.data_type()) {
            DataType::Null => DataType::Utf8,
            known => known,
        };
        super::type_info::describe(&Field::new(field.name(), data_type, true))
    };
    Schema::new(parameters.fields().iter().map(told).collect::<Vec<_>>())
}

/// Parameters by handle id, oldest first out.
#[derive(Default)]
pub(super) struct BoundParameters {
    state: Mutex<Bound>,
}

#[derive(Default)]
struct Bound {
    by_id: BTreeMap<Bytes, Bytes>,
    /// Ids in the order they were last bound.
    order: VecDeque<Bytes>,
    bytes: usize,
}

impl BoundParameters {
    fn keep(&self, id: &Bytes, parameters: &Bytes) {
        let mut state = self.lock();
        state.remove(id);
        if parameters.is_empty() {
            return;
        }
        state.bytes += parameters.len();
        state.by_id.insert(id.clone(), parameters.clone());
        state.order.push_back(id.clone());
        while state.bytes > BOUND_BYTES_MAX {
            let Some(oldest) = state.order.front().cloned() else { break };
            state.remove(&oldest);
        }
    }

    fn of(&self, id: &Bytes) -> Bytes {
        self.lock().by_id.get(id).cloned().unwrap_or_default()
    }

    fn forget(&self, id: &Bytes) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, Bound> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bound {
    fn remove(&mut self, id: &Bytes) {
        if let Some(parameters) = self.by_id.remove(id) {
            self.bytes = self.bytes.saturating_sub(parameters.len());
            self.order.retain(|other| other != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_latest_parameters_within_its_bound() {
        let bound = BoundParameters::default();
        let id = |number: u8| Bytes::from(vec![number]);
        let large = Bytes::from(vec![0; BOUND_BYTES_MAX / 2]);
        bound.keep(&id(1), &Bytes::from_static(b"first"));
        bound.keep(&id(1), &Bytes::from_static(b"second"));
        assert_eq!(bound.of(&id(1)), "second");
        bound.keep(&id(2), &large);
        bound.keep(&id(3), &large);
        assert!(bound.of(&id(1)).is_empty());
        assert_eq!(bound.of(&id(2)).len(), large.len());
        bound.forget(&id(2));
        assert!(bound.of(&id(2)).is_empty());
        assert_eq!(bound.lock().bytes, large.len());
    }
}
