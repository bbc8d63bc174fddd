//! A query taken apart into what edits work on: items, keys, conditions and order of one SELECT over named relations. Names
//! that an item gives and positions are resolved once, so that an edit need not know them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    GroupByExpr, Ident, JoinConstraint, JoinOperator, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectFlavor,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Value, ValueWithSpan, WildcardAdditionalOptions,
    visit_expressions, visit_expressions_mut,
};

use super::scope::{Scope, parts, plain};
use crate::bind::VisibleTables;

/// A column of the answer.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) expr: Expr,
    pub(super) alias: Option<Ident>,
}

/// A call of an aggregate function.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Its name.
    pub(super) name: String,
    /// Whether equal arguments count once.
    pub(super) distinct: bool,
    /// Its one argument; none for `*`.
    pub(super) argument: Option<Expr>,
    /// The call as written.
    pub(super) function: Function,
}

/// One SELECT, in parts.
#[derive(Clone, Debug)]
pub(super) struct Question {
    rest: Query,
    pub(super) scope: Scope,
    pub(super) items: Vec<Item>,
    pub(super) keys: Vec<Expr>,
    pub(super) conditions: Vec<Expr>,
    pub(super) having: Vec<Expr>,
    pub(super) order: Vec<OrderByExpr>,
    /// Whether it aggregates.
    pub(super) grouped: bool,
    /// How far it is from the query that was asked.
    pub(super) edits: usize,
}

/// Every name that WITH gives, anywhere in a query.
pub(super) fn shadowed(query: &Query) -> BTreeSet<String> {
    query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| plain(&cte.alias.name)).collect()
}

impl Question {
    /// Takes a query apart; none if it is not one SELECT of the kind that is understood.
    pub(super) fn read(query: &Query, edits: usize, tables: &VisibleTables, state: &SessionState) -> Option<Self> {
        let SetExpr::Select(select) = query.body.as_ref() else { return None };
        if !understood(query, select) {
            return None;
        }
        let scope = Scope::of(&select.from, tables, &shadowed(query))?;
        if scope.has_twins() {
            return None;
        }
        let items = items(select, &scope)?;
        let mut question = Self {
            rest: query.clone(),
            items,
            keys: Vec::new(),
            conditions: select.selection.iter().flat_map(conjuncts).collect(),
            having: Vec::new(),
            order: Vec::new(),
            grouped: false,
            edits,
            scope,
        };
        question.resolve(query, select)?;
        let calls = |expr: &Expr| calls(expr, state);
        question.grouped = !question.keys.is_empty()
            || question.items.iter().any(|item| !calls(&item.expr).is_empty())
            || !question.having.is_empty();
        question.closed().then_some(question)
    }

    /// Resolves positions and names of items in keys, HAVING and order.
    fn resolve(&mut self, query: &Query, select: &Select) -> Option<()> {
        for item in &self.items {
            let Some(alias) = &item.alias else { continue };
            let column = self.scope.column_text(&Expr::Identifier(alias.clone()));
            // Which of the two is meant depends on the place.
            if column.is_some() && column != self.scope.column_text(&item.expr) {
                return None;
            }
        }
        let GroupByExpr::Expressions(keys, modifiers) = &select.group_by else { return None };
        if !modifiers.is_empty() {
            return None;
        }
        self.keys = keys.iter().map(|key| self.resolved(key)).collect::<Option<_>>()?;
        self.having = select.having.iter().flat_map(conjuncts).map(|one| self.resolved(&one)).collect::<Option<_>>()?;
        if let Some(OrderBy { kind, interpolate: None }) = &query.order_by {
            let OrderByKind::Expressions(order) = kind else { return None };
            let resolved = order.iter().map(|one| Some(OrderByExpr { expr: self.resolved(&one.expr)?, ..one.clone() }));
            self.order = resolved.collect::<Option<_>>()?;
        }
        Some(())
    }

