//! The cost model: nanoseconds of work per row and operator class, milliseconds per transfer. Costs of independent parts
//! are added; that is pessimistic where places work at the same time and the same for every candidate.

use std::iter::Sum;
use std::ops::Add;

use datafusion::logical_expr::LogicalPlan;
use dynamos_proto::ids::SiteId;

use crate::candidate::Distribution;
use crate::knowledge::Knowledge;

/// Work of an operator over its input rows, in nanoseconds a row; calibrated on one core.
const SCAN_NS: f64 = 15.0;
const STREAM_NS: f64 = 8.0;
const BUILD_NS: f64 = 90.0;
const PROBE_NS: f64 = 45.0;
const GROUP_NS: f64 = 60.0;
const SORT_NS: f64 = 220.0;
const PAIR_NS: f64 = 2.0;
/// Encoding, sending and decoding a row, apart from its bytes.
const EXCHANGE_NS: f64 = 12.0;
/// Starting a fragment, milliseconds.
const FRAGMENT_MS: f64 = 0.8;
/// A TCP connection begins with ten segments of this many bytes (RFC 6928).
const SEGMENT_BYTES: f64 = 1460.0;

const NS_IN_MS: f64 = 1.0e6;
/// Times that differ by less than this share are the same; otherwise rounding would choose plans.
const ALIKE: f64 = 1.0e-6;

/// What a way of getting rows takes, estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Milliseconds.
    pub ms: f64,
    /// Bytes that go from place to place.
    pub network_bytes: f64,
}

impl Cost {
    /// Whether it is the better choice: faster, or as fast to all appearance and with fewer bytes moved.
    pub fn beats(self, other: Self) -> bool {
        let alike = (self.ms - other.ms).abs() <= ALIKE * self.ms.max(other.ms);
        if alike { self.network_bytes < other.network_bytes } else { self.ms < other.ms }
    }

    /// Work that moves nothing, in milliseconds.
    pub fn work(ms: f64) -> Self {
        Self { ms, network_bytes: 0.0 }
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { ms: self.ms + other.ms, network_bytes: self.network_bytes + other.network_bytes }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::work(0.0), Self::add)
    }
}

/// Milliseconds for reading rows where they lie.
pub fn scan_ms(rows: f64, at: &Distribution, knowledge: &Knowledge) -> f64 {
    spread(rows * SCAN_NS / NS_IN_MS, at, knowledge)
}

/// Milliseconds for one operator over inputs of these row counts.
pub fn operator_ms(plan: &LogicalPlan, inputs: &[f64], output: f64, at: &Distribution, knowledge: &Knowledge) -> f64 {
    let input: f64 = inputs.iter().sum();
    let ns = match plan {
        LogicalPlan::Join(join) => {
            let smallest = inputs.iter().copied().fold(f64::INFINITY, f64::min);
            let largest = inputs.iter().copied().fold(0.0, f64::max);
            if join.on.is_empty() {
                smallest * largest * PAIR_NS + output * STREAM_NS
            } else {
                smallest * BUILD_NS + largest * PROBE_NS + output * STREAM_NS
            }
        }
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => input * GROUP_NS,
        LogicalPlan::Sort(_) | LogicalPlan::Window(_) => input * SORT_NS,
        _ => input * STREAM_NS,
    };
    spread(ns / NS_IN_MS, at, knowledge)
}

/// Moving rows of this width (bytes) from one distribution to another.
pub fn exchange(rows: f64, width: f64, from: &Distribution, to: &Distribution, knowledge: &Knowledge) -> Cost {
    let (senders, receivers) = (from.places(), to.places());
    let share = rows / senders.len().max(1) as f64;
    let mut total = Cost::work(0.0);
    for receiver in &receivers {
        for sender in senders.iter().filter(|sender| *sender != receiver) {
            let network_bytes = share * width;
            let ms = transfer_ms(network_bytes, sender, receiver, knowledge);
            total = total + Cost { ms: ms + share * EXCHANGE_NS / NS_IN_MS + FRAGMENT_MS, network_bytes };
        }
    }
    total
}

/// Time for bytes on a link, with TCP's slow start.
fn transfer_ms(bytes: f64, from: &SiteId, to: &SiteId, knowledge: &Knowledge) -> f64 {
    let link = knowledge.link(from, to);
    let rounds = (bytes / (10.0 * SEGMENT_BYTES) + 1.0).log2().ceil().max(1.0);
    link.round_trip_ms * rounds + bytes / link.bandwidth_bytes_s * 1000.0
}

/// Work shared by the places of a distribution.
fn spread(ms: f64, at: &Distribution, knowledge: &Knowledge) -> f64 {
    let places = at.places();
    let slowest = places.iter().map(|place| knowledge.speed(place)).fold(f64::INFINITY, f64::min);
    ms / places.len().max(1) as f64 / if slowest.is_finite() { slowest } else { 1.0 }
}
