//! The engine's push-down of filters into physical plans, kept from plans in which it errs: it finds a filter's columns by
//! their bare names, so below a join of two relations with a column of one name each it may filter the wrong one. The logical
//! plan has had its filters pushed down before; what is lost there is pruning inside files. Only sites plan physically.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;

/// Both phases of the rule begin with this.
const RULE: &str = "FilterPushdown";

/// DataFusion's physical rules, with the push-down of filters made careful.
pub(super) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let careful = |rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>| -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
        if rule.name().starts_with(RULE) { Arc::new(Careful { rule }) } else { rule }
    };
    PhysicalOptimizer::new().rules.into_iter().map(careful).collect()
}

/// A rule for plans without two columns of one name.
struct Careful {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
}

impl fmt::Debug for Careful {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "careful {}", self.rule.name())
    }
}

impl PhysicalOptimizerRule for Careful {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if is_ambiguous(&plan) { Ok(plan) } else { self.rule.optimize(plan, config) }
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// Whether somewhere two columns of one name meet: in a join's inputs, or in what an operator gives.
fn is_ambiguous(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut names: Vec<String> = if plan.name().ends_with("JoinExec") {
        plan.children().into_iter().flat_map(names).collect()
    } else {
        names(plan)
    };
    let all = names.len();
    names.sort();
    names.dedup();
    names.len() < all || plan.children().into_iter().any(is_ambiguous)
}

fn names(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    plan.schema().fields().iter().map(|field| field.name().clone()).collect()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::physical_plan::joins::CrossJoinExec;
    use datafusion::physical_plan::limit::GlobalLimitExec;

    use super::*;

    fn rows(name: &str) -> Arc<dyn ExecutionPlan> {
        Arc::new(EmptyExec::new(Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, true)]))))
    }

    #[test]
    fn sees_names_that_meet_in_a_join() {
        let join = |left, right| -> Arc<dyn ExecutionPlan> {
            let join: Arc<dyn ExecutionPlan> = Arc::new(CrossJoinExec::new(rows(left), rows(right)));
            Arc::new(GlobalLimitExec::new(join, 0, Some(1)))
        };
        assert!(is_ambiguous(&join("k", "k")));
        assert!(!is_ambiguous(&join("k", "l")));
        assert!(!is_ambiguous(&rows("k")));
    }

    #[test]
    fn both_phases_are_careful() {
        let rules = physical_rules();
        let careful = rules.iter().filter(|rule| format!("{rule:?}").starts_with("careful")).count();
        assert_eq!(careful, 2, "the engine has renamed its rules: {rules:?}");
    }
}