    /// An expression without positions and names of items.
    fn resolved(&self, expr: &Expr) -> Option<Expr> {
        if let Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) = expr {
            let index: usize = number.parse().ok()?;
            return Some(self.items.get(index.checked_sub(1)?)?.expr.clone());
        }
        if let Some(item) = self.named(expr) {
            return Some(item.expr.clone());
        }
        let mut expr = expr.clone();
        let done: ControlFlow<()> = visit_expressions_mut(&mut expr, |node| {
            if let Some(item) = self.named(node) {
                *node = enclosed(&item.expr);
            }
            ControlFlow::Continue(())
        });
        debug_assert!(done.is_continue(), "the visitor does not stop");
        Some(expr)
    }

    /// The item of which an expression is the name.
    fn named(&self, expr: &Expr) -> Option<&Item> {
        let Expr::Identifier(name) = expr else { return None };
        self.items.iter().find(|item| item.alias.as_ref().is_some_and(|alias| plain(alias) == plain(name)))
    }

    /// Whether what edits work on holds no subquery.
    fn closed(&self) -> bool {
        let items = self.items.iter().map(|item| &item.expr);
        let all = items.chain(&self.keys).chain(&self.having).chain(self.order.iter().map(|one| &one.expr));
        all.map(|expr| {
            visit_expressions(expr, |node| match node {
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
        })
        .all(|walked| walked.is_continue())
    }

    /// Whether only some of the rows are asked for, so that which ones depends on everything else.
    pub(super) fn limited(&self) -> bool {
        self.rest.limit_clause.is_some() || self.rest.fetch.is_some()
    }

    /// Whether equal rows are given once.
    pub(super) fn distinct(&self) -> bool {
        matches!(self.rest.body.as_ref(), SetExpr::Select(select) if select.distinct == Some(Distinct::Distinct))
    }

    /// Whether an item or the order looks at other rows.
    pub(super) fn windows(&self) -> bool {
        let items = self.items.iter().map(|item| &item.expr);
        items.chain(self.order.iter().map(|one| &one.expr)).any(|expr| {
            visit_expressions(expr, |node| match node {
                Expr::Function(call) if call.over.is_some() => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
            .is_break()
        })
    }

    /// The SELECT's FROM.
    pub(super) fn joins_mut(&mut self) -> Option<&mut Select> {
        match self.rest.body.as_mut() {
            SetExpr::Select(select) => Some(select),
            _ => None,
        }
    }

    /// The FROM as it is.
    pub(super) fn select(&self) -> Option<&Select> {
        match self.rest.body.as_ref() {
            SetExpr::Select(select) => Some(select),
            _ => None,
        }
    }

    /// The text of an item's expression, as texts are compared.
    pub(super) fn outputs(&self) -> BTreeSet<String> {
        self.items.iter().map(|item| self.scope.text(&item.expr)).collect()
    }

    /// The question as SQL.
    pub(super) fn sql(&self) -> String {
        let mut query = self.rest.clone();
        if let SetExpr::Select(select) = query.body.as_mut() {
            let item = |item: &Item| match &item.alias {
                Some(alias) => SelectItem::ExprWithAlias { expr: item.expr.clone(), alias: alias.clone() },
                None => SelectItem::UnnamedExpr(item.expr.clone()),
            };
            select.projection = self.items.iter().map(item).collect();
            select.selection = all_of(&self.conditions);
            select.group_by = GroupByExpr::Expressions(self.keys.clone(), Vec::new());
            select.having = all_of(&self.having);
        }
        query.order_by = (!self.order.is_empty())
            .then(|| OrderBy { kind: OrderByKind::Expressions(self.order.clone()), interpolate: None });
        query.to_string()
    }
}

/// Whether a SELECT has nothing but what [`Question`] has a place for.
fn understood(query: &Query, select: &Select) -> bool {
    let plain_query = query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty();
    plain_query
        && !matches!(select.distinct, Some(Distinct::On(_)))
        && select.top.is_none()
        && select.exclude.is_none()
        && select.into.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.named_window.is_empty()
        && select.qualify.is_none()
        && select.value_table_mode.is_none()
        && matches!(select.flavor, SelectFlavor::Standard)
        && !select.from.is_empty()
}

/// The items, `*` written out; none where that cannot be done.
fn items(select: &Select, scope: &Scope) -> Option<Vec<Item>> {
    let merges = |constraint: &JoinConstraint| matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural);
    let merged = select.from.iter().flat_map(|one| &one.joins).any(|join| match &join.join_operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on) => merges(on),
        _ => false,
    });
    // EXCEPT, REPLACE and the like ask for other columns than the table has.
    let all = WildcardAdditionalOptions::default();
    let mut items = Vec::new();
    for item in &select.projection {
        let of = match item {
            SelectItem::UnnamedExpr(expr) => {
                items.push(Item { expr: expr.clone(), alias: None });
                continue;
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                items.push(Item { expr: expr.clone(), alias: Some(alias.clone()) });
                continue;
            }
            SelectItem::Wildcard(options) if !merged && *options == all => None,
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                if !merged && *options == all =>
            {
                Some(parts(name)?)
            }
            _ => return None,
        };
        for factor in &scope.factors {
            if of.as_ref().is_some_and(|of| !factor.qualifier.ends_with(of)) {
                continue;
            }
            let columns = factor.table.as_ref()?.schema.fields().iter();
            items.extend(columns.map(|field| Item { expr: scope.written(factor, field.name()), alias: None }));
        }
    }
    (!items.is_empty()).then_some(items)
}

