//! The planner's values as bytes and back: Substrait for plans, protobuf for the graph; and how rows are cut to messages. The only module of the planner
//! that knows a protocol.

mod graph;
mod join;
mod leaf;
mod messages;
mod plan;

pub use graph::{decode_graph, encode_graph};
pub use leaf::{Leaf, LeafTable, joined_column, joined_parts};
pub use messages::in_messages;
pub use plan::{PLAN_BYTES_MAX, WireError, bind_leaves, decode_plan, encode_plan};
