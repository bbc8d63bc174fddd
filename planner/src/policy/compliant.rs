//! What the rewrite gives: the released part of a plan, and the protected parts that were cut out of it at release points,
//! each with the clauses that cover it.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::Expr;
use dynamos_proto::ids::{ReleaseId, SiteId};

use super::MinimumScope;
use super::sides::{Side, joined};
use crate::fragment::{AgreementRef, ReleaseClauseRef, ReleaseShape};

/// A plan whose protected parts are cut out at release points.
#[derive(Clone, Debug)]
pub struct CompliantPlan {
    pub(super) plan: LogicalPlan,
    pub(super) output: DFSchemaRef,
    pub(super) parts: Vec<ProtectedPart>,
    pub(super) brought: Vec<BroughtPlan>,
    pub(super) governing: BTreeMap<SiteId, AgreementRef>,
}

/// Choices of clauses that are tried, at most.
const CHOICES_MAX: usize = 64;

impl CompliantPlan {
    /// Every other choice of clauses that cover the release points, up to a limit. Another clause may let partials or rows go
    /// where the first one does not.
    pub fn other_choices(&self) -> Vec<ClauseChoice> {
        let mut choices = vec![ClauseChoice::new()];
        for part in &self.parts {
            for clause in
                part.clauses.iter().filter(|clause| part.others.iter().any(|(steward, _)| *steward == clause.steward))
            {
                let own = part.others.iter().filter(|(steward, _)| *steward == clause.steward).map(|(_, other)| *other);
                let options: Vec<u32> = std::iter::once(clause.clause).chain(own).collect();
                let longer = choices.iter().flat_map(|choice| {
                    options.iter().map(|option| {
                        let mut choice = choice.clone();
                        choice.insert((part.id.0, clause.steward.clone()), *option);
                        choice
                    })
                });
                choices = longer.take(CHOICES_MAX).collect();
            }
        }
        // The first is the one that this plan has.
        choices.split_off(1)
    }

    /// The released part; leaves are tables whose rows are released, and `$release.rN`.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// Names and types of the answer's columns, in order.
    pub fn output(&self) -> &DFSchemaRef {
        &self.output
    }

    /// The protected parts, by number of their release points.
    pub fn parts(&self) -> &[ProtectedPart] {
        &self.parts
    }

    /// Released data that protected parts read, by the number that stands for them there.
    pub fn brought(&self) -> &[BroughtPlan] {
        &self.brought
    }

    /// The agreement that governs the query at each steward whose data it needs.
    pub fn governing(&self) -> &BTreeMap<SiteId, AgreementRef> {
        &self.governing
    }
}

/// Released data that a protected part reads.
#[derive(Clone, Debug)]
pub struct BroughtPlan {
    /// What is read.
    pub plan: LogicalPlan,
    /// Which of it each steward reads.
    pub reader: Reader,
}

/// Which of some released data a steward reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// All of them.
    OfAll,
    /// What is its own: rows are compared with those of the same steward only.
    OfItsOwn,
}

/// What lies below one release point.
#[derive(Clone, Debug)]
pub struct ProtectedPart {
    /// Its number.
    pub id: ReleaseId,
    /// The clause of each steward.
    pub clauses: Vec<ReleaseClauseRef>,
    /// Further clauses that cover it, too.
    pub others: Vec<(SiteId, u32)>,
    /// Keys, aggregates and entities over the input's columns.
    pub shape: ReleaseShape,
    /// The rows that are aggregated: what the sides give, joined where there are several.
    pub input: LogicalPlan,
    /// Tables of the same stewards, as each of these gives them; never empty.
    pub sides: Vec<Side>,
    /// The input's columns over those of several sides; empty where there is one.
    pub output: Vec<Expr>,
    /// The stewards whose rows it reads.
    pub stewards: BTreeSet<SiteId>,
    /// Who decides which groups are released.
    pub scope: MinimumScope,
}

impl ProtectedPart {
    /// The side that a steward's tables are on.
    pub fn side_of(&self, steward: &SiteId) -> Option<&Side> {
        self.sides.iter().find(|side| side.stewards.contains(steward))
    }

    /// Whether rows of different stewards are joined in it, so that they have to meet at one place.
    pub fn is_across(&self) -> bool {
        self.sides.len() > 1
    }

    /// The rows that are aggregated, where these plans give each side's rows.
    pub fn over(&self, inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
        joined(&self.sides, inputs, &self.output)
    }
}

/// The clause that is to cover a release point, by number of the point and steward; where none is named, the first that does.
pub type ClauseChoice = BTreeMap<(u32, SiteId), u32>;
