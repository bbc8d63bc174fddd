//! A library of policies on the TPC-H schema over three stewards, in the styles of compliant geo-distributed query
//! processing: by whole table, by column, by row condition, by place and by aggregate. Under each of them every one of the
//! 22 queries is either answered as one plain engine over the permitted rows answers it, or refused as the file of the
//! policy says.

mod catalog;
mod reading;
mod run;
mod set;
