//! DoPut: updates, and the parameter rows of prepared statements. The command is in the first message; its data, if
//! any, follows in the same and later messages.

use arrow_flight::sql::{Command, DoPutPreparedStatementResult, DoPutUpdateResult};
use arrow_flight::{FlightData, PutResult};
use dynamos_proto::status::ServiceError;
use futures::{Stream, StreamExt, stream};
use prost::Message;
use tonic::Status;

use super::door::{Call, Door, command_of, no_substrait, refuse_transaction};
use super::errors::{invalid, unsupported};
use super::parameters::read_upload;
use super::statement::Work;

impl Door {
    /// Does what the first message of an upload commands.
    pub(super) async fn put(
        &self,
        call: &Call,
        mut upload: impl Stream<Item = Result<FlightData, Status>> + Send + Unpin + 'static,
    ) -> Result<PutResult, ServiceError> {
        let first = upload.next().await.ok_or_else(|| invalid("the upload is empty"))?;
        let first = first.map_err(|status| ServiceError::from_status(&status))?;
        let descriptor = first.flight_descriptor.as_ref().ok_or_else(|| invalid("the upload has no descriptor"))?;
        let command = command_of(descriptor)?;
        let data = stream::once(async { Ok(first) }).chain(upload);
        match command {
            Command::CommandStatementUpdate(update) => {
                refuse_transaction(update.transaction_id.as_deref())?;
                let work = Work { sql: update.query, parameters: Vec::new() };
                Ok(affected(self.update(call, work).await?))
            }
            Command::CommandPreparedStatementUpdate(update) => {
                // The handle is opened first: nothing is read for those who may not use it.
                let mut work = self.prepared_work(call, &update.prepared_statement_handle, Vec::new())?;
                let uploaded = read_upload(data).await?;
                if !uploaded.is_empty() {
                    work.parameters = uploaded;
                }
                Ok(affected(self.update(call, work).await?))
            }
            Command::CommandPreparedStatementQuery(query) => {
                drop(self.prepared_work(call, &query.prepared_statement_handle, Vec::new())?);
                let rows = read_upload(data).await?;
                let handle = self.bind(call, &query.prepared_statement_handle, &rows)?;
                Ok(answer(&DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) }))
            }
            Command::CommandStatementSubstraitPlan(_) => Err(no_substrait()),
            Command::CommandStatementIngest(_) => {
                Err(unsupported("bulk ingestion is not supported").with_hint("register the data at its site"))
            }
            other => Err(invalid(format!("`{}` cannot be put", other.type_url()))),
        }
    }
}

fn affected(record_count: i64) -> PutResult {
    answer(&DoPutUpdateResult { record_count })
}

fn answer(message: &impl Message) -> PutResult {
    PutResult { app_metadata: message.encode_to_vec().into() }
}