/// An expression as a part of another one: in parentheses, unless it is one thing without them.
fn enclosed(expr: &Expr) -> Expr {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::Function(_) | Expr::Nested(_) => {
            expr.clone()
        }
        other => Expr::Nested(Box::new(other.clone())),
    }
}

/// The conjuncts of a condition.
pub(super) fn conjuncts(condition: &Expr) -> Vec<Expr> {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => [conjuncts(left), conjuncts(right)].concat(),
        Expr::Nested(inner) if matches!(inner.as_ref(), Expr::BinaryOp { op: BinaryOperator::And, .. }) => {
            conjuncts(inner)
        }
        other => vec![other.clone()],
    }
}

/// One condition of these.
pub(super) fn all_of(conditions: &[Expr]) -> Option<Expr> {
    let single = conditions.len() == 1;
    let closed = conditions.iter().map(|one| match one {
        Expr::BinaryOp { op: BinaryOperator::Or | BinaryOperator::Xor, .. } if !single => {
            Expr::Nested(Box::new(one.clone()))
        }
        other => other.clone(),
    });
    closed.reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    })
}

/// The calls of aggregate functions in an expression.
pub(super) fn calls(expr: &Expr, state: &SessionState) -> Vec<Call> {
    let mut found = Vec::new();
    let done: ControlFlow<()> = visit_expressions(expr, |node| {
        found.extend(call(node, state));
        ControlFlow::Continue(())
    });
    debug_assert!(done.is_continue(), "the visitor does not stop");
    found
}

/// The call that an expression is; none if it is no call of an aggregate function.
pub(super) fn call(expr: &Expr, state: &SessionState) -> Option<Call> {
    let Expr::Function(function) = expr else { return None };
    let name = parts(&function.name)?.join(".");
    if function.over.is_some() || !state.aggregate_functions().contains_key(&name) {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else { return None };
    let argument = match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => Some(argument.clone()),
        _ => None,
    };
    let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    Some(Call { name, distinct, argument, function: function.clone() })
}

impl Call {
    /// Whether it is a function of one argument, or a count of rows.
    pub(super) fn is_simple(&self) -> bool {
        let FunctionArguments::List(list) = &self.function.args else { return false };
        let star = matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
        let plain = list.clauses.is_empty()
            && self.function.within_group.is_empty()
            && self.function.null_treatment.is_none()
            && matches!(self.function.parameters, FunctionArguments::None);
        plain && (self.argument.is_some() || (star && self.name == "count"))
    }

    /// Another function of the same rows.
    pub(super) fn renamed(&self, name: &str) -> Expr {
        let mut function = self.function.clone();
        function.name = vec![Ident::new(name)].into();
        Expr::Function(function)
    }
}
