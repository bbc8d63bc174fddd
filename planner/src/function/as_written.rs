//! Functions that the engine takes apart where they are compared: `date_part('year', born) = 1990` becomes a range of
//! `born`, and `floor(x) = 3` one of `x`. What agreements list is compared as it is written, so here such a call stays
//! one until it has been checked. Where a plan is run, the engine's own functions stand in it again, and files are
//! pruned by the ranges.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ExprSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, StructFieldMapping, lit,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// A function of the engine that stays as it is written where it is compared.
pub(super) fn as_written(engine: Arc<ScalarUDF>) -> ScalarUDF {
    ScalarUDF::from(AsWritten { engine })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsWritten {
    engine: Arc<ScalarUDF>,
}

/// All is the engine's but for `preimage`, which by default there is none of.
impl ScalarUDFImpl for AsWritten {
    fn name(&self) -> &str {
        self.engine.inner().name()
    }

    fn aliases(&self) -> &[String] {
        self.engine.inner().aliases()
    }

    fn display_name(&self, arguments: &[Expr]) -> Result<String> {
        #[expect(deprecated)]
        self.engine.inner().display_name(arguments)
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        self.engine.inner().schema_name(arguments)
    }

    fn signature(&self) -> &Signature {
        self.engine.inner().signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.engine.inner().return_type(arguments)
    }

    fn with_updated_config(&self, options: &ConfigOptions) -> Option<ScalarUDF> {
        let updated = self.engine.inner().with_updated_config(options)?;
        Some(as_written(Arc::new(updated)))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.engine.inner().return_field_from_args(arguments)
    }

    fn is_nullable(&self, arguments: &[Expr], schema: &dyn ExprSchema) -> bool {
        #[expect(deprecated)]
        self.engine.inner().is_nullable(arguments, schema)
    }

    fn is_strict(&self) -> bool {
        self.engine.inner().is_strict()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.engine.inner().invoke_with_args(arguments)
    }

    fn simplify(&self, arguments: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.engine.inner().simplify(arguments, context)
    }

    fn short_circuits(&self) -> bool {
        self.engine.inner().short_circuits()
    }

    fn conditional_arguments<'a>(&self, arguments: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.engine.inner().conditional_arguments(arguments)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        self.engine.inner().evaluate_bounds(inputs)
    }

    fn propagate_constraints(&self, interval: &Interval, inputs: &[&Interval]) -> Result<Option<Vec<Interval>>> {
        self.engine.inner().propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.engine.inner().output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.engine.inner().preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.engine.inner().strictly_order_preserving(inputs)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.engine.inner().coerce_types(arguments)
    }

    fn struct_field_mapping(&self, literals: &[Option<ScalarValue>]) -> Option<StructFieldMapping> {
        self.engine.inner().struct_field_mapping(literals)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engine.inner().documentation()
    }

    fn placement(&self, arguments: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.engine.inner().placement(arguments)
    }
}

/// Plans `EXTRACT(YEAR FROM x)` as a call of this function, `date_part('year', x)`, so that both are one to agreements. The
/// engine's planner of it takes the engine's `date_part`, whichever is registered.
#[derive(Debug)]
pub(super) struct Extraction {
    pub(super) date_part: Arc<ScalarUDF>,
}

impl ExprPlanner for Extraction {
    fn plan_extract(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let lower = |argument: Expr| match &argument {
            Expr::Literal(ScalarValue::Utf8(Some(unit)), None) => lit(unit.to_lowercase()),
            _ => argument,
        };
        let arguments = arguments.into_iter().map(lower).collect();
        let call = ScalarFunction::new_udf(Arc::clone(&self.date_part), arguments);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

/// The rule that puts the engine's own functions in place of those of [`as_written`].
#[derive(Debug)]
pub(super) struct AsTheEngine;

impl OptimizerRule for AsTheEngine {
    fn name(&self) -> &str {
        "as_the_engine"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.map_expressions(|expr| expr.transform_up(as_the_engine))
    }
}

fn as_the_engine(expr: Expr) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let engine = func.inner().downcast_ref::<AsWritten>().map(|written| Arc::clone(&written.engine));
            let changed = engine.is_some();
            let call = ScalarFunction::new_udf(engine.unwrap_or(func), args);
            Ok(Transformed::new_transformed(Expr::ScalarFunction(call), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use datafusion::execution::SessionState;
    use datafusion::logical_expr::{col, table_scan};
    use datafusion::prelude::SessionConfig;

    use super::*;
    use crate::function::{engine_state, engine_state_with};

    /// The text of a filter by two such functions, as a state optimises it.
    fn optimized(state: &SessionState) -> String {
        let fields = vec![Field::new("x", DataType::Float64, true), Field::new("born", DataType::Date32, true)];
        let read = engine_state();
        let call = |name: &str, arguments: Vec<Expr>| read.scalar_functions()[name].call(arguments);
        let floor = call("floor", vec![col("x")]).eq(lit(3.0));
        let year = call("datepart", vec![lit("year"), col("born")]).eq(lit(1990));
        let rows = table_scan(Some("t"), &Schema::new(fields), None).unwrap();
        let rows = rows.filter(floor.and(year)).unwrap().build().unwrap();
        state.optimize(&rows).unwrap().display_indent().to_string()
    }

    #[test]
    fn a_call_is_taken_apart_only_where_it_is_run() {
        let checked = optimized(&engine_state());
        assert!(checked.contains("floor(t.x)") && checked.contains("date_part("), "{checked}");
        let run = optimized(&engine_state_with(SessionConfig::new(), Arc::default()));
        assert!(!run.contains("floor(") && !run.contains("date_part("), "{run}");
        assert!(run.contains("t.x >= Float64(3)") && run.contains("t.born >= "), "{run}");
    }
}
